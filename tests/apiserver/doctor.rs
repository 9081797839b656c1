//! `lazyload doctor`, asked of a cluster in which less and less is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::support::binary;

/// The verdicts about each part, in the order in which they are told.
fn doctor(kubeconfig: &Path) -> (i32, Vec<(String, String)>, String) {
    let asked =
        Command::new(binary::lazyload()).args(["doctor", "-o", "json"]).env("KUBECONFIG", kubeconfig).output().unwrap();
    let said = String::from_utf8(asked.stdout).unwrap();
    let checks: Vec<Value> = serde_json::from_str(&said).unwrap();
    let told = |check: &Value, field: &str| check[field].as_str().unwrap().to_owned();
    let verdicts = checks.iter().map(|check| (told(check, "about"), told(check, "verdict"))).collect();
    (asked.status.code().unwrap(), verdicts, said)
}

fn about(verdicts: &[(String, String)], part: &str) -> Vec<String> {
    verdicts.iter().filter(|(about, _)| about == part).map(|(_, verdict)| verdict.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_missing_and_what_is_there_and_takes_nothing_for_well_that_it_may_not_ask() {
    let Some(cluster) = Cluster::start_without_crds("doctor").await else { return };
    let objects = &cluster.objects;
    let admin: PathBuf = cluster.folder().join("admin.kubeconfig");
    let (code, verdicts, said) = doctor(&admin);
    assert_eq!(code, 1, "{said}");
    assert_eq!(about(&verdicts, "API server"), ["ok"], "{said}");
    assert_eq!(about(&verdicts, "CRDs"), ["failed", "failed"], "{said}");
    assert_eq!(about(&verdicts, "SlimeBoot"), ["notKnown"], "{said}");
    assert_eq!(about(&verdicts, "controller"), ["failed"], "{said}");
    assert_eq!(about(&verdicts, "proxies"), ["notKnown"], "{said}");
    assert_eq!(about(&verdicts, "DNS"), ["notKnown"], "{said}");

    cluster.install_product_crds().await;
    cluster.install_istio_crds(&["Sidecar"]).await;
    objects.namespace("mesh-operator").await;
    objects.namespace("istio-system").await;
    let boot = json!({"apiVersion": "config.netease.com/v1alpha1", "kind": "SlimeBoot",
        "metadata": {"namespace": "mesh-operator", "name": "lazyload"}, "spec": {}});
    objects.apply(&boot).await;
    objects.apply(&deployment("istio-system", "istiod", &json!({"app": "istiod"}), "pilot:1.31.0", "discovery")).await;
    let ours = json!({"app": "global-sidecar", "app.kubernetes.io/part-of": "lazyload"});
    objects.apply(&deployment("mesh-operator", "global-sidecar", &ours, "lazyload:1", "global-sidecar")).await;
    let dns = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "kube-system", "name": "kube-dns"},
        "spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]}});
    objects.apply(&dns).await;
    let (code, verdicts, said) = doctor(&admin);
    assert_eq!(code, 1, "{said}");
    assert_eq!(about(&verdicts, "DNS"), ["failed"], "nobody answers: {said}");
    assert_eq!(about(&verdicts, "Istio"), ["ok"], "{said}");
    // Whatever the API server adds to them.
    assert_eq!(about(&verdicts, "CRDs"), ["ok", "ok"], "{said}");
    assert_eq!(about(&verdicts, "SlimeBoot"), ["failed"], "{said}");
    assert!(said.contains("no operator has looked at it") && said.contains("0 of 1 pods are ready"), "{said}");

    let ready = json!({"status": {"replicas": 1, "readyReplicas": 1}});
    objects.report("Deployment", "mesh-operator", "global-sidecar", ready).await;
    let condition = json!({"type": "Ready", "status": "True", "reason": "Applied", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    objects.report("SlimeBoot", "mesh-operator", "lazyload", json!({"status": {"conditions": [condition]}})).await;
    let labels = json!({"kubernetes.io/service-name": "kube-dns"});
    objects
        .apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"namespace": "kube-system", "name": "kube-dns-1", "labels": labels},
            "endpoints": [{"addresses": ["10.0.0.10"]}, {"addresses": ["10.0.0.11"], "conditions": {"ready": false}}],
        }))
        .await;
    let (_, verdicts, said) = doctor(&admin);
    let parts = ["SlimeBoot", "global-sidecar", "DNS"].map(|part| about(&verdicts, part));
    assert_eq!(parts, [["ok"], ["ok"], ["ok"]], "{said}");
    assert!(said.contains("ready addresses: 1"), "{said}");

    let (_, verdicts, said) = doctor(&cluster.kubeconfig());
    for part in ["Istio", "CRDs", "SlimeBoot", "controller", "learning", "global-sidecar"] {
        assert_eq!(about(&verdicts, part), ["notKnown"], "{part}: {said}");
    }
    // The controller's own rights show this.
    assert_eq!(about(&verdicts, "DNS"), ["ok"], "{said}");
    let (code, verdicts, said) = doctor(&cluster.folder().join("nothing.kubeconfig"));
    assert_eq!((code, about(&verdicts, "API server")), (1, vec!["failed".to_owned()]), "{said}");
}

fn deployment(namespace: &str, name: &str, labels: &Value, image: &str, command: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": name, "image": image, "command": [command]}]}},
        },
    })
}
