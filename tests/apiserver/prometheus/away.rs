//! What is not lost while Prometheus is away, starts anew or has forgotten everything; and what leaves when it is not called any more.

use std::time::Duration;

use serde_json::json;

use super::super::DEADLINE;
use super::super::cluster::Cluster;
use super::super::controller::Controller;
use super::exporter::Exporter;
use super::server::Prometheus;
use super::{host, key, metric, start};
use crate::support::waiting::eventually;

/// The shortest that is used here; real ones are days.
const WINDOW: Duration = Duration::from_secs(6);

async fn has(cluster: &Cluster, controller: &Controller, names: &[&str]) {
    let expected: Vec<String> = names.iter().map(|name| format!("*/{}", host(name))).collect();
    eventually("its hosts", DEADLINE, || async {
        let mut hosts = cluster.objects.hosts("default", "a").await.unwrap_or_default();
        hosts.retain(|host| host.starts_with("*/"));
        if hosts == expected { Ok(()) } else { Err((hosts, controller.log())) }
    })
    .await;
}

#[tokio::test]
async fn nothing_leaves_while_prometheus_is_away_and_a_host_that_is_not_called_leaves_after_the_window() {
    let Some(cluster) = Cluster::start("prometheus away").await else { return };
    let exporter = Exporter::start().await;
    let Some(mut prometheus) = Prometheus::start("away", cluster.folder(), exporter.port, None).await else { return };
    cluster.objects.fence("default", "a", json!({"enable": true})).await;
    cluster.objects.fence("default", "other", json!({"enable": true})).await;
    exporter.requests("a", &host("b"), 5);
    exporter.requests("a", &host("c"), 5);
    let address = format!("http://{}", prometheus.address());
    let window = format!("{}s", WINDOW.as_secs());
    let mut controller = start(&cluster, &metric(&address, json!({"window": window})));
    has(&cluster, &controller, &["b", "c"]).await;

    // Away for longer than the window, and then without any memory, asked while its target is silent.
    let versions = cluster.objects.versions("Sidecar").await;
    prometheus.stop();
    controller.counts("lazyload_prometheus_queries{outcome=\"unreachable\"}", 1.0).await;
    tokio::time::sleep(WINDOW * 2).await;
    exporter.clear();
    prometheus.forget();
    prometheus.start_again();
    prometheus.ready().await;
    let answered = controller.metric("lazyload_prometheus_queries{outcome=\"answered\"}").await;
    controller.counts("lazyload_prometheus_queries{outcome=\"answered\"}", answered + 2.0).await;
    tokio::time::sleep(WINDOW * 2).await;
    assert_eq!(cluster.objects.versions("Sidecar").await, versions, "{}", controller.log());

    // A controller that starts now knows its hosts from the status.
    controller.kill();
    controller.start_again();
    controller.ready().await;
    tokio::time::sleep(WINDOW).await;
    assert_eq!(cluster.objects.versions("Sidecar").await, versions, "{}", controller.log());

    // Counters begin anew, c's alone go on: b was not called for the window.
    let calling = {
        let exporter = exporter.clone();
        tokio::spawn(async move {
            for count in 1.. {
                exporter.requests("a", &host("c"), count);
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    };
    exporter.requests("a", &host("b"), 1);
    eventually("b on its way out", DEADLINE, || async {
        let fence = cluster.objects.find("ServiceFence", "default", "a").await.unwrap();
        let status = fence["status"]["domains"][host("b")]["status"].clone();
        if status == "EXPIREWAIT" { Ok(()) } else { Err((fence, controller.log())) }
    })
    .await;
    has(&cluster, &controller, &["c"]).await;
    let fence = cluster.objects.find("ServiceFence", "default", "a").await.unwrap();
    let evidence = fence["status"]["metricStatus"].as_object().unwrap();
    assert_eq!(evidence.keys().collect::<Vec<_>>(), [&key("c")]);
    assert_eq!(controller.metric("lazyload_learned_expired").await, 1.0);

    // Called again, it is back; so is what nobody had called before.
    exporter.requests("a", &host("b"), 2);
    exporter.requests("a", &host("d"), 1);
    has(&cluster, &controller, &["b", "c", "d"]).await;
    calling.abort();
}
