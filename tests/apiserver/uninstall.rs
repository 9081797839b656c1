//! `lazyload uninstall`, with the rights that the chart's Job has and no others.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{Cluster, OPERATOR_GROUP, documents};
use crate::packaging::program::helm;
use crate::support::running::Running;
use crate::support::waiting::eventually;
use crate::support::{binary, process, repository};

fn sidecar(name: &str, owner: &Value) -> Value {
    let owners = if owner.is_null() { json!([]) } else { json!([owner]) };
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
        "metadata": {"namespace": "default", "name": name, "ownerReferences": owners},
        "spec": {
            "workloadSelector": {"labels": {"app": name}},
            "egress": [{"hosts": ["*/details.default.svc.cluster.local", "istio-system/*"]}],
        },
    })
}

/// By which the proxies of a fence tell what they call, or a user's own.
fn envoy_filter(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"namespace": "default", "name": name, "labels": labels}, "spec": {"configPatches": []},
    })
}

fn deployment(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"namespace": "mesh-operator", "name": name, "labels": labels},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "app"}]},
            },
        },
    })
}

/// The ClusterRole of the chart's Job, for the user that the operator is here.
async fn grant_the_jobs_rights(cluster: &Cluster) -> bool {
    let Some(helm) = helm("uninstall") else { return false };
    let chart = repository().join("charts/lazyload").display().to_string();
    let printed = process::run(helm, &["template", "lazyload", &chart, "-n", "mesh-operator"]).unwrap();
    let mut granted = 0;
    for mut object in documents(&printed) {
        if object["metadata"]["name"] != "lazyload-uninstall.mesh-operator" {
            continue;
        }
        if object["kind"] == "ClusterRoleBinding" {
            object["subjects"] =
                json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": OPERATOR_GROUP}]);
        }
        cluster.objects.apply(&object).await;
        granted += 1;
    }
    assert_eq!(granted, 2, "{printed}");
    true
}

#[tokio::test]
async fn sidecars_go_with_every_cluster_first_while_nobody_writes_them_and_what_is_not_ours_stays() {
    let Some(cluster) = Cluster::start("uninstall").await else { return };
    if !grant_the_jobs_rights(&cluster).await {
        return;
    }
    let objects = &cluster.objects;
    objects.namespace("mesh-operator").await;
    cluster.install_istio_crds(&["EnvoyFilter"]).await;
    objects.apply(&envoy_filter("callers", &json!({"lazyload.slime.io/caller-log": "productpage"}))).await;
    objects.apply(&envoy_filter("users", &json!({}))).await;
    let fence = objects.fence("default", "productpage", json!({"enable": true})).await;
    let owner = json!({
        "apiVersion": fence["apiVersion"], "kind": "ServiceFence", "name": "productpage", "controller": true,
        "uid": fence["metadata"]["uid"],
    });
    let ours = objects.apply(&sidecar("productpage", &owner)).await;
    let users = objects.apply(&sidecar("users", &Value::Null)).await;
    objects.apply(&deployment("slime-boot", &json!({}))).await;
    objects.apply(&deployment("lazyload", &json!({"slime.io/slimeboot": "lazyload"}))).await;
    objects.apply(&deployment("global-sidecar", &json!({"slime.io/slimeboot": "lazyload"}))).await;
    objects
        .apply(&json!({
            "apiVersion": "config.netease.com/v1alpha1", "kind": "SlimeBoot",
            "metadata": {"namespace": "mesh-operator", "name": "lazyload"}, "spec": {"module": []},
        }))
        .await;

    let arguments = ["uninstall", "--namespace=mesh-operator", "--timeout=60"].map(str::to_owned);
    let kubeconfig = cluster.operators_kubeconfig().display().to_string();
    let log = cluster.folder().join("uninstall.log");
    let mut leaving = Running::start(&binary::lazyload(), &arguments, &[("KUBECONFIG", kubeconfig)], log).unwrap();
    let widened = eventually("the Sidecar imports everything", DEADLINE, || async {
        let found = objects.find("Sidecar", "default", "productpage").await.ok_or_else(|| leaving.log())?;
        if found["spec"]["egress"][0]["hosts"] == json!(["*/*"]) { Ok(found) } else { Err(leaving.log()) }
    })
    .await;
    // The same routes and the same pods, with every cluster beside; and nobody is there who would write.
    assert_eq!(widened["spec"]["egress"][0]["captureMode"], "NONE");
    assert_eq!(widened["spec"]["egress"][1]["hosts"], ours["spec"]["egress"][0]["hosts"]);
    assert_eq!(widened["spec"]["egress"].as_array().unwrap().len(), 2);
    assert_eq!(widened["spec"]["workloadSelector"], ours["spec"]["workloadSelector"]);
    let replicas =
        async |name: &str| objects.find("Deployment", "mesh-operator", name).await.unwrap()["spec"]["replicas"].clone();
    assert_eq!((replicas("slime-boot").await, replicas("lazyload").await), (json!(0), json!(0)));
    assert_eq!(replicas("global-sidecar").await, json!(1));
    assert_eq!(objects.names("SlimeBoot").await, ["mesh-operator/lazyload"]);

    eventually("it is done", DEADLINE, || {
        let ended = leaving.ended().unwrap();
        let log = leaving.log();
        async move { ended.ok_or(log) }
    })
    .await;
    let log = leaving.log();
    assert!(log.contains("no SlimeBoot is left"), "{log}");
    assert_eq!(objects.names("SlimeBoot").await, Vec::<String>::new());
    assert_eq!(objects.names("ServiceFence").await, ["default/productpage"]);
    assert_eq!(objects.names("Sidecar").await, ["default/users"]);
    assert_eq!(objects.names("EnvoyFilter").await, ["default/users"]);
    let untouched = objects.find("Sidecar", "default", "users").await.unwrap();
    assert_eq!(untouched["metadata"]["resourceVersion"], users["metadata"]["resourceVersion"]);
    assert_eq!((replicas("slime-boot").await, replicas("lazyload").await), (json!(1), json!(0)));
    let ours = cluster.audited_writes().into_iter().filter(|(user, _)| user == "slime-boot");
    let ours: Vec<String> = ours.map(|(_, what)| what).collect();
    assert_eq!(ours, ["patch sidecars productpage", "delete sidecars productpage"]);
}
