//! The chart's alerts in a real Prometheus that scrapes a real controller.

use serde_json::{Value, json};

use super::super::DEADLINE;
use super::super::cluster::Cluster;
use super::super::controller::Controller;
use super::super::proxy::Stream;
use super::server::Prometheus;
use crate::support::repository;
use crate::support::waiting::eventually;

#[tokio::test]
async fn every_alert_is_understood_and_nothing_learned_is_noticed_until_a_stream_is_open() {
    let Some(cluster) = Cluster::start("alerts").await else { return };
    let file = repository().join("charts/lazyload/files/alerts.yaml");
    let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let written = written["groups"][0]["rules"].as_array().unwrap().len();
    assert!(written >= 5);
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let port = controller.metrics_port();
    let Some(prometheus) = Prometheus::start_with_rules("alerts", cluster.folder(), port, &file).await else { return };
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
    state_is("pending").await;
    let stream = Stream::open(controller.log_source()).await.unwrap();
    state_is("inactive").await;
    drop(stream);
    state_is("pending").await;
}
