//! Routes and ServiceEntries that come and go while their hosts are depended on.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::dependencies::hosts_become;
use super::proxy::send;
use crate::support::waiting::eventually;

fn with_defaults(hosts: &[&'static str]) -> Vec<&'static str> {
    [hosts, &["istio-system/*", "mesh-operator/*"]].concat()
}

fn virtual_service(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
        "metadata": {"namespace": "default", "name": name}, "spec": spec})
}

fn route(kind: &str, name: &str, destination: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": "default", "name": name},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
            "rules": [{"backendRefs": [{"name": destination, "port": 9080}]}]}})
}

const A: &str = "*/a.default.svc.cluster.local";

async fn fenced(cluster: &Cluster) -> Controller {
    let objects = &cluster.objects;
    objects.service("default", "a", json!({})).await;
    objects.service("default", "caller", json!({})).await;
    objects.pod("default", "caller", "10.244.0.10").await;
    let controller = Controller::start(cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    objects.fence("default", "caller", json!({"enable": true, "host": {"a.default.svc.cluster.local": {}}})).await;
    hosts_become(cluster, "caller", &with_defaults(&[A])).await;
    controller
}

#[tokio::test]
async fn routes_and_service_entries_change_the_sidecar_when_they_come_and_when_they_go() {
    let Some(cluster) = Cluster::start("routes").await else { return };
    let objects = &cluster.objects;
    cluster.install_istio_crds(&["ServiceEntry"]).await;
    cluster.install_gateway_api_crds(&["HTTPRoute", "GRPCRoute"]).await;
    let mut controller = fenced(&cluster).await;

    let root =
        json!({"hosts": ["a"], "http": [{"delegate": {"name": "part"}}, {"route": [{"destination": {"host": "b"}}]}]});
    objects.apply(&virtual_service("root", &root)).await;
    let b = "*/b.default.svc.cluster.local";
    hosts_become(&cluster, "caller", &with_defaults(&[A, b])).await;
    let part = json!({"http": [{"route": [{"destination": {"host": "c"}}]}]});
    objects.apply(&virtual_service("part", &part)).await;
    let c = "*/c.default.svc.cluster.local";
    hosts_become(&cluster, "caller", &with_defaults(&[A, b, c])).await;
    objects.delete("VirtualService", "default", "root").await;
    hosts_become(&cluster, "caller", &with_defaults(&[A])).await;

    objects.apply(&route("HTTPRoute", "http", "d")).await;
    objects.apply(&route("GRPCRoute", "grpc", "e")).await;
    let (d, e) = ("*/d.default.svc.cluster.local", "*/e.default.svc.cluster.local");
    hosts_become(&cluster, "caller", &with_defaults(&[A, d, e])).await;
    objects.delete("HTTPRoute", "default", "http").await;
    hosts_become(&cluster, "caller", &with_defaults(&[A, e])).await;

    let _stream = send(&controller, &[("10.244.0.10", "www.example.com:9080")]).await;
    let domain_becomes = async |expected: Value| {
        eventually("the domain", DEADLINE, || async {
            let fence = objects.find("ServiceFence", "default", "caller").await.ok_or(Value::Null)?;
            let domain = &fence["status"]["domains"]["www.example.com"];
            if *domain == expected { Ok(()) } else { Err(fence) }
        })
        .await;
    };
    domain_becomes(json!({"external": true})).await;
    hosts_become(&cluster, "caller", &with_defaults(&[A, e])).await;
    objects
        .apply(&json!({"apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry",
            "metadata": {"namespace": "default", "name": "example"},
            "spec": {"hosts": ["*.example.com"], "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}]}}))
        .await;
    hosts_become(&cluster, "caller", &with_defaults(&["*/*.example.com", A, e])).await;
    domain_becomes(json!({"hosts": ["*.example.com"]})).await;
    objects.delete("ServiceEntry", "default", "example").await;
    domain_becomes(json!({"hosts": ["*.example.com"], "status": "EXPIREWAIT"})).await;
    hosts_become(&cluster, "caller", &with_defaults(&[A, e])).await;
    domain_becomes(json!({"external": true})).await;
    controller.assert_running();
}

#[tokio::test]
async fn routes_are_followed_from_the_moment_that_their_crd_is_installed() {
    let Some(cluster) = Cluster::start("a CRD that comes later").await else { return };
    let mut controller = fenced(&cluster).await;
    cluster.install_gateway_api_crds(&["HTTPRoute"]).await;
    cluster.objects.apply(&route("HTTPRoute", "http", "d")).await;
    hosts_become(&cluster, "caller", &with_defaults(&[A, "*/d.default.svc.cluster.local"])).await;
    // Without its CRD there is none of the kind.
    cluster.objects.delete("CustomResourceDefinition", "", "httproutes.gateway.networking.k8s.io").await;
    hosts_become(&cluster, "caller", &with_defaults(&[A])).await;
    controller.assert_running();
}
