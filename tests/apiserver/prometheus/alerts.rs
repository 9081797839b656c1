//! The chart's alerts in a real Prometheus that scrapes a real controller.

use serde_json::{Value, json};

use super::super::DEADLINE;
use super::super::cluster::Cluster;
use super::super::controller::Controller;
use super::super::proxy::send;
use super::exporter::Exporter;
use super::server::Prometheus;
use crate::support::repository;
use crate::support::waiting::eventually;

#[tokio::test]
async fn every_alert_is_understood_and_nothing_learned_is_noticed_where_requests_take_the_fallback() {
    let Some(cluster) = Cluster::start("alerts").await else { return };
    let file = repository().join("charts/lazyload/files/alerts.yaml");
    let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let written = written["groups"][0]["rules"].as_array().unwrap().len();
    assert!(written >= 5);
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let fallback = Exporter::start().await;
    let serve = |requests| {
        fallback.count("lazyload_forward_requests_total", "protocol=\"http1\",result=\"answered\"", requests);
    };
    serve(3);
    let ports = [controller.metrics_port(), fallback.port];
    let Some(prometheus) = Prometheus::start_with_rules("alerts", cluster.folder(), &ports, &file).await else {
        return;
    };
    let states = async || {
        let rules = prometheus.rules().await;
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        let states = rules.iter().map(|rule| [text(rule, "name"), text(rule, "health"), text(rule, "state")]);
        states.collect::<Vec<_>>()
    };
    let state_is = |expected: &'static str| {
        let states = &states;
        eventually(expected, DEADLINE, move || async move {
            let states = states().await;
            let understood = states.len() == written && states.iter().all(|[_, health, _]| health == "ok");
            let is = states.iter().any(|[name, _, state]| name == "LazyloadLearnsNothing" && state == expected);
            let others = states.iter().all(|[name, _, state]| name == "LazyloadLearnsNothing" || state == "inactive");
            if understood && is && others { Ok(()) } else { Err(states) }
        })
    };
    // Nobody calls anything that is unknown: there is nothing to learn.
    state_is("inactive").await;
    prometheus.scraped("lazyload_forward_requests_total", DEADLINE).await;
    serve(4);
    state_is("pending").await;
    let _stream = send(&controller, &[("10.0.0.1", "details:9080")]).await;
    state_is("inactive").await;
}
