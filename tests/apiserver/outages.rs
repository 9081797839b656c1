//! What is missing, broken or malformed around the controller.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::{Repeating, send};
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.30";

async fn learns(cluster: &Cluster, controller: &Controller, host: &str) {
    let expected = format!("*/{host}.default.svc.cluster.local");
    eventually(&format!("{host} is learned"), DEADLINE, || async {
        match cluster.objects.hosts("default", "mine").await {
            Some(hosts) if hosts.contains(&expected) => Ok(()),
            other => Err((other, controller.log())),
        }
    })
    .await;
}

async fn mine(cluster: &Cluster) {
    for name in ["mine", "details", "ratings", "reviews"] {
        cluster.objects.service("default", name, json!({})).await;
    }
    cluster.objects.pod("default", "mine", MINE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_goes_and_comes_back_is_waited_for() {
    let Some(mut cluster) = Cluster::start("API server restarted").await else { return };
    mine(&cluster).await;
    cluster.objects.fence("default", "mine", json!({"enable": true})).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let callers = Repeating::start(controller.log_source());
    callers.add(MINE, "details:9080");
    learns(&cluster, &controller, "details").await;

    cluster.stop_apiserver();
    // Learned while nothing can be written.
    callers.add(MINE, "ratings:9080");
    controller.counts("lazyload_learned_hosts", 2.0).await;
    let failed = "lazyload_writes_total{change=\"write_status\",outcome=\"failed\"}";
    controller.counts(failed, 1.0).await;
    assert_eq!(controller.get("/modules/livez").await.unwrap().0, 200);
    controller.assert_running();
    // The versions that its watches would go on from are gone meanwhile.
    cluster.compact_etcd().await.unwrap();
    cluster.start_apiserver_again().await;
    learns(&cluster, &controller, "ratings").await;
    callers.add(MINE, "reviews:9080");
    learns(&cluster, &controller, "reviews").await;
    // What happens in the cluster is seen again too.
    cluster.objects.fence("default", "reviews", json!({"enable": true})).await;
    eventually("the Sidecar of a new fence", DEADLINE, || async {
        cluster.objects.hosts("default", "reviews").await.ok_or_else(|| controller.log())
    })
    .await;
    controller.assert_running();
}

#[tokio::test]
async fn missing_crds_are_waited_for_by_name_and_virtual_services_are_optional() {
    let Some(cluster) = Cluster::start_without_crds("missing CRDs").await else { return };
    mine(&cluster).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    eventually("it names what it waits for", DEADLINE, || async {
        let expected = "waiting for the list of ServiceFences\nwaiting for the list of Sidecars\n";
        match controller.get("/modules/readyz").await {
            Ok((503, text)) if text == expected => Ok(()),
            other => Err((other, controller.log())),
        }
    })
    .await;
    assert_eq!(controller.get("/modules/livez").await.unwrap().0, 200);
    // Calls of that time are not lost.
    let mut stream = send(&controller, &[(MINE, "details:9080")]).await;
    cluster.install_product_crds().await;
    cluster.objects.fence("default", "mine", json!({"enable": true})).await;
    eventually("it waits for Sidecars only", DEADLINE, || async {
        match controller.get("/modules/readyz").await {
            Ok((503, text)) if text == "waiting for the list of Sidecars\n" => Ok(()),
            other => Err(other),
        }
    })
    .await;
    cluster.install_istio_crds(&["Sidecar"]).await;
    controller.ready().await;
    learns(&cluster, &controller, "details").await;
    // The kind that was done without is used once it is there.
    cluster.install_istio_crds(&["VirtualService"]).await;
    cluster
        .objects
        .apply(&json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
            "metadata": {"namespace": "default", "name": "details"},
            "spec": {"hosts": ["details"], "http": [{"route": [{"destination": {"host": "ratings"}}]}]},
        }))
        .await;
    learns(&cluster, &controller, "ratings").await;
    assert!(stream.send(&[(MINE, "reviews:9080")]).await);
    learns(&cluster, &controller, "reviews").await;
    controller.assert_running();
}

