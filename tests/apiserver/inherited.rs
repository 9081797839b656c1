//! What was there before: fences and Sidecars that the original left, and a namespace that comes back under its old name.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::history::History;
use super::proxy::{Repeating, send};
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.30";
/// The field manager of the original: the name of its binary.
const ORIGINAL: &str = "manager";

fn host(name: &str, namespace: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

#[tokio::test]
async fn what_the_original_left_is_taken_over_with_all_that_it_learned() {
    let Some(cluster) = Cluster::start("inherited").await else { return };
    let objects = &cluster.objects;
    for name in ["details", "reviews"] {
        objects.service("default", name, json!({})).await;
    }
    objects.service("default", "mine", json!({"app": "mine", "slime.io/serviceFenced": "true"})).await;
    objects.pod("default", "mine", MINE).await;
    let details = host("details", "default");
    let fence = objects
        .create_as(
            ORIGINAL,
            &json!({
                "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                "metadata": {
                    "namespace": "default", "name": "mine", "labels": {"app.kubernetes.io/created-by": "fence-controller"},
                },
                "spec": {"enable": true, "workloadSelector": {"fromService": true}},
                "status": {
                    "domains": {&details: {"hosts": [&details]}},
                    "metricStatus": {format!("{{destination_service=\"{details}\"}}"): "1"},
                },
            }),
        )
        .await;
    let sidecar = objects
        .create_as(
            ORIGINAL,
            &json!({
                "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
                "metadata": {"namespace": "default", "name": "mine", "ownerReferences": [{
                    "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "mine",
                    "uid": fence["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
                }]},
                "spec": {
                    "egress": [{"hosts": [format!("*/{details}"), "istio-system/*", "mesh-operator/*"]}],
                    "workloadSelector": {"labels": {"app": "mine"}},
                },
            }),
        )
        .await;
    let history = History::record(&cluster);
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true}));
    controller.ready().await;

    // What it learned stays, beside what is learned now; nothing is written for what is right already.
    let stream = send(&controller, &[(MINE, "reviews:9080")]).await;
    let expected = [format!("*/{details}"), format!("*/{}", host("reviews", "default"))];
    eventually("both are there", DEADLINE, || async {
        match objects.hosts("default", "mine").await {
            Some(hosts) if expected.iter().all(|host| hosts.contains(host)) => Ok(()),
            other => Err((other, controller.log())),
        }
    })
    .await;
    history.assert_only_grown(&cluster).await;
    let now = objects.find("Sidecar", "default", "mine").await.unwrap();
    assert_eq!(now["metadata"]["uid"], sidecar["metadata"]["uid"], "the same one");
    let evidence = objects.find("ServiceFence", "default", "mine").await.unwrap()["status"]["metricStatus"].clone();
    assert_eq!(evidence.as_object().map(serde_json::Map::len), Some(2), "{evidence}");

    // It is an automatic fence like any other: it goes with its label, and takes its Sidecar along.
    objects.label("Service", "default", "mine", "slime.io/serviceFenced", None).await;
    objects.gone("ServiceFence", "default", "mine", || controller.log()).await;
    controller.assert_running();
    drop(stream);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_made_again_begins_anew() {
    let Some(cluster) = Cluster::start("a namespace made again").await else { return };
    let objects = &cluster.objects;
    objects.namespace("team").await;
    for name in ["mine", "details", "reviews"] {
        objects.service("team", name, json!({})).await;
    }
    objects.service("default", "other", json!({})).await;
    objects.pod("team", "mine", MINE).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    objects.fence("team", "mine", json!({"enable": true})).await;
    objects.fence("default", "other", json!({"enable": true})).await;
    let callers = Repeating::start(controller.log_source());
    callers.add(MINE, "details:9080");
    let has = async |name: &str| {
        eventually("it is learned", DEADLINE, || async {
            match objects.hosts("team", "mine").await {
                Some(hosts) if hosts.contains(&format!("*/{}", host(name, "team"))) => Ok(hosts),
                other => Err((other, controller.log())),
            }
        })
        .await
    };
    has("details").await;
    drop(callers);
    let other = async || objects.hosts("default", "other").await;
    let before = eventually("the other one has its Sidecar, no switch is under way", DEADLINE, || async {
        other().await.ok_or_else(|| controller.log())
    })
    .await;

    // No controller-manager runs here: what it would delete with the namespace is deleted by hand, in any order.
    for (kind, name) in
        [("Sidecar", "mine"), ("ServiceFence", "mine"), ("Pod", "mine-v1"), ("Service", "mine"), ("Service", "details")]
    {
        objects.delete(kind, "team", name).await;
    }
    eventually("nothing of it is left", DEADLINE, || async {
        let (fence, sidecar) =
            (objects.find("ServiceFence", "team", "mine").await, objects.find("Sidecar", "team", "mine").await);
        if fence.is_none() && sidecar.is_none() { Ok(()) } else { Err((fence, sidecar, controller.log())) }
    })
    .await;
    for name in ["mine", "details"] {
        objects.service("team", name, json!({})).await;
    }
    objects.pod("team", "mine", MINE).await;
    objects.fence("team", "mine", json!({"enable": true})).await;
    let stream = send(&controller, &[(MINE, "reviews:9080")]).await;
    let hosts = has("reviews").await;
    assert!(!hosts.iter().any(|host| host.contains("details")), "it has not been called since: {hosts:?}");
    assert_eq!(other().await, Some(before), "the other one is as it was");
    controller.assert_running();
    drop(stream);
}
