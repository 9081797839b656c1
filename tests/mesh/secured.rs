//! Access logs over mutual TLS: the story still learns, and nobody but the global-sidecar's proxy can tell the controller anything.

use std::time::Duration;

use serde_json::json;

use super::install::NAMESPACE;
use super::operated::{FENCE, Operated, RATE, by_fallback, printed};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::apiserver::proxy::Stream;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
/// Has workloads show their certificates to the controller.
const MUTUAL: &str = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, \
    metadata: {name: to-the-controller, namespace: default}, \
    spec: {host: lazyload.mesh-operator.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}";
/// A call by gRPC of the controller's port for access logs.
const CALL: &str = "/grpc?url=http://lazyload.mesh-operator.svc.cluster.local:8082&messages=1&timeout_ms=2000";
/// A fence that learns and has no Sidecar.
const OBSERVED: &str = "{apiVersion: microservice.slime.io/v1alpha1, kind: ServiceFence, \
    metadata: {name: ratings, namespace: default, labels: {lazyload.slime.io/mode: observe}}, spec: {enable: true}}";
const PLAINTEXT: &str = "lazyload_accesslog_connections_refused{reason=\"plaintext\"}";
const PEER: &str = "lazyload_accesslog_connections_refused{reason=\"peer\"}";

#[tokio::test(flavor = "multi_thread")]
async fn access_logs_come_to_mutual_tls_in_steps_under_load_and_then_nobody_else_is_believed() {
    let _turn = turn().await;
    let test = "access_logs_come_to_mutual_tls_in_steps_under_load_and_then_nobody_else_is_believed";
    let Some(testbed) = Testbed::up(test) else { return };
    script(&["bookinfo", "up"]);
    let operated = Operated::install(&testbed);
    let mut boot = printed("cluster_accesslog");
    testbed.apply(&boot.to_string());
    operated.ready().await;
    testbed.apply(FENCE);
    operated.sidecar_has(&[]).await;
    let productpage = Pod::find(&testbed, "app=productpage");
    let details = testbed.get(&["service", "details", "-n", "default"]).unwrap()["spec"]["clusterIP"].clone();
    let unknown = format!("http://{}:9080/&header=Host:unknown.example", details.as_str().unwrap());
    let load = productpage.start_load(&unknown, RATE).await;

    for (step, service) in [("permissive", "details"), ("strict", "reviews")] {
        operated.change(&mut boot, step, "/spec/module/0/general", "accessLogSecurity", json!(step)).await;
        learned(&testbed, &productpage, service).await;
        let controller = controller(&testbed);
        eventually("every stream is secured", SOON, || async {
            let (open, secured) = (streams(&controller, "open").await, streams(&controller, "secured").await);
            if open >= 1 && open == secured { Ok(()) } else { Err(format!("{secured} of {open}")) }
        })
        .await;
        assert!(counts(&controller, "lazyload_identity_expires_seconds").await > 0);
    }
    let result = productpage.stop_load(&load).await;
    println!("{} requests, {} by the fallback", result["sent"], by_fallback(&testbed, &productpage));
    assert_eq!(result["failed"], json!([]), "no request fails");

    nobody_else_is_believed(&testbed, &productpage).await;
    learned(&testbed, &productpage, "ratings").await;
    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).unwrap().to_string();
    assert!(!fence.contains("forged"), "{fence}");

    operated.change(&mut boot, "network policies", "/spec", "networkPolicy", json!(true)).await;
    operated.change(&mut boot, "callers' logs", "/spec/module/0/general", "callerLogs", json!("on")).await;
    a_workload_that_is_observed_tells_what_it_calls(&testbed).await;
}

/// By its own proxy, with its own certificate. The testbed's network enforces no policies: they are there, no more.
async fn a_workload_that_is_observed_tells_what_it_calls(testbed: &Testbed) {
    testbed.kubectl(&["get", "networkpolicies", "lazyload", "global-sidecar", "-n", NAMESPACE]).unwrap();
    testbed.apply(OBSERVED);
    let (caller, controller) = (Pod::find(testbed, "app=ratings"), controller(testbed));
    eventually("what it calls is learned", SOON, || async {
        let answer = caller.ask("/fetch?url=http://details:9080/").await?;
        assert_eq!((&answer["status"], &answer["direct"]), (&json!(200), &json!("direct")), "{answer:#}");
        let status = testbed.get(&["servicefence", "ratings", "-n", "default"])?["status"].clone();
        anyhow::ensure!(!status["domains"]["details.default.svc.cluster.local"].is_null(), "{status:#}");
        Ok(())
    })
    .await;
    testbed.kubectl(&["get", "envoyfilter", "lazyload-caller-log.ratings", "-n", "default"]).unwrap();
    assert_eq!(streams(&controller, "secured").await, streams(&controller, "open").await);
    assert!(counts(&controller, "lazyload_calls_verified").await > 0, "by the certificate of its account");
}

async fn nobody_else_is_believed(testbed: &Testbed, victim: &Pod) {
    let (controller, workload) = (controller(testbed), Pod::find(testbed, "app=ratings"));
    // As any pod without a proxy could: the victim's own address and identity.
    let before = counts(&controller, PLAINTEXT).await;
    if let Ok(mut stream) = Stream::open(format!("http://{}", controller.at(8082))).await {
        let forged = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
        stream.send_as(forged, (&victim.ip(), "forged:9080")).await;
    }
    assert!(counts(&controller, PLAINTEXT).await > before);
    // Through a proxy of the mesh, without and with its certificate.
    let _left = Left(testbed);
    for (rule, reason) in [(None, PLAINTEXT), (Some(MUTUAL), PEER)] {
        if let Some(rule) = rule {
            testbed.apply(rule);
        }
        let before = counts(&controller, reason).await;
        eventually("a workload of the mesh is refused", SOON, || async {
            drop(workload.text(CALL).await);
            let now = counts(&controller, reason).await;
            if now > before { Ok(()) } else { Err(controller.text("/metrics").await.unwrap_or_default()) }
        })
        .await;
    }
    assert_eq!(streams(&controller, "secured").await, streams(&controller, "open").await);
}

/// The controller's pod; port 8081 has its metrics.
fn controller(testbed: &Testbed) -> Pod {
    Pod::find_in(testbed, NAMESPACE, "app=lazyload", 8081)
}

async fn counts(controller: &Pod, series: &str) -> u64 {
    let metrics = controller.text("/metrics").await.unwrap_or_default();
    let values = metrics.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

async fn streams(controller: &Pod, which: &str) -> u64 {
    counts(controller, &format!("lazyload_accesslog_streams_{which}")).await
}

/// A host is called until it is in the fence.
async fn learned(testbed: &Testbed, caller: &Pod, service: &str) {
    eventually("a call is learned", SOON, || async {
        caller.ask(&format!("/fetch?url=http://{service}:9080/")).await?;
        let status = testbed.get(&["servicefence", "productpage", "-n", "default"])?["status"].to_string();
        anyhow::ensure!(status.contains(&format!("{service}.default.svc.cluster.local")), "{status}");
        Ok(())
    })
    .await;
}

/// The rule is taken away in the end.
struct Left<'a>(&'a Testbed);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let rule = ["delete", "destinationrule", "to-the-controller", "-n", "default", "--ignore-not-found"];
        if let Err(failed) = self.0.kubectl(&rule) {
            eprintln!("removing the rule: {failed}");
        }
    }
}
