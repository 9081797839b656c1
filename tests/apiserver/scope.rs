//! Which fences, namespaces and pods are the controller's to look after, on a real API server.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy;
use crate::support::waiting::eventually;

async fn fences_are(cluster: &Cluster, expected: &[&str]) {
    eventually(&format!("the fences are {expected:?}"), DEADLINE, || async {
        cluster.collect_garbage().await;
        let now = cluster.objects.names("ServiceFence").await;
        if now == expected { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn a_namespaces_label_edit_brings_it_into_scope_and_out_of_it() {
    let Some(cluster) = Cluster::start("management selectors").await else { return };
    let objects = &cluster.objects;
    objects.namespace("testns").await;
    objects.service("testns", "svc1", json!({"slime.io/serviceFenced": "true"})).await;
    objects.fence("testns", "manual", json!({"enable": true})).await;
    let selectors = json!([{"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}]);
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true, "managementSelectors": selectors}));
    controller.ready().await;
    fences_are(&cluster, &["testns/manual"]).await;
    objects.label("Namespace", "", "testns", "team", Some("b")).await;
    fences_are(&cluster, &["testns/manual", "testns/svc1"]).await;
    objects.label("Namespace", "", "testns", "team", Some("c")).await;
    fences_are(&cluster, &["testns/manual"]).await;
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn each_value_of_a_pod_label_gets_a_fence_that_outlives_its_pods() {
    let Some(cluster) = Cluster::start("pod labels").await else { return };
    let objects = &cluster.objects;
    objects.namespace("testns").await;
    // A value that no object can be named after.
    objects.pod("testns", "web", "10.1.0.1").await;
    objects.label("Pod", "testns", "web-v1", "app", Some("Web_1")).await;
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true, "fenceLabelKeyAlias": "app"}));
    controller.ready().await;
    let fence = "app-web-1-24b9b5947a33a281.workload.identity";
    fences_are(&cluster, &[&format!("testns/{fence}")]).await;
    let stream = proxy::send(&controller, &[("10.1.0.1", "details:9080")]).await;
    let learned = ["*/details.testns.svc.cluster.local", "istio-system/*", "mesh-operator/*"];
    let has_learned = || async {
        let hosts = objects.hosts("testns", fence).await;
        if hosts.as_deref().is_some_and(|hosts| hosts == learned) { Ok(()) } else { Err(hosts) }
    };
    eventually("the fence has learned", DEADLINE, has_learned).await;
    let sidecar = objects.find("Sidecar", "testns", fence).await.unwrap();
    assert_eq!(sidecar["spec"]["workloadSelector"]["labels"], json!({"app": "Web_1"}));

    drop(stream);
    objects.delete("Pod", "testns", "web-v1").await;
    controller.kill();
    controller.start_again();
    controller.ready().await;
    // Something that comes after the news of the pod.
    objects.pod("testns", "other", "10.1.0.2").await;
    fences_are(&cluster, &["testns/app-other.workload.identity", &format!("testns/{fence}")]).await;
    eventually("the fence still knows", DEADLINE, has_learned).await;
    assert_eq!(controller.terminate().await, Some(0));
}
