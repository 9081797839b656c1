//! Adopting it in a mesh that is in use: a workload is observed under load and nothing of it is rerouted, then enforced without a first call through
//! the global-sidecar, then everything is taken away in a hurry and brought back. No request may fail.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::{Installation, NAMESPACE};
use super::pods::{Pod, access_log, clusters};
use super::testbed::{Testbed, lazyload_binary, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const PAGE: &str = "http://productpage:9080/productpage";
const FILTER: &str = "lazyload-caller-log.productpage";
const HOSTS: [&str; 2] = ["details.default.svc.cluster.local", "reviews.default.svc.cluster.local"];

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_observed_enforced_and_widened_under_load_and_no_request_fails_or_is_rerouted() {
    let _turn = turn().await;
    let test = "a_workload_is_observed_enforced_and_widened_under_load_and_no_request_fails_or_is_rerouted";
    let Some(testbed) = Testbed::up(test) else { return };
    // New pods: their access logs begin with this story.
    script(&["bookinfo", "down"]);
    let installation =
        Installation::with_general(&testbed, &[("callerLogs", "\"on\""), ("fenceMode", "observe")]).await;
    script(&["bookinfo", "up"]);
    let productpage = Pod::find(&testbed, "app=productpage");
    let visitor = Pod::find(&testbed, "app=ratings");
    let load = visitor.start_load(PAGE, 50).await;
    testbed.kubectl(&["label", "service", "productpage", "-n", "default", "slime.io/serviceFenced=true"]).unwrap();
    observed(&testbed).await;
    // Without a controller its log goes nowhere, and nobody notices.
    testbed.kubectl(&["delete", "pod", "-n", NAMESPACE, "-l", "app=lazyload", "--wait=false"]).unwrap();
    installation.ready().await;
    assert_eq!(rerouted(&testbed, &productpage), 0, "observed, and nothing of it takes another way");

    label(&testbed, "enforce");
    sidecar_has_both(&testbed).await;
    eventually("nobody's proxy tells what it calls any more", SOON, || async {
        let left = testbed.kubectl(&["get", "envoyfilter", FILTER, "-n", "default", "--ignore-not-found"])?;
        let clusters = clusters(&testbed, "productpage-v1")?;
        anyhow::ensure!(left.is_empty() && !clusters.contains(FILTER), "{left}");
        anyhow::ensure!(!clusters.contains("outbound|9080||ratings.default"), "the Sidecar is not in force");
        Ok(())
    })
    .await;
    let page = visitor.ask(&format!("/fetch?url={PAGE}")).await.unwrap();
    assert_eq!(page["status"], 200, "{page:#}");
    assert_eq!(rerouted(&testbed, &productpage), 0, "what it calls was known before");

    println!("{}", break_glass(&testbed, "on"));
    assert!(testbed.get(&["sidecar", "productpage", "-n", "default"]).is_err(), "it has no Sidecar");
    println!("{}", break_glass(&testbed, "off"));
    sidecar_has_both(&testbed).await;
    assert_eq!(rerouted(&testbed, &productpage), 0);
    let result = visitor.stop_load(&load).await;
    println!("load: {} requests, p50 {} ms, p99 {} ms", result["sent"], result["p50_ms"], result["p99_ms"]);
    assert_eq!(result["failed"], json!([]), "no request fails");
    script(&["bookinfo", "down"]);
}

/// Its own proxy tells what it calls, and there is no Sidecar.
async fn observed(testbed: &Testbed) {
    let fence = eventually("the fence has learned from its own proxy", SOON, || async {
        let fence = testbed.get(&["servicefence", "productpage", "-n", "default"])?;
        let knows = |host: &&str| !fence["status"]["domains"][*host].is_null();
        anyhow::ensure!(HOSTS.iter().all(knows), "{:#}", fence["status"]);
        Ok(fence)
    })
    .await;
    assert_eq!((&fence["status"]["mode"], &fence["status"]["callerLog"]), (&json!("observe"), &json!(FILTER)));
    let sidecars = testbed.get(&["sidecar", "-n", "default"]).unwrap();
    assert_eq!(sidecars["items"], json!([]));
    let recommended = lazyload(testbed, "recommend productpage");
    assert!(HOSTS.iter().all(|host| recommended.contains(&format!("*/{host}"))), "{recommended}");
    assert!(clusters(testbed, "productpage-v1").unwrap().contains(FILTER));
}

fn label(testbed: &Testbed, mode: &str) {
    let mode = format!("lazyload.slime.io/mode={mode}");
    testbed.kubectl(&["label", "service", "productpage", "-n", "default", &mode, "--overwrite"]).unwrap();
}

async fn sidecar_has_both(testbed: &Testbed) {
    eventually("the Sidecar has both hosts, and nothing is under way", SOON, || async {
        let sidecar = testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        let egress = &sidecar["spec"]["egress"];
        let has = |host: &&str| {
            egress[0]["hosts"].as_array().is_some_and(|all| all.contains(&Value::from(format!("*/{host}"))))
        };
        anyhow::ensure!(egress.as_array().map(Vec::len) == Some(1) && HOSTS.iter().all(has), "{sidecar:#}");
        Ok(())
    })
    .await;
}

/// Calls of a pod that took the way through the global-sidecar, by the log that the mesh has of its proxy.
fn rerouted(testbed: &Testbed, caller: &Pod) -> usize {
    let lines = access_log(testbed, &caller.name, "\"GET /details/0");
    assert!(!lines.is_empty(), "the mesh's own log goes on");
    lines.iter().filter(|line| line.contains("global-sidecar")).count()
}

fn break_glass(testbed: &Testbed, what: &str) -> String {
    lazyload(testbed, &format!("break-glass {what}"))
}

/// As a user of this cluster would.
fn lazyload(testbed: &Testbed, arguments: &str) -> String {
    testbed.shell(&format!("{} {arguments}", lazyload_binary().display())).unwrap()
}
