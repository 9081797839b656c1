//! How far fences go, break-glass, and what would be written, beside a controller that runs and one that does not.

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::{send, send_own};
use super::{DEADLINE, command};
use crate::support::waiting::eventually;

const MODE: &str = "lazyload.slime.io/mode";
const AFTER: &str = "lazyload.slime.io/enforce-after";

fn ask(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    command::hear(&cluster.folder().join("admin.kubeconfig"), arguments)
}

/// Waits until the fence stands so, and there is a Sidecar, or none.
async fn stands(cluster: &Cluster, controller: &Controller, mode: Option<&str>, hosts: Option<&[&str]>) {
    eventually(&format!("the mode is {mode:?}, the Sidecar {hosts:?}"), DEADLINE, || async {
        let fence = cluster.objects.find("ServiceFence", "default", "productpage").await.unwrap();
        let found = cluster.objects.hosts("default", "productpage").await;
        let is_mode = fence["status"]["mode"].as_str() == mode;
        let is_hosts = found.as_ref().map(|found| found.iter().map(String::as_str).collect::<Vec<_>>())
            == hosts.map(<[&str]>::to_vec);
        anyhow::ensure!(is_mode && is_hosts, "{} {found:?} {}", fence["status"], controller.log());
        Ok(())
    })
    .await;
}