#[tokio::test]
async fn a_malformed_object_stops_nothing() {
    // The original's CRD lets through what nobody can read.
    let Some(cluster) = Cluster::start_without_crds("malformed objects").await else { return };
    cluster.install_originals_crds().await;
    cluster.install_istio_crds(&["Sidecar", "VirtualService"]).await;
    mine(&cluster).await;
    let objects = &cluster.objects;
    // Before the controller starts.
    let soon = json!({"deadline": {"expire": {"seconds": "soon"}}});
    objects.fence("default", "aaa-bad", json!({"enable": true, "host": {"details": soon}})).await;
    objects.fence("default", "mine", json!({"enable": true})).await;
    let mut controller = Controller::start(&cluster, &json!({"autoFence": true}));
    controller.ready().await;
    let mut stream = send(&controller, &[(MINE, "details:9080")]).await;
    learns(&cluster, &controller, "details").await;

    // While it runs: a good fence turns bad, in its spec and in its status; hosts that no Sidecar may have.
    objects.fence("default", "turns-bad", json!({"enable": true, "host": {"ratings": {}}})).await;
    eventually("its Sidecar", DEADLINE, || async { objects.hosts("default", "turns-bad").await.ok_or("none") }).await;
    objects.merge("ServiceFence", "default", "turns-bad", json!({"spec": {"host": {"ratings": soon}}})).await;
    objects.fence("default", "bad-status", json!({"enable": false})).await;
    let nonsense =
        json!({"domains": {"x": {"hosts": ["x"], "status": "NONSENSE"}}, "metricStatus": {"{what": "?", "": ""}});
    objects.merge_status("ServiceFence", "default", "bad-status", nonsense).await;
    let odd = json!({"enable": true, "host": {"": {}, "*/": {}, "/*": {}, "a b": {}, "../..": {}, "\u{1F600}": null}});
    objects.fence("default", "odd-hosts", odd).await;
    objects
        .apply(&json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
            "metadata": {"namespace": "default", "name": "odd"}, "spec": {"hosts": ["", "*", "a b"]},
        }))
        .await;
    assert!(
        stream
            .send(&[("not an address", "details:9080"), (MINE, ""), (MINE, "\u{1F600}"), (MINE, "ratings:9080")])
            .await
    );
    learns(&cluster, &controller, "ratings").await;
    assert!(stream.send(&[(MINE, "reviews:9080")]).await);
    learns(&cluster, &controller, "reviews").await;
    controller.counts("lazyload_objects_malformed_total{kind=\"ServiceFence\"}", 2.0).await;
    // What was known of the fence that turned bad is kept; it is read again once it is mended.
    assert!(objects.hosts("default", "turns-bad").await.unwrap()[0].starts_with("*/ratings."));
    let mended = json!({"spec": {"host": {"details": {}}}});
    objects.merge("ServiceFence", "default", "aaa-bad", json!({"spec": {"host": null}})).await;
    objects.merge("ServiceFence", "default", "aaa-bad", mended).await;
    eventually("the mended fence has its Sidecar", DEADLINE, || async {
        match objects.hosts("default", "aaa-bad").await {
            Some(hosts) if hosts[0] == "*/details.default.svc.cluster.local" => Ok(()),
            other => Err((other, controller.log())),
        }
    })
    .await;
    assert!(
        controller.log().contains("default/turns-bad"),
        "it says which object it left as it was: {}",
        controller.log()
    );
    controller.assert_running();
    // A restart meets all of it at once.
    controller.kill();
    controller.start_again();
    controller.ready().await;
    objects.fence("default", "reviews", json!({"enable": true})).await;
    eventually("the Sidecar of a new fence", DEADLINE, || async {
        objects.hosts("default", "reviews").await.ok_or_else(|| controller.log())
    })
    .await;
    controller.assert_running();
}
