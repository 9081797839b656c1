//! What is learned from a real Prometheus, and what it costs.

use std::time::Duration;

use serde_json::json;

use super::super::DEADLINE;
use super::super::cluster::Cluster;
use super::exporter::Exporter;
use super::server::Prometheus;
use super::{QUERY, host, key, metric, start};
use crate::support::waiting::eventually;

const FENCED: &str = "slime.io/serviceFenced";

#[tokio::test]
async fn the_seeds_query_teaches_fence_status_and_sidecar() {
    let Some(cluster) = Cluster::start("prometheus story").await else { return };
    let exporter = Exporter::start().await;
    let Some(prometheus) = Prometheus::start("story", cluster.folder(), exporter.port, None).await else { return };
    let objects = &cluster.objects;
    objects.service("default", "productpage", json!({FENCED: "true"})).await;
    objects.namespace("test").await;
    objects.service("test", "productpage", json!({FENCED: "true"})).await;
    exporter.requests("productpage", &host("details"), 2);
    exporter.requests("productpage", "unknown", 5);
    // Another proxy has counted one request more, another caller and another reporter say nothing of this one.
    let details = host("details");
    exporter.set(&format!("reporter=\"destination\",source_app=\"productpage\",destination_service=\"{details}\""), 1);
    exporter.set(&format!("reporter=\"source\",source_app=\"productpage\",destination_service=\"{}\"", host("x")), 1);
    exporter.requests("ratings", &host("y"), 1);

    let controller = start(&cluster, &metric(&format!("http://{}", prometheus.address()), json!({})));
    let learned = |names: &[&str]| -> Vec<String> {
        let hosts = names.iter().map(|name| format!("*/{}", host(name)));
        hosts.chain(["istio-system/*".to_owned(), "mesh-operator/*".to_owned()]).collect()
    };
    for namespace in ["default", "test"] {
        eventually("the Sidecar has details", DEADLINE, || async {
            let hosts = objects.hosts(namespace, "productpage").await;
            if hosts == Some(learned(&["details"])) { Ok(()) } else { Err(format!("{hosts:?} {}", controller.log())) }
        })
        .await;
    }
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    assert_eq!(fence["status"]["metricStatus"], json!({key("details"): "3"}));

    // Counts grow at every round, and nothing is written for that.
    let versions = (objects.versions("ServiceFence").await, objects.versions("Sidecar").await);
    let rounds = controller.metric("lazyload_events_total{event=\"measured\"}").await;
    for count in 3..30 {
        exporter.requests("productpage", &host("details"), count);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    controller.counts("lazyload_events_total{event=\"measured\"}", rounds + 3.0).await;
    assert_eq!((objects.versions("ServiceFence").await, objects.versions("Sidecar").await), versions);

    exporter.requests("productpage", &host("reviews"), 1);
    eventually("the Sidecar has reviews", DEADLINE, || async {
        let hosts = objects.hosts("default", "productpage").await;
        if hosts == Some(learned(&["details", "reviews"])) { Ok(()) } else { Err(hosts) }
    })
    .await;
    let fence = objects.find("ServiceFence", "default", "productpage").await.unwrap();
    assert_eq!(fence["status"]["metricStatus"], json!({key("details"): "30", key("reviews"): "1"}));

    // Nobody sends access logs, so that port is closed.
    let port = controller.log_source().replace("http://", "");
    assert!(tokio::net::TcpStream::connect(port).await.is_err());
}

#[tokio::test]
async fn handlers_merge_and_a_broken_one_stops_nothing() {
    let Some(cluster) = Cluster::start("prometheus handlers").await else { return };
    let exporter = Exporter::start().await;
    let Some(prometheus) = Prometheus::start("handlers", cluster.folder(), exporter.port, None).await else { return };
    let objects = &cluster.objects;
    objects.service("default", "productpage", json!({FENCED: "true"})).await;
    exporter.requests("productpage", &host("details"), 2);
    exporter.set(r#"source_app="productpage",request_host="reviews:9080",pod="p""#, 4);
    let handlers = json!({
        "broken": {"query": "sum(istio_requests_total{source_app=\"$source_app\"}"},
        "destination": {"query": QUERY},
        "host": {"query": "sum(istio_requests_total{source_app=\"$source_app\",request_host!=\"\"}) by (request_host)"},
    });
    let controller =
        start(&cluster, &metric(&format!("http://{}", prometheus.address()), json!({"handlers": handlers})));
    eventually("both hosts", DEADLINE, || async {
        let hosts = objects.hosts("default", "productpage").await.unwrap_or_default();
        let both = ["details", "reviews"].iter().all(|name| hosts.contains(&format!("*/{}", host(name))));
        if both { Ok(()) } else { Err((hosts, controller.log())) }
    })
    .await;
    controller.counts("lazyload_prometheus_queries{outcome=\"refused\"}", 3.0).await;
    assert_eq!(controller.metric("lazyload_prometheus_handler_failed{handler=\"broken\"}").await, 1.0);
    assert_eq!(controller.metric("lazyload_prometheus_handler_failed{handler=\"destination\"}").await, 0.0);
    let log = controller.log();
    let said = log.lines().filter(|line| line.contains("WARN") && line.contains("broken")).collect::<Vec<_>>();
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains("bad_data"), "{said:#?}");
}

#[tokio::test]
async fn two_hundred_fences_cost_one_query_a_round() {
    const FENCES: u32 = 220;
    let Some(cluster) = Cluster::start("prometheus batch").await else { return };
    let exporter = Exporter::start().await;
    let Some(prometheus) = Prometheus::start("batch", cluster.folder(), exporter.port, None).await else { return };
    let objects = &cluster.objects;
    let name = |number: u32| format!("app-{number:03}");
    for number in 0..FENCES {
        objects.fence("default", &name(number), json!({"enable": true})).await;
        exporter.requests(&name(number), &host(&name((number + 1) % FENCES)), 1);
    }
    let controller = start(&cluster, &metric(&format!("http://{}", prometheus.address()), json!({})));
    for number in 0..FENCES {
        let expected = format!("*/{}", host(&name((number + 1) % FENCES)));
        eventually("its own host and no other's", DEADLINE, || async {
            let hosts = objects.hosts("default", &name(number)).await.unwrap_or_default();
            if hosts == [expected.as_str(), "istio-system/*", "mesh-operator/*"] { Ok(()) } else { Err(hosts) }
        })
        .await;
    }
    // The Sidecars are news of their fences: rest first.
    let rest = async || {
        let versions = objects.versions("Sidecar").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        if objects.versions("Sidecar").await == versions { Ok(()) } else { Err("still writing") }
    };
    eventually("all is quiet", DEADLINE, rest).await;
    let before = (controller.metric("lazyload_events_total{event=\"measured\"}").await, prometheus.queries().await);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = (controller.metric("lazyload_events_total{event=\"measured\"}").await, prometheus.queries().await);
    let (rounds, queries) = (after.0 - before.0, after.1 - before.1);
    eprintln!("{FENCES} fences: {queries} queries in {rounds} rounds");
    assert!(rounds >= 2.0, "{rounds} rounds");
    // One may be on its way at each end.
    assert!((queries - rounds).abs() <= 1.0, "{queries} queries in {rounds} rounds");
    assert_eq!(controller.metric("lazyload_prometheus_fences").await, f64::from(FENCES));
    assert_eq!(controller.metric("lazyload_prometheus_handler_queries{handler=\"destination\"}").await, 1.0);
}