const DETAILS: &str = "*/details.default.svc.cluster.local";
const REVIEWS: &str = "*/reviews.default.svc.cluster.local";
const ALL: [&str; 4] = [DETAILS, REVIEWS, "istio-system/*", "mesh-operator/*"];

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_observed_recommended_enforced_and_widened_and_nothing_that_it_learned_is_lost() {
    let Some(cluster) = Cluster::start("modes").await else { return };
    let objects = &cluster.objects;
    if objects.find("Namespace", "", "mesh-operator").await.is_none() {
        objects.namespace("mesh-operator").await;
    }
    for name in ["productpage", "details", "reviews"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    objects.pod("default", "productpage", "10.244.0.10").await;
    objects.label("Service", "default", "productpage", MODE, Some("observe")).await;
    let spec = json!({"enable": true, "workloadSelector": {"fromService": true}});
    objects.fence("default", "productpage", spec.clone()).await;
    let mut controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    let _stream = send(&controller, &[("10.244.0.10", "details:9080")]).await;
    stands(&cluster, &controller, Some("observe"), None).await;
    eventually("it has learned", DEADLINE, || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        fence["status"]["domains"].as_object().filter(|domains| domains.len() == 1).map(|_| ()).ok_or(fence)
    })
    .await;
    let (code, said) = ask(&cluster, &["recommend"]);
    let (printed, _remarks) = said.split_once("lazyload: ").unwrap_or((&said, ""));
    let recommended: Value = serde_saphyr::from_str(printed).unwrap();
    assert_eq!((code, &recommended["spec"]["egress"][0]["hosts"][0]), (0, &json!(DETAILS)), "{said}");

    // The namespace has no say where the Service has one; the fence itself has the last word.
    objects.label("Namespace", "", "default", MODE, Some("enforce")).await;
    objects.label("ServiceFence", "default", "productpage", MODE, Some("recommend")).await;
    stands(&cluster, &controller, Some("recommend"), None).await;
    let (_, said) = ask(&cluster, &["status"]);
    assert!(said.contains("recommend") && said.contains("Recommending"), "{said}");
    objects.label("ServiceFence", "default", "productpage", MODE, None).await;
    objects.label("Service", "default", "productpage", MODE, None).await;
    stands(&cluster, &controller, None, Some(&[DETAILS, "istio-system/*", "mesh-operator/*"])).await;
    let (code, said) = ask(&cluster, &["recommend"]);
    assert!(code == 1 && said.contains("nothing to recommend"), "{said}");

    let (code, said) = ask(&cluster, &["break-glass", "on"]);
    assert!(code == 2 && said.contains("--controller NAMESPACE"), "{said}");
    let (code, said) = ask(&cluster, &["break-glass", "on", "--controller", "mesh-operator"]);
    assert!(code == 0 && said.contains("No fence of the mesh has a Sidecar now (1 in all)"), "{said}");
    stands(&cluster, &controller, Some("break-glass"), None).await;
    let (_, said) = ask(&cluster, &["analyze"]);
    assert!(said.contains("LZ004"), "{said}");
    controller.counts("lazyload_break_glass", 1.0).await;
    let _again = send(&controller, &[("10.244.0.10", "reviews:9080")]).await;
    let (code, said) = ask(&cluster, &["break-glass", "off", "--controller", "mesh-operator"]);
    assert!(code == 0 && said.contains("Sidecars come back"), "{said}");
    stands(&cluster, &controller, None, Some(&ALL)).await;

    // While the controller is away it can be asked for, and is heeded at the start.
    assert_eq!(controller.terminate().await, Some(0));
    let (code, said) = ask(&cluster, &["break-glass", "on", "--namespace", "default", "--timeout", "1"]);
    assert!(code == 1 && said.contains("The label stays"), "{said}");
    controller.start_again();
    stands(&cluster, &controller, Some("break-glass"), None).await;
    let (code, said) = ask(&cluster, &["break-glass", "off", "-n", "default"]);
    assert!(code == 0 && said.contains("in namespace default"), "{said}");
    stands(&cluster, &controller, None, Some(&ALL)).await;
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    assert_eq!(fence["spec"], spec, "nothing of the user's was edited");
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_waits_until_it_is_known_well_enough_and_a_restart_begins_nothing_again() {
    let Some(cluster) = Cluster::start("enforce after").await else { return };
    let objects = &cluster.objects;
    for name in ["productpage", "details", "reviews"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    objects.pod("default", "productpage", "10.244.0.10").await;
    let spec = json!({"enable": true, "workloadSelector": {"fromService": true}});
    objects.fence("default", "productpage", spec).await;
    let general = json!({"wormholePort": ["9080"], "enforceAfter": "1h"});
    let mut controller = Controller::start(&cluster, &general);
    controller.ready().await;
    let _stream = send(&controller, &[("10.244.0.10", "details:9080")]).await;
    stands(&cluster, &controller, Some("waiting"), None).await;
    let learned = || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        let coverage = &fence["status"]["coverage"];
        let time = |field: &str| coverage[field].as_str().unwrap_or("none").to_owned();
        let (since, newest) = (time("since"), time("newestHost"));
        // It may be learned before the fence was looked at. The last write of several tells the time in a condition.
        let told = if newest < since { format!("began at {since}") } else { format!("learned at {newest}") };
        let is_told = newest != "none" && fence["status"]["conditions"].to_string().contains(&told);
        anyhow::ensure!(is_told, "{fence} {}", controller.log());
        Ok(fence["status"]["coverage"].clone())
    };
    let before = eventually("it has learned, and waits for more", DEADLINE, learned).await;
    assert_eq!(before["pods"], 1, "{before}");
    let written = objects.versions("ServiceFence").await;

    assert_eq!(controller.terminate().await, Some(0));
    controller.start_again();
    controller.ready().await;
    let _again = send(&controller, &[("10.244.0.10", "details:9080")]).await;
    controller.counts("lazyload_fence_modes{mode=\"waiting\"}", 1.0).await;
    assert_eq!(objects.versions("ServiceFence").await, written, "what is known is not written again");

    let _more = send(&controller, &[("10.244.0.10", "reviews:9080")]).await;
    let learned = || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        let is_known = fence["status"]["domains"].get("reviews.default.svc.cluster.local").is_some();
        anyhow::ensure!(is_known, "{fence} {}", controller.log());
        Ok(fence["status"]["coverage"].clone())
    };
    let after = eventually("it has learned more", DEADLINE, learned).await;
    assert_eq!((&after["since"], &after["pods"]), (&before["since"], &json!(1)), "{after}");
    assert!(after["newestHost"].as_str() >= before["newestHost"].as_str(), "{before} {after}");

    let (_, said) = ask(&cluster, &["status", "-o", "wide"]);
    assert!(said.contains("waiting") && said.contains("1 pod") && said.contains("general.enforceAfter"), "{said}");
    let (code, said) = ask(&cluster, &["recommend"]);
    assert!(code == 0 && said.contains(REVIEWS) && said.contains("1 pod seen calling"), "{said}");
    let address = controller.auxiliary_address();
    let explain = |host: &str| ask(&cluster, &["explain", "productpage", host, "--controller", &address]);
    let (code, said) = explain("reviews");
    let taught = "Z: default/productpage-v1 called it as reviews, by its address\n";
    assert!(code == 0 && said.contains(taught), "{said}");
    let (code, said) = explain("details");
    assert!(code == 0 && said.contains("    it was learned before the controller began\n"), "{said}");

    objects.label("Service", "default", "productpage", AFTER, Some("1s")).await;
    stands(&cluster, &controller, None, Some(&ALL)).await;
    eventually("nothing is told of coverage any more", DEADLINE, || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        anyhow::ensure!(fence["status"].get("coverage").is_none(), "{fence}");
        Ok(())
    })
    .await;
    let (code, said) = explain("reviews");
    assert!(code == 0 && said.contains("in the Sidecar since "), "{said}");
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observed_fence_is_told_by_its_own_proxy_which_speaks_for_nobody_else() {
    let Some(cluster) = Cluster::start("caller logs").await else { return };
    let objects = &cluster.objects;
    cluster.install_istio_crds(&["EnvoyFilter"]).await;
    cluster.grant_the_rights_for_caller_logs().await;
    for name in ["productpage", "other", "details", "reviews"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    // The test itself is the proxy: it comes from loopback.
    objects.pod("default", "productpage", "127.0.0.1").await;
    objects.pod("default", "other", "10.244.0.11").await;
    let spec = json!({"enable": true, "workloadSelector": {"fromService": true}});
    for name in ["productpage", "other"] {
        objects.fence("default", name, spec.clone()).await;
    }
    objects.label("Service", "default", "productpage", MODE, Some("observe")).await;
    let general = json!({"callerLogs": "on", "wormholePort": ["9080"]});
    let mut controller = Controller::start(&cluster, &general);
    controller.ready().await;
    let filter = "lazyload-caller-log.productpage";
    let found = || async { objects.find("EnvoyFilter", "default", filter).await.ok_or_else(|| controller.log()) };
    let made = eventually("there is an EnvoyFilter", DEADLINE, found).await;
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "ServiceFence");
    assert_eq!(made["spec"]["workloadSelector"]["labels"], json!({"app": "productpage"}));
    assert_eq!(objects.list("EnvoyFilter").await.len(), 1, "the other fence is enforced");

    let _stream = send_own(&controller, &[("127.0.0.1", "details:9080"), ("10.244.0.11", "reviews:9080")]).await;
    let learned = || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        let is_known = fence["status"]["domains"].get("details.default.svc.cluster.local").is_some();
        anyhow::ensure!(is_known && fence["status"]["callerLog"] == filter, "{fence} {}", controller.log());
        Ok(fence)
    };
    let fence = eventually("it has learned what it calls", DEADLINE, learned).await;
    controller.counts("lazyload_accesslog_skipped{reason=\"not_its_own\"}", 1.0).await;
    let forged = objects.find("ServiceFence", "default", "other").await.unwrap();
    assert!(!fence.to_string().contains("reviews") && !forged.to_string().contains("reviews"), "{forged}");

    // One that somebody deleted while no controller ran is put back by the next.
    assert_eq!(controller.terminate().await, Some(0));
    objects.delete("EnvoyFilter", "default", filter).await;
    controller.start_again();
    controller.ready().await;
    let found = || async { objects.find("EnvoyFilter", "default", filter).await.ok_or_else(|| controller.log()) };
    eventually("it is there again", DEADLINE, found).await;
    objects.label("Service", "default", "productpage", MODE, Some("enforce")).await;
    stands(&cluster, &controller, None, Some(&[DETAILS, "istio-system/*", "mesh-operator/*"])).await;
    eventually("nothing of it is left", DEADLINE, || async {
        let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
        let left = objects.list("EnvoyFilter").await;
        anyhow::ensure!(left.is_empty() && fence["status"].get("callerLog").is_none(), "{left:?} {}", controller.log());
        Ok(())
    })
    .await;
    assert_eq!(controller.terminate().await, Some(0));
}

