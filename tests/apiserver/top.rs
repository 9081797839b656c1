//! `lazyload top`, asked of a controller that hears calls.

use std::path::Path;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::send;
use super::{DEADLINE, command};
use crate::support::waiting::eventually;

fn top(kubeconfig: &Path, arguments: &[&str]) -> (i32, String) {
    command::ask(kubeconfig, &[&["top"][..], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_who_calls_what_through_the_global_sidecar_and_how_often() {
    let Some(cluster) = Cluster::start("top").await else { return };
    let objects = &cluster.objects;
    cluster.grant_the_operators_rights().await;
    // Who asks one controller needs no right in the cluster.
    let nobody = cluster.kubeconfig();
    let (code, said) = top(&nobody, &[]);
    assert!(code == 1 && said.contains("failed to list deployments (--controller HOST:PORT"), "{said}");
    let (code, said) = top(&cluster.operators_kubeconfig(), &[]);
    assert!(code == 1 && said.contains("no controller runs"), "{said}");
    let (code, said) = top(&nobody, &["--controller", "nowhere"]);
    assert!(code == 2 && said.contains("expected HOST:PORT"), "{said}");

    objects.service("default", "productpage", json!({"app": "productpage"})).await;
    objects.service("default", "details", json!({"app": "details"})).await;
    objects.pod("default", "productpage", "10.244.0.10").await;
    objects.fence("default", "productpage", json!({"enable": true, "workloadSelector": {"fromService": true}})).await;
    let controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    let address = controller.auxiliary_address();
    let (code, said) = top(&nobody, &["--controller", &address]);
    assert!(code == 0 && said.starts_with("Nothing was called"), "{said}");

    let calls = [("10.244.0.10", "details:9080"), ("10.244.0.10", "x.example:9080"), ("10.244.0.10", "x.example:9080")];
    let _stream = send(&controller, &calls).await;
    let busiest = eventually("both hosts are told", DEADLINE, || async {
        let (code, said) = top(&nobody, &["--controller", &address, "-o", "json"]);
        let busiest: Value = serde_json::from_str(&said)?;
        anyhow::ensure!(code == 0 && busiest[1]["way"] == "direct", "{said} {}", controller.log());
        Ok(busiest)
    })
    .await;
    let told = |at: usize| json!([busiest[at]["name"], busiest[at]["host"], busiest[at]["calls"], busiest[at]["way"]]);
    assert_eq!(told(0), json!(["productpage", "x.example", 2, "external"]));
    assert_eq!(told(1), json!(["productpage", "details.default.svc.cluster.local", 1, "direct"]));
    let (_, said) = top(&nobody, &["--controller", &address, "--limit", "1"]);
    assert!(said.lines().count() == 2 && said.contains("x.example"), "{said}");
    assert!(controller.metric("lazyload_fallback_stuck").await.abs() < 0.5);
}
