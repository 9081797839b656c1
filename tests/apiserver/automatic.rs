//! Automatic mode (contract 7.2, A1 to A8): labels of Services and Namespaces, and the default.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use crate::support::waiting::eventually;

const FENCED: &str = "slime.io/serviceFenced";

/// Tells when the controller has seen every change made before, of Services and of Namespaces: it is asked for something else by a
/// change of each kind, and has done it.
struct Barrier {
    up: bool,
}

impl Barrier {
    async fn new(cluster: &Cluster) -> Self {
        let objects = &cluster.objects;
        objects.namespace("barrier").await;
        objects.label("Namespace", "", "barrier", FENCED, Some("false")).await;
        objects.service("barrier", "by-namespace", json!({})).await;
        objects.service("barrier", "by-service", json!({})).await;
        Self { up: false }
    }

    /// Passes the barrier; then the fences and the Sidecars elsewhere must be exactly these.
    async fn fences_are(&mut self, cluster: &Cluster, expected: &[&str]) {
        let objects = &cluster.objects;
        self.up = !self.up;
        let (namespace, service) = if self.up { ("true", "false") } else { ("false", "true") };
        objects.label("Namespace", "", "barrier", FENCED, Some(namespace)).await;
        objects.label("Service", "barrier", "by-service", FENCED, Some(service)).await;
        let barrier = if self.up { "barrier/by-namespace" } else { "barrier/by-service" };
        let mut expected: Vec<&str> = expected.iter().copied().chain([barrier]).collect();
        expected.sort_unstable();
        eventually(&format!("the fences and Sidecars are {expected:?}"), DEADLINE, || async {
            cluster.collect_garbage().await;
            let now = (objects.names("ServiceFence").await, objects.names("Sidecar").await);
            if now.0 == expected && now.1 == expected { Ok(()) } else { Err(now) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_services_label_beats_its_namespaces_label_which_beats_the_default() {
    let Some(cluster) = Cluster::start("automatic").await else { return };
    let objects = &cluster.objects;
    for namespace in ["istio-system", "mesh-operator", "testns"] {
        objects.namespace(namespace).await;
    }
    // Neither the mesh's own Services nor those without a selector get a fence from the default.
    objects.service("istio-system", "istiod", json!({})).await;
    objects.service("mesh-operator", "global-sidecar", json!({FENCED: "false"})).await;
    objects
        .apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "testns", "name": "without-selector"},
            "spec": {"ports": [{"port": 9080}]},
        }))
        .await;
    for name in ["svc1", "svc2", "svc3"] {
        objects.service("testns", name, json!({"app": name})).await;
    }
    let mut barrier = Barrier::new(&cluster).await;
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true, "defaultFence": true}));
    controller.ready().await;
    let all = ["testns/svc1", "testns/svc2", "testns/svc3"];

    // A1
    barrier.fences_are(&cluster, &all).await;
    // A5: a fence made by hand, named like nothing and like a Service.
    objects.fence("testns", "manual", json!({"enable": true, "host": {"test/*": {}}})).await;
    objects.service("testns", "svc4", json!({FENCED: "false"})).await;
    let manual = objects.fence("testns", "svc4", json!({"enable": true})).await;
    let with_manual = |fences: &[&'static str]| [&["testns/manual", "testns/svc4"], fences].concat();
    barrier.fences_are(&cluster, &with_manual(&all)).await;
    // A2
    objects.label("Namespace", "", "testns", FENCED, Some("false")).await;
    barrier.fences_are(&cluster, &with_manual(&[])).await;
    // A3
    objects.label("Service", "testns", "svc1", FENCED, Some("true")).await;
    barrier.fences_are(&cluster, &with_manual(&["testns/svc1"])).await;
    // A4
    objects.label("Service", "testns", "svc1", FENCED, None).await;
    objects.label("Namespace", "", "testns", FENCED, None).await;
    barrier.fences_are(&cluster, &with_manual(&all)).await;
    // A6: on a Service, then on the Namespace, then on the Namespace with a Service that says otherwise.
    for unclear in ["", "maybe", "True"] {
        objects.label("Namespace", "", "testns", FENCED, Some("false")).await;
        objects.label("Service", "testns", "svc1", FENCED, Some(unclear)).await;
        barrier.fences_are(&cluster, &with_manual(&[])).await;
        objects.label("Namespace", "", "testns", FENCED, Some(unclear)).await;
        barrier.fences_are(&cluster, &with_manual(&all)).await;
    }
    // A7
    objects.label("Service", "testns", "svc1", FENCED, Some("false")).await;
    objects.label("Namespace", "", "testns", FENCED, Some("true")).await;
    barrier.fences_are(&cluster, &with_manual(&["testns/svc2", "testns/svc3"])).await;
    // An automatic fence deleted by hand comes back; one that is made by hand is the user's business.
    objects.delete("ServiceFence", "testns", "svc2").await;
    barrier.fences_are(&cluster, &with_manual(&["testns/svc2", "testns/svc3"])).await;
    let now = objects.find("ServiceFence", "testns", "svc4").await.unwrap();
    assert_eq!(now["spec"], manual["spec"]);
    assert_eq!(now["metadata"]["uid"], manual["metadata"]["uid"]);
    assert_eq!(now["metadata"]["generation"], 1);
    assert_eq!(now["metadata"]["labels"], json!(null));
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn in_manual_mode_labels_have_no_effect_at_all() {
    let Some(cluster) = Cluster::start("manual mode").await else { return };
    let objects = &cluster.objects;
    objects.namespace("testns").await;
    objects.label("Namespace", "", "testns", FENCED, Some("true")).await;
    objects.service("testns", "svc1", json!({FENCED: "true"})).await;
    objects.service("testns", "svc2", json!({FENCED: "false"})).await;
    // As an automatic mode that is over now has left it.
    let left = json!({
        "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
        "metadata": {
            "namespace": "testns", "name": "svc2", "labels": {"app.kubernetes.io/created-by": "fence-controller"},
        },
        "spec": {"enable": true, "workloadSelector": {"fromService": true}},
    });
    objects.apply(&left).await;
    objects.fence("testns", "manual", json!({"enable": true, "labelSelector": [{"selector": {"seen": "yes"}}]})).await;
    let controller = Controller::start(&cluster, &json!({"autoFence": false, "defaultFence": true}));
    controller.ready().await;

    objects.service("testns", "svc3", json!({FENCED: "true"})).await;
    objects.label("Service", "testns", "svc1", FENCED, None).await;
    objects.label("Service", "testns", "svc1", FENCED, Some("true")).await;
    objects.label("Namespace", "", "testns", FENCED, Some("false")).await;
    // The label that the fence made by hand looks at comes after all these.
    objects.label("Service", "testns", "svc1", "seen", Some("yes")).await;
    eventually("the label is seen", DEADLINE, || async {
        match objects.hosts("testns", "manual").await {
            Some(hosts) if hosts[0] == "*/svc1.testns.svc.cluster.local" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(objects.names("ServiceFence").await, ["testns/manual", "testns/svc2"]);
    // A fence deleted by hand stays deleted, whatever the labels say.
    objects.delete("ServiceFence", "testns", "svc2").await;
    objects.label("Service", "testns", "svc2", FENCED, Some("true")).await;
    objects.label("Service", "testns", "svc2", "seen", Some("yes")).await;
    eventually("the label is seen", DEADLINE, || async {
        match objects.hosts("testns", "manual").await {
            Some(hosts) if hosts[1] == "*/svc2.testns.svc.cluster.local" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(objects.names("ServiceFence").await, ["testns/manual"]);
}
