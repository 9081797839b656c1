//! The seed's example, as far as the API server sees it (contract 7.1, E8 to E18), and what the endpoints say of it.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::history::History;
use super::objects::{comparable, printed_status};
use super::proxy::{Stream, send};
use crate::support::waiting::eventually;

const PRODUCTPAGE: &str = "10.244.0.10";
const FENCED: &str = "slime.io/serviceFenced";

/// Bookinfo without its containers.
async fn bookinfo(cluster: &Cluster) {
    for (name, address) in [
        ("details", "10.244.0.11"),
        ("ratings", "10.244.0.12"),
        ("reviews", "10.244.0.13"),
        ("productpage", PRODUCTPAGE),
    ] {
        cluster.objects.service("default", name, json!({"app": name, "service": name})).await;
        cluster.objects.pod("default", name, address).await;
    }
}

#[tokio::test]
async fn a_labelled_service_gets_a_fence_and_a_sidecar_that_learns_what_is_called() {
    let Some(cluster) = Cluster::start("story").await else { return };
    let objects = &cluster.objects;
    bookinfo(&cluster).await;
    // In one step, for the generations that the seed prints.
    let controller =
        Controller::start(&cluster, &json!({"autoFence": true, "wormholePort": ["9080"], "switching": "fastest"}));
    controller.ready().await;
    assert_eq!(controller.get("/modules/livez").await.unwrap().0, 200);
    let history = History::record(&cluster);

    // E8b to E12: the label makes the fence, the fence makes the Sidecar.
    objects.label("Service", "default", "productpage", FENCED, Some("true")).await;
    let sidecar = eventually("the Sidecar", DEADLINE, || async {
        objects.find("Sidecar", "default", "productpage").await.ok_or_else(|| controller.log())
    })
    .await;
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    let uid = fence["metadata"]["uid"].clone();
    assert_eq!(
        comparable(&fence),
        json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {
                "namespace": "default", "name": "productpage", "generation": 1,
                "labels": {"app.kubernetes.io/created-by": "fence-controller"},
            },
            "spec": {"enable": true, "workloadSelector": {"fromService": true}},
            "status": {},
        })
    );
    let owner = json!([{
        "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "productpage", "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let expected = |generation: u32, hosts: &[&str]| {
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
            "metadata": {
                "namespace": "default", "name": "productpage", "generation": generation, "ownerReferences": owner,
            },
            "spec": {"egress": [{"hosts": hosts}], "workloadSelector": {"labels": {"app": "productpage"}}},
        })
    };
    assert_eq!(comparable(&sidecar), expected(1, &["istio-system/*", "mesh-operator/*"]));
    assert_eq!(objects.names("ServiceFence").await, ["default/productpage"]);

    // E13 to E15: one page view, two entries.
    let mut stream = send(&controller, &[(PRODUCTPAGE, "details:9080"), (PRODUCTPAGE, "reviews:9080")]).await;
    let sidecar = eventually("the Sidecar has learned", DEADLINE, || async {
        let sidecar = objects.find("Sidecar", "default", "productpage").await.ok_or("gone")?;
        if sidecar["metadata"]["generation"] == 1 { Err("still generation 1") } else { Ok(sidecar) }
    })
    .await;
    let learned = [
        "*/details.default.svc.cluster.local",
        "*/reviews.default.svc.cluster.local",
        "istio-system/*",
        "mesh-operator/*",
    ];
    assert_eq!(comparable(&sidecar), expected(2, &learned));
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    assert_eq!(fence["metadata"]["generation"], 1);
    assert_eq!(
        printed_status(&fence),
        json!({
            "domains": {
                "details.default.svc.cluster.local": {"hosts": ["details.default.svc.cluster.local"]},
                "reviews.default.svc.cluster.local": {"hosts": ["reviews.default.svc.cluster.local"]},
            },
            "metricStatus": {
                "{destination_service=\"details.default.svc.cluster.local\"}": "1",
                "{destination_service=\"reviews.default.svc.cluster.local\"}": "1",
            },
        })
    );
    assert_eq!(controller.metric("lazyload_writes_total{change=\"write_status\",outcome=\"stored\"}").await, 2.0);
    assert_eq!(controller.metric("lazyload_writes_total{change=\"update_sidecar\",outcome=\"stored\"}").await, 1.0);

    // E16: what is known changes nothing, neither in the same stream nor in a new one, which passes it on once more.
    let versions = (objects.versions("ServiceFence").await, objects.versions("Sidecar").await);
    for _ in 0..100 {
        assert!(stream.send(&[(PRODUCTPAGE, "details:9080"), (PRODUCTPAGE, "reviews:9080")]).await);
    }
    controller.counts("lazyload_accesslog_entries", 202.0).await;
    let again = send(&controller, &[(PRODUCTPAGE, "reviews:9080"), (PRODUCTPAGE, "details:9080")]).await;
    controller.counts("lazyload_learned_known", 2.0).await;
    // Callers nobody knows, callers without a fence, and what is no inbound request tell nothing (E17).
    let other = send(&controller, &[("10.244.9.9", "details:9080"), ("10.244.0.13", "ratings:9080")]).await;
    controller.counts("lazyload_accesslog_entries", 206.0).await;
    // What the controller does for another fence, it does after all that.
    objects.label("Service", "default", "ratings", FENCED, Some("true")).await;
    eventually("the next Sidecar", DEADLINE, || async {
        objects.find("Sidecar", "default", "ratings").await.ok_or("none")
    })
    .await;
    let of_productpage = |versions: Vec<(String, String)>| -> Vec<(String, String)> {
        versions.into_iter().filter(|(name, _)| name == "default/productpage").collect()
    };
    assert_eq!(of_productpage(objects.versions("ServiceFence").await), versions.0);
    assert_eq!(of_productpage(objects.versions("Sidecar").await), versions.1);
    assert_eq!(history.assert_only_grown(&cluster).await.into_values().collect::<Vec<_>>(), [2, 1]);
    drop((stream, again, other));

    // E18: the Services go, and with them the automatic fences; a fence made by hand stays.
    objects.fence("default", "details", json!({"enable": true})).await;
    eventually("the Sidecar of the fence made by hand", DEADLINE, || async {
        objects.find("Sidecar", "default", "details").await.ok_or("none")
    })
    .await;
    for name in ["details", "productpage", "ratings", "reviews"] {
        objects.delete("Service", "default", name).await;
    }
    eventually("only the fence made by hand is left", DEADLINE, || async {
        cluster.collect_garbage().await;
        let left = (objects.names("ServiceFence").await, objects.names("Sidecar").await);
        let expected = vec!["default/details".to_owned()];
        if left == (expected.clone(), expected) { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_page_with_many_calls_costs_one_status_and_one_sidecar_and_silence_costs_nothing() {
    let Some(cluster) = Cluster::start("batch").await else { return };
    let objects = &cluster.objects;
    bookinfo(&cluster).await;
    for number in 0..30 {
        objects.service("default", &format!("part-{number:02}"), json!({})).await;
    }
    objects.fence("default", "productpage", json!({"enable": true})).await;
    let mut controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"], "switching": "fastest"}));
    controller.ready().await;
    eventually("the Sidecar", DEADLINE, || async { objects.hosts("default", "productpage").await.ok_or("none") }).await;
    let history = History::record(&cluster);

    let hosts: Vec<String> = (0..30).map(|number| format!("part-{number:02}:9080")).collect();
    let page: Vec<_> = hosts.iter().map(|host| (PRODUCTPAGE, host.as_str())).collect();
    let stream = tokio::sync::Mutex::new(send(&controller, &page).await);
    eventually("every part is learned", DEADLINE, || async {
        match objects.hosts("default", "productpage").await {
            Some(hosts) if hosts.len() == 32 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let writes = "lazyload_writes_total{change=\"write_status\",outcome=\"stored\"}";
    // One that tells that the Sidecar is there, one for the page.
    assert_eq!(controller.metric(writes).await, 2.0);
    assert_eq!(history.assert_only_grown(&cluster).await["default/productpage"], 2);

    // Repeated entries for longer than the edge remembers a pair, so that the engine gets them again and again.
    let versions = (objects.versions("ServiceFence").await, objects.versions("Sidecar").await);
    eventually("the engine has seen every pair three times more", DEADLINE, || async {
        assert!(stream.lock().await.send(&page).await);
        let known = controller.metric("lazyload_learned_known").await;
        if known >= 90.0 { Ok(()) } else { Err(known) }
    })
    .await;
    objects.fence("default", "reviews", json!({"enable": true})).await;
    eventually("the next Sidecar", DEADLINE, || async { objects.hosts("default", "reviews").await.ok_or("none") })
        .await;
    let now = (objects.versions("ServiceFence").await, objects.versions("Sidecar").await);
    assert_eq!((&now.0[..1], &now.1[..1]), (&versions.0[..], &versions.1[..]));
    assert_eq!(controller.metric("lazyload_writes_total{change=\"create_sidecar\",outcome=\"stored\"}").await, 2.0);
    assert_eq!(controller.metric("lazyload_writes_total{change=\"update_sidecar\",outcome=\"stored\"}").await, 1.0);
    drop(stream);
    assert_eq!(controller.terminate().await, Some(0));
}

#[tokio::test]
async fn metrics_are_exposed_with_help_and_type_and_health_answers() {
    let Some(cluster) = Cluster::start("metrics").await else { return };
    let objects = &cluster.objects;
    bookinfo(&cluster).await;
    objects.fence("default", "productpage", json!({"enable": true})).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    assert_eq!(controller.get("/modules/readyz").await.unwrap(), (200, String::new()));
    assert_eq!(controller.get("/modules/livez").await.unwrap(), (200, "Healthy!".to_owned()));
    let mut stream = Stream::open(controller.log_source()).await.unwrap();
    assert!(stream.send(&[(PRODUCTPAGE, "details:9080"), (PRODUCTPAGE, "not a host")]).await);
    controller.counts("lazyload_learned_hosts", 1.0).await;

    let (status, text) = controller.get_metrics().await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(text.lines().last(), Some("# EOF"), "OpenMetrics ends so");
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "TYPE", family, kind] => {
                assert!(["counter", "gauge", "histogram"].contains(kind), "{line}");
                assert!(families.insert((*family).to_owned()), "twice: {line}");
            }
            ["#", "HELP", ..] => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                let name = series.split('{').next().unwrap();
                let suffixes = ["_total", "_bucket", "_sum", "_count"];
                let family = suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
                assert!(families.contains(family), "without TYPE: {line}");
                assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
                assert!(!line.contains("productpage") && !line.contains("details"), "an object's name: {line}");
            }
        }
    }
    for (series, value) in [
        ("lazyload_accesslog_messages", 1.0),
        ("lazyload_accesslog_entries", 2.0),
        ("lazyload_accesslog_streams_open", 1.0),
        ("lazyload_events_total{event=\"listed\"}", 11.0),
        ("lazyload_learned_hosts", 1.0),
    ] {
        assert_eq!(controller.metric(series).await, value, "{series}");
    }
}
