//! Static dependencies, as the seed prints them.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::objects::{comparable, printed_status};
use super::proxy::send;
use crate::support::waiting::eventually;

/// Waits until the Sidecar of this name in the namespace default has exactly these hosts.
pub async fn hosts_become(cluster: &Cluster, name: &str, expected: &[&str]) {
    let what = format!("the hosts of {name} are {expected:?}");
    eventually(&what, DEADLINE, || async {
        let hosts = cluster.objects.hosts("default", name).await;
        if hosts.as_ref().is_some_and(|hosts| hosts == expected) { Ok(()) } else { Err(hosts) }
    })
    .await;
}

#[tokio::test]
async fn static_dependencies_become_the_sidecars_that_the_seed_prints() {
    let Some(cluster) = Cluster::start("static dependencies").await else { return };
    let objects = &cluster.objects;
    objects.namespace("test").await;
    objects.service("default", "details", json!({"app": "details"})).await;
    objects.service("test", "details", json!({"app": "details"})).await;
    objects.service("default", "reviews", json!({"app": "reviews", "group": "default"})).await;
    objects.service("test", "reviews", json!({"app": "reviews", "group": "test"})).await;
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true, "wormholePort": ["9080"]}));
    controller.ready().await;

    let specific: Vec<Value> = serde_saphyr::from_multiple(
        "enable: true\nhost:\n  reviews.default.svc.cluster.local: # static dependent of reviews.default service\n    stable:\n",
    )
    .unwrap();
    objects.fence("default", "specific", specific[0].clone()).await;
    objects.fence("default", "namespaces", json!({"enable": true, "host": {"test/*": {}}})).await;
    let either = json!([{"selector": {"app": "details"}}, {"selector": {"app": "reviews", "group": "default"}}]);
    objects.fence("default", "labels", json!({"enable": true, "labelSelector": either})).await;
    objects.fence("default", "off", json!({"host": {"test/*": {}}})).await;

    let reviews = "*/reviews.default.svc.cluster.local";
    let of_labels = ["*/details.default.svc.cluster.local", "*/details.test.svc.cluster.local", reviews];
    let with_defaults = |hosts: &[&'static str]| [hosts, &["istio-system/*", "mesh-operator/*"]].concat();
    hosts_become(&cluster, "specific", &with_defaults(&[reviews])).await;
    // The order of hosts has no meaning (contract D13); byte order puts `test/*` last.
    hosts_become(&cluster, "namespaces", &["istio-system/*", "mesh-operator/*", "test/*"]).await;
    hosts_become(&cluster, "labels", &with_defaults(&of_labels)).await;
    assert_eq!(objects.names("Sidecar").await, ["default/labels", "default/namespaces", "default/specific"]);
    let specific = objects.find("Sidecar", "default", "specific").await.unwrap();
    assert_eq!(comparable(&specific)["spec"]["workloadSelector"], json!({"labels": {"app": "specific"}}));
    assert_eq!(specific["metadata"]["generation"], 1, "static dependencies are in it from the beginning");

    // A label edit on a Service is seen; automatic mode does not touch fences made by hand.
    objects.label("Service", "test", "reviews", "group", Some("default")).await;
    let more = [&of_labels[..], &["*/reviews.test.svc.cluster.local"]].concat();
    hosts_become(&cluster, "labels", &with_defaults(&more)).await;
    objects.service("default", "specific", json!({"slime.io/serviceFenced": "false"})).await;

    // Real destinations behind a VirtualService come along.
    objects
        .apply(&json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
            "metadata": {"namespace": "default", "name": "reviews"},
            "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews-v2.test.svc.cluster.local"}}]}]},
        }))
        .await;
    hosts_become(&cluster, "specific", &with_defaults(&["*/reviews-v2.test.svc.cluster.local", reviews])).await;
    let status = printed_status(&objects.find("ServiceFence", "default", "specific").await.unwrap());
    let behind = json!({"hosts": ["reviews.default.svc.cluster.local", "reviews-v2.test.svc.cluster.local"]});
    assert_eq!(status, json!({"domains": {"reviews.default.svc.cluster.local": behind}}));

    // A fence that is switched off loses its Sidecar; a fence that is deleted takes nothing else along.
    objects.merge("ServiceFence", "default", "namespaces", json!({"spec": {"enable": false}})).await;
    objects.delete("ServiceFence", "default", "labels").await;
    eventually("only one Sidecar is left", DEADLINE, || async {
        cluster.collect_garbage().await;
        let names = objects.names("Sidecar").await;
        if names == ["default/specific"] { Ok(()) } else { Err(names) }
    })
    .await;
    assert_eq!(objects.names("ServiceFence").await, ["default/namespaces", "default/off", "default/specific"]);
    controller.assert_running();
}

#[tokio::test]
async fn domain_aliases_make_the_fence_and_the_sidecar_that_the_seed_prints() {
    let Some(cluster) = Cluster::start("domain aliases").await else { return };
    let objects = &cluster.objects;
    for (name, address) in [("details", "10.244.0.11"), ("ratings", "10.244.0.12"), ("productpage", "10.244.0.10")] {
        objects.service("default", name, json!({"app": name})).await;
        objects.pod("default", name, address).await;
    }
    let aliases = json!([{
        "pattern": r"(?P<service>[^\.]+)\.(?P<namespace>[^\.]+)\.svc\.cluster\.local$",
        "templates": ["$namespace.$service.mailsaas"],
    }]);
    let controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"], "domainAliases": aliases}));
    controller.ready().await;
    let spec = json!({"enable": true, "host": {"details.default.svc.cluster.local": {"stable": {}}}});
    objects.fence("default", "ratings", spec).await;
    let _stream = send(&controller, &[("10.244.0.12", "productpage.default:9080")]).await;
    let expected = [
        "*/default.details.mailsaas",
        "*/default.productpage.mailsaas",
        "*/details.default.svc.cluster.local",
        "*/productpage.default.svc.cluster.local",
        "istio-system/*",
        "mesh-operator/*",
    ];
    hosts_become(&cluster, "ratings", &expected).await;
    let sidecar = objects.find("Sidecar", "default", "ratings").await.unwrap();
    assert_eq!(sidecar["spec"]["workloadSelector"], json!({"labels": {"app": "ratings"}}));
    let itself = |host: &str| json!({"hosts": [host]});
    assert_eq!(
        printed_status(&objects.find("ServiceFence", "default", "ratings").await.unwrap()),
        json!({
            "domains": {
                "default.details.mailsaas": itself("default.details.mailsaas"),
                "default.productpage.mailsaas": itself("default.productpage.mailsaas"),
                "details.default.svc.cluster.local": itself("details.default.svc.cluster.local"),
                "productpage.default.svc.cluster.local": itself("productpage.default.svc.cluster.local"),
            },
            "metricStatus": {"{destination_service=\"productpage.default.svc.cluster.local\"}": "1"},
        })
    );
}
