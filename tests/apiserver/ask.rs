//! `lazyload status`, `explain`, `graph` and `export`, asked of a cluster.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::controller::Controller;
use super::{DEADLINE, command};
use crate::support::waiting::eventually;

fn ask(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    command::ask(&cluster.kubeconfig(), arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_explain_graph_and_export_tell_what_is_in_the_cluster() {
    let Some(cluster) = Cluster::start("ask").await else { return };
    let objects = &cluster.objects;
    let (code, said) = ask(&cluster, &["status"]);
    assert!(code == 0 && said.starts_with("No ServiceFences"), "{said}");
    objects.service("default", "details", json!({"app": "details"})).await;
    objects.fence("default", "productpage", json!({"enable": true, "host": {"details": {}}})).await;
    let controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));

    let report = eventually("the Sidecar is settled", DEADLINE, || async {
        let (code, said) = ask(&cluster, &["status", "default/productpage", "-o", "json"]);
        let report: Value = serde_json::from_str(&said)?;
        anyhow::ensure!(code == 0 && report[0]["sidecar"] == "settled", "{said} {}", controller.log());
        Ok(report[0].clone())
    })
    .await;
    let host = "details.default.svc.cluster.local";
    assert_eq!(report["routed"], json!([format!("*/{host}"), "istio-system/*", "mesh-operator/*"]));
    assert_eq!((&report["origin"], &report["dependencies"][0]["reason"]), (&json!("manual"), &json!("static")));

    assert_eq!(
        ask(&cluster, &["graph"]),
        (0, "default/productpage\n  -> default/details (static, direct)\n".to_owned())
    );
    assert_eq!(ask(&cluster, &["graph", "-n", "empty"]), (0, "lazyload: no dependencies are known yet\n".to_owned()));
    let (_, exported) = ask(&cluster, &["export", "sidecars"]);
    let exported: Value = serde_saphyr::from_str(&exported).unwrap();
    assert_eq!(exported["metadata"], json!({"namespace": "default", "name": "productpage"}));
    let stored = objects.find("Sidecar", "default", "productpage").await.unwrap();
    assert_eq!(exported["spec"], stored["spec"]);

    let (code, said) = ask(&cluster, &["explain", "productpage", "details"]);
    assert_eq!(code, 0, "{said}");
    for line in [
        "ServiceFence default/productpage: made by a user\n",
        "details.default.svc.cluster.local: direct, the workload's proxy has the route\n",
        "  Sidecar entry: */details.default.svc.cluster.local\n  because: static: spec.host.\"details\"\n",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let (code, said) = ask(&cluster, &["explain", "default/productpage", "reviews"]);
    assert!(code == 1 && said.contains("there is no Service default/reviews now"), "{said}");
    let (code, said) = ask(&cluster, &["explain", "details"]);
    assert!(
        code == 0 && said.contains("no ServiceFence default/details: no automatic fence: general.autoFence is off"),
        "{said}"
    );

    let (code, said) = ask(&cluster, &["analyze", "-o", "json"]);
    let findings: Value = serde_json::from_str(&said).unwrap();
    let codes: Vec<&Value> = findings.as_array().unwrap().iter().map(|finding| &finding["code"]).collect();
    // Nobody has installed a global-sidecar here, and there are no pods.
    assert_eq!((code, codes), (1, vec![&json!("LZ001"), &json!("LZ104")]), "{said}");

    let (code, said) = ask(&cluster, &["savings", "-o", "json"]);
    let savings: Value = serde_json::from_str(&said).unwrap();
    let of_fence = &savings["workloads"][0];
    assert_eq!((code, &of_fence["name"], &of_fence["basis"]), (0, &json!("productpage"), &json!("sidecar")), "{said}");
    // All there is besides: the API server itself.
    assert_eq!((&of_fence["with"]["clusters"], &of_fence["without"]["clusters"]), (&json!(1), &json!(2)), "{said}");

    let (code, said) = ask(&cluster, &["status", "nobody"]);
    assert_eq!((code, said.as_str()), (1, "lazyload: no ServiceFence nobody: `lazyload status` lists them\n"));
}
