//! The seed's Example, section by section (contract 7.1, E4–E18), under a steady load; its commands are those that the tutorial prints.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::{Installation, NAMESPACE};
use super::pods::{Pod, access_log, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use super::tutorial::run_chapter;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(20);
const PAGE: &str = "http://productpage:9080/productpage";

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_example_on_a_real_mesh() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("the_seeds_example_on_a_real_mesh") else { return };
    // New pods: their access logs begin with this story.
    script(&["bookinfo", "down"]);
    let installation = Installation::new(&testbed).await;
    all_components_run(&testbed, &installation);
    tell(&testbed).await;
}

async fn tell(testbed: &Testbed) {
    bookinfo_is_installed(testbed);
    let fence = enabling_creates_fence_and_sidecar(testbed).await;
    let visitor = Pod::find(testbed, "app=ratings");
    let productpage = Pod::find(testbed, "app=productpage");
    let load = visitor.start_load(PAGE, 50).await;
    first_visit_goes_through_the_global_sidecar(testbed, &productpage).await;
    run_chapter(testbed, "4. First visit");
    fence_and_sidecar_have_learned(testbed, &fence).await;
    second_visit_is_direct(testbed, &productpage).await;
    // Long enough for every request of the switch to have ended.
    eventually("a thousand requests were sent", Duration::from_secs(60), || async {
        let lines = access_log(testbed, &productpage.name, "\"GET /productpage").len();
        if lines > 1000 { Ok(()) } else { Err(lines) }
    })
    .await;
    let result = visitor.stop_load(&load).await;
    println!("load: {} requests, p50 {} ms, p99 {} ms", result["sent"], result["p50_ms"], result["p99_ms"]);
    assert_eq!(result["failed"], json!([]), "no request fails");
    each_part_of_the_time_to_direct_was_measured(testbed);
    uninstalling_bookinfo_removes_the_fence(testbed).await;
}

/// E4, E5; the operator's pod comes with the operator.
fn all_components_run(testbed: &Testbed, installation: &Installation<'_>) {
    let shown = testbed.kubectl(&["get", "slimeboot", "-n", NAMESPACE]).unwrap();
    let mut lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next(), Some(vec!["NAME", "AGE"]));
    assert_eq!(lines.next().map(|line| line[0].to_owned()), Some("lazyload".to_owned()));
    assert_eq!(lines.next(), None);

    let mut pods = installation.pods();
    pods.sort();
    let [(global_sidecar, ready, restarts), (controller, controller_ready, controller_restarts)] = &pods[..] else {
        panic!("{pods:?}");
    };
    assert!(global_sidecar.starts_with("global-sidecar-") && controller.starts_with("lazyload-"), "{pods:?}");
    assert_eq!((ready.as_str(), *restarts), ("2/2", 0), "{pods:?}");
    assert_eq!((controller_ready.as_str(), *controller_restarts), ("1/1", 0), "{pods:?}");
}

/// E6, E7.
fn bookinfo_is_installed(testbed: &Testbed) {
    script(&["bookinfo", "up"]);
    assert_eq!(visit(testbed), "200");
}

/// The seed's line: from the ratings pod, `curl productpage:9080/productpage`.
fn visit(testbed: &Testbed) -> String {
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "productpage:9080/productpage"];
    let exec = ["exec", "-n", "default", "deploy/ratings-v1", "--"];
    let arguments: Vec<&str> = exec.iter().chain(&curl).copied().collect();
    testbed.kubectl(&arguments).unwrap()
}

/// E8b–E12. Returns the fence.
async fn enabling_creates_fence_and_sidecar(testbed: &Testbed) -> Value {
    run_chapter(testbed, "3. Enable lazyload for productpage");
    let sidecar = eventually("the Sidecar, settled", SOON, || async {
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        anyhow::ensure!(sidecar["spec"]["egress"].as_array().map(Vec::len) == Some(1), "{sidecar:#}");
        Ok(sidecar)
    })
    .await;
    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).unwrap();
    assert_eq!(fence["metadata"]["generation"], 1);
    assert_eq!(fence["metadata"]["labels"], json!({"app.kubernetes.io/created-by": "fence-controller"}));
    // `workloadSelector.fromService` is the one addition to what the seed prints (contract D9).
    assert_eq!(fence["spec"], json!({"enable": true, "workloadSelector": {"fromService": true}}));
    assert_eq!(printed_status(&fence), json!({}));

    // Made with every cluster, then without: the seed's is made in one step.
    assert_eq!(sidecar["metadata"]["generation"], 2);
    assert_eq!(sidecar["metadata"]["ownerReferences"], owner(&fence));
    assert_eq!(sidecar["spec"], sidecar_spec(&["istio-system/*", "mesh-operator/*"]));
    for kind in ["servicefence", "sidecar"] {
        let list = testbed.get(&[kind, "-n", "default"]).unwrap();
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list:#}");
    }
    // The proxy has the new configuration once it knows details no more.
    eventually("the Sidecar is in force", SOON, || async {
        let clusters = clusters(testbed, "productpage-v1")?;
        anyhow::ensure!(!clusters.contains("outbound|9080||details.default"), "details is still known");
        Ok(())
    })
    .await;
    fence
}