/// What is in the Sidecar of productpage, and what its status tells of a host that is not called.
async fn unused(cluster: &Cluster, host: &str) -> (Vec<String>, Value) {
    let fence = cluster.objects.find("ServiceFence", "default", "productpage").await.unwrap();
    let hosts = cluster.objects.hosts("default", "productpage").await.unwrap_or_default();
    (hosts, fence["status"]["unused"][host].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_its_caller_does_not_call_any_more_goes_into_quarantine_and_comes_back_with_its_first_call() {
    let Some(cluster) = Cluster::start("unused hosts").await else { return };
    let objects = &cluster.objects;
    cluster.install_istio_crds(&["EnvoyFilter"]).await;
    cluster.grant_the_rights_for_caller_logs().await;
    if objects.find("Namespace", "", "mesh-operator").await.is_none() {
        objects.namespace("mesh-operator").await;
    }
    objects.service("mesh-operator", "global-sidecar", json!({})).await;
    for name in ["productpage", "details", "reviews"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    // The test itself is the proxy: it comes from loopback.
    objects.pod("default", "productpage", "127.0.0.1").await;
    objects.fence("default", "productpage", json!({"enable": true, "workloadSelector": {"fromService": true}})).await;
    let general = json!({"callerLogs": "on", "wormholePort": ["9080"], "expireUnusedAfter": "10s"});
    let mut controller = Controller::start(&cluster, &general);
    controller.ready().await;
    let filter = "lazyload-caller-log.productpage";
    let found = || async { objects.find("EnvoyFilter", "default", filter).await.ok_or_else(|| controller.log()) };
    eventually("its proxy is asked to tell, although it is enforced", DEADLINE, found).await;

    let (both, details) =
        ([("127.0.0.1", "details:9080"), ("127.0.0.1", "reviews:9080")], [("127.0.0.1", "details:9080")]);
    let mut stream = send_own(&controller, &both).await;
    stands(&cluster, &controller, None, Some(&ALL)).await;
    // Its proxy goes on telling of one of the two.
    let calling = tokio::spawn(async move {
        loop {
            stream.send_own(&details).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let reviews = "reviews.default.svc.cluster.local";
    eventually("it is out of the Sidecar", DEADLINE * 2, || async {
        let (hosts, unused) = unused(&cluster, reviews).await;
        let is_out = unused["quarantinedSince"].is_string() && !hosts.contains(&REVIEWS.to_owned());
        anyhow::ensure!(is_out && hosts.contains(&DETAILS.to_owned()), "{hosts:?} {unused} {}", controller.log());
        Ok(())
    })
    .await;
    controller.counts("lazyload_quarantined_hosts", 1.0).await;
    controller.counts("lazyload_fences_heard{heard=\"yes\"}", 1.0).await;
    let (_, said) = ask(&cluster, &["status", "productpage"]);
    assert!(said.contains("quarantined since") && said.contains("not called for 10s"), "{said}");
    let (code, said) = ask(&cluster, &["explain", "productpage", "reviews"]);
    assert!(code == 1 && said.contains("because: quarantine: quarantined since"), "{said}");
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    assert_eq!(fence["status"]["domains"][reviews]["status"], "EXPIRE");
    assert!(fence["status"]["metricStatus"].to_string().contains(reviews), "nothing is forgotten");

    // A controller that is killed meanwhile leaves it where it is.
    calling.abort();
    controller.kill();
    controller.start_again();
    controller.ready().await;
    assert!(unused(&cluster, reviews).await.1["quarantinedSince"].is_string());
    let _first = send(&controller, &[("127.0.0.1", "reviews:9080")]).await;
    eventually("it is back", DEADLINE, || async {
        let (hosts, unused) = unused(&cluster, reviews).await;
        let is_back = unused == json!({"leaseSeconds": 20, "falseExpiries": 1}) && hosts.contains(&REVIEWS.to_owned());
        anyhow::ensure!(is_back, "{hosts:?} {unused} {}", controller.log());
        Ok(())
    })
    .await;
    controller.counts("lazyload_learned_returned", 1.0).await;
    assert_eq!(controller.terminate().await, Some(0));
}
