//! Access logs over mutual TLS: the story still learns, and nobody but the global-sidecar's proxy can tell the controller anything.

use std::time::Duration;

use super::install::{Installation, NAMESPACE};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::apiserver::proxy::Stream;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const FENCE: &str = "{apiVersion: microservice.slime.io/v1alpha1, kind: ServiceFence, \
    metadata: {name: productpage, namespace: default}, spec: {enable: true}}";
/// Has workloads show their certificates to the controller.
const MUTUAL: &str = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, \
    metadata: {name: to-the-controller, namespace: default}, \
    spec: {host: lazyload.mesh-operator.svc.cluster.local, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}";
/// A call by gRPC of the controller's port for access logs.
const CALL: &str = "/grpc?url=http://lazyload.mesh-operator.svc.cluster.local:8082&messages=1&timeout_ms=2000";

#[tokio::test(flavor = "multi_thread")]
async fn over_mutual_tls_calls_are_learned_and_nobody_else_is_believed() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("over_mutual_tls_calls_are_learned_and_nobody_else_is_believed") else { return };
    let _installation = Installation::with_general(&testbed, "accessLogSecurity: strict").await;
    let _left = Left(&testbed);
    script(&["bookinfo", "up"]);
    testbed.apply(FENCE);
    let (productpage, ratings) = (Pod::find(&testbed, "app=productpage"), Pod::find(&testbed, "app=ratings"));
    let controller = Pod::find_in(&testbed, NAMESPACE, "app=lazyload", 8081);
    let counts = async |series: &str| count(&controller.text("/metrics").await.unwrap_or_default(), series);

    learned(&testbed, &productpage, "details").await;
    let (open, secured) =
        (counts("lazyload_accesslog_streams_open").await, counts("lazyload_accesslog_streams_secured").await);
    assert!(open >= 1 && open == secured, "{secured} of {open} streams are secured");
    assert!(counts("lazyload_identity_expires_seconds").await > 0);
    let plaintext = "lazyload_accesslog_connections_refused{reason=\"plaintext\"}";
    assert_eq!(counts(plaintext).await, 0);

    // As any pod without a proxy could: productpage's own address and identity.
    let stream = Stream::open(format!("http://{}", controller.at(8082))).await;
    if let Ok(mut stream) = stream {
        let forged = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
        stream.send_as(forged, (&productpage.ip(), "forged:9080")).await;
    }
    // Through a proxy of the mesh, without and with its certificate.
    for (rule, reason) in [(None, plaintext), (Some(MUTUAL), "lazyload_accesslog_connections_refused{reason=\"peer\"}")]
    {
        if let Some(rule) = rule {
            testbed.apply(rule);
        }
        let before = counts(reason).await;
        eventually("a workload of the mesh is refused", SOON, || async {
            drop(ratings.text(CALL).await);
            let now = counts(reason).await;
            if now > before { Ok(()) } else { Err(controller.text("/metrics").await.unwrap_or_default()) }
        })
        .await;
    }

    // The true one goes on.
    learned(&testbed, &productpage, "reviews").await;
    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).expect("the fence").to_string();
    assert!(!fence.contains("forged"), "{fence}");
    assert_eq!(counts("lazyload_accesslog_streams_secured").await, counts("lazyload_accesslog_streams_open").await);
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

fn count(metrics: &str, series: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

/// What is taken away in the end.
struct Left<'a>(&'a Testbed);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let removed = [
            self.0.kubectl(&["delete", "destinationrule", "to-the-controller", "-n", "default", "--ignore-not-found"]),
            self.0.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing what is left: {failed}");
        }
    }
}