fn owner(fence: &Value) -> Value {
    json!([{
        "apiVersion": "microservice.slime.io/v1alpha1",
        "blockOwnerDeletion": true,
        "controller": true,
        "kind": "ServiceFence",
        "name": "productpage",
        "uid": fence["metadata"]["uid"],
    }])
}

fn sidecar_spec(hosts: &[&str]) -> Value {
    json!({"egress": [{"hosts": hosts}], "workloadSelector": {"labels": {"app": "productpage"}}})
}

/// E13: the first lines of productpage's own calls.
async fn first_visit_goes_through_the_global_sidecar(testbed: &Testbed, productpage: &Pod) {
    let gateway = "outbound|9080||global-sidecar.mesh-operator.svc.cluster.local";
    for (path, authority) in [("/details/0", "\"details:9080\""), ("/reviews/0", "\"reviews:9080\"")] {
        let line = eventually("a line of the first visit", SOON, || async {
            let lines = access_log(testbed, &productpage.name, &format!("GET {path} "));
            lines.into_iter().find(|line| line.contains(gateway)).ok_or("none yet")
        })
        .await;
        let ok = format!("\"GET {path} HTTP/1.1\" 200 ");
        assert!(line.contains(&ok) && line.contains(authority) && line.ends_with(" - -"), "{line}");
    }
}

/// E14, E15, E17.
async fn fence_and_sidecar_have_learned(testbed: &Testbed, before: &Value) {
    let (details, reviews) = ("details.default.svc.cluster.local", "reviews.default.svc.cluster.local");
    let hosts = ["*/details.default.svc.cluster.local", "*/reviews.default.svc.cluster.local"];
    let expected = sidecar_spec(&[hosts[0], hosts[1], "istio-system/*", "mesh-operator/*"]);
    let sidecar = eventually("the Sidecar with both hosts", SOON, || async {
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        anyhow::ensure!(sidecar["spec"] == expected, "{sidecar:#}");
        Ok(sidecar)
    })
    .await;
    assert_eq!(sidecar["metadata"]["ownerReferences"], owner(before));
    // Announced and routed: two more than before (in the seed one more) where both calls of the first visit end within the gathering
    // time; on a slow machine the second one is announced when the first is routed.
    let generation = sidecar["metadata"]["generation"].as_u64().unwrap_or_default();
    assert!((4..=5).contains(&generation), "{generation}");
    println!("generation of the Sidecar after the first visit: {generation}");

    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).unwrap();
    assert_eq!(fence["metadata"]["generation"], 1);
    assert_eq!(
        printed_status(&fence),
        json!({
            "domains": {details: {"hosts": [details]}, reviews: {"hosts": [reviews]}},
            "metricStatus": {
                format!("{{destination_service=\"{details}\"}}"): "1",
                format!("{{destination_service=\"{reviews}\"}}"): "1",
            },
        })
    );
}

/// E16: the newest lines are direct, and the callee sees the caller's own identity.
async fn second_visit_is_direct(testbed: &Testbed, productpage: &Pod) {
    run_chapter(testbed, "5. Second visit");
    for (path, service) in [("/details/0", "details"), ("/reviews/0", "reviews")] {
        let cluster = format!("outbound|9080||{service}.default.svc.cluster.local");
        eventually("calls are direct", SOON, || async {
            let lines = access_log(testbed, &productpage.name, &format!("GET {path} "));
            let last = lines.last().cloned().unwrap_or_default();
            if last.contains(&cluster) && last.contains("\" 200 ") && last.ends_with(" - default") {
                Ok(())
            } else {
                Err(last)
            }
        })
        .await;
        let seen = productpage.ask(&format!("/fetch?url=http://{service}:9080/")).await.unwrap();
        let text = seen.to_string();
        assert!(text.contains("URI=spiffe://cluster.local/ns/default/sa/bookinfo-productpage"), "{text}");
        assert!(!text.contains("sa/global-sidecar"), "{text}");
    }
}

/// Of what the controller counts itself: the proxies' clocks and statistics are real here alone.
fn each_part_of_the_time_to_direct_was_measured(testbed: &Testbed) {
    let pods = testbed.get(&["pods", "-n", NAMESPACE, "-l", "app=lazyload"]).unwrap();
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8081/proxy/metrics");
    let metrics = testbed.kubectl(&["get", "--raw", &path]).unwrap();
    let value = |series: String| {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{series} ")));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {series}: {metrics}"))
    };
    for part in ["log", "plan", "write", "push"] {
        let (count, sum) =
            (value(format!("lazyload_{part}_seconds_count")), value(format!("lazyload_{part}_seconds_sum")));
        println!("{part}: {count} times, {:.0} ms each", 1000.0 * sum / count);
        assert!(count >= 1.0, "{part} was not measured");
    }
}

/// E18.
async fn uninstalling_bookinfo_removes_the_fence(testbed: &Testbed) {
    script(&["bookinfo", "down"]);
    for kind in ["servicefence", "sidecar"] {
        eventually("it is gone", Duration::from_secs(60), || async {
            let list = testbed.get(&[kind, "-n", "default"])?;
            anyhow::ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list:#}");
            Ok(())
        })
        .await;
    }
}

/// A fence's status as the original prints it: without how the fence is doing.
fn printed_status(fence: &Value) -> Value {
    let mut status = fence["status"].clone();
    status.as_object_mut().unwrap().retain(|field, _| field != "conditions" && field != "observedGeneration");
    status
}
