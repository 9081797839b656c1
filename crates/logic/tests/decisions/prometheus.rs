//! Prometheus as the source: what rounds of answers do to fences and Sidecars.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lazyload_logic::prometheus::{Reading, Round, Samples, Told};
use lazyload_logic::state::Event;
use lazyload_logic::types::ObjectRef;
use serde_json::{Value, json};

use crate::objects::{mk_fence, mk_namespace, mk_service};
use crate::world::World;

const TICK: Duration = Duration::from_secs(10);
/// The window of these tests, in ticks.
const WINDOW: u32 = 30;

fn entry(handlers: &[&str]) -> Value {
    let query = "sum(istio_requests_total{source_app=\"$source_app\",reporter=\"destination\"})by(destination_service)";
    let handlers: BTreeMap<_, _> = handlers.iter().map(|name| (*name, json!({"query": query}))).collect();
    json!({
        "general": {"switching": "fastest"},
        "metric": {"prometheus": {"address": "http://p", "handlers": handlers, "window": "5m"}},
    })
}

fn world(handlers: &[&str]) -> World {
    let fence = mk_fence("default", "a", json!({"enable": true}));
    let other = mk_fence("default", "other", json!({"enable": true}));
    World::start(entry(handlers), &[mk_namespace("default", None), mk_service("default", "b", None), fence, other])
}

fn key(host: &str) -> String {
    format!("{{destination_service=\"{host}\"}}")
}

/// What one handler says of fence `a`; somebody else's number moves with it.
fn told(handler: &str, samples: &[(&str, u32)]) -> Told {
    let sum: u32 = samples.iter().map(|(_, count)| count).sum::<u32>() + 1;
    let samples: Samples = samples.iter().map(|(host, count)| (key(host), count.to_string())).collect();
    let other = Samples::from([(key("always.there"), sum.to_string())]);
    Told {
        handler: Arc::from(handler),
        reading: Reading::Counter,
        fences: [(ObjectRef::new("default", "a"), samples), (ObjectRef::new("default", "other"), other)].into(),
    }
}

impl World {
    /// A full round, ten seconds after the last one.
    fn round(&mut self, told: Vec<Told>) {
        self.on(Event::Measured(Box::new(Round { full: true, told })));
        self.settle_within(TICK);
    }

    fn metric_status(&self, name: &str) -> Value {
        let fence = self.cluster.get(lazyload_logic::types::Kind::Fence, "default", name).unwrap();
        fence["status"]["metricStatus"].clone()
    }

    fn has_host(&self, host: &str) -> bool {
        self.cluster.hosts("default", "a").contains(&format!("*/{host}"))
    }
}

const B: &str = "b.default.svc.cluster.local";
const C: &str = "c.default.svc.cluster.local";

#[test]
fn what_prometheus_tells_is_in_the_status_in_its_own_words_and_in_the_sidecar() {
    let mut world = world(&["destination"]);
    world.round(vec![told("destination", &[(B, 12)])]);
    assert_eq!(world.metric_status("a"), json!({key(B): "12"}));
    assert!(world.has_host(B));
}

#[test]
fn counts_that_grow_cost_no_write() {
    let mut world = world(&["destination"]);
    world.round(vec![told("destination", &[(B, 1)])]);
    let writes = world.total_writes();
    for count in 2..100 {
        world.round(vec![told("destination", &[(B, count)])]);
    }
    assert_eq!(world.total_writes(), writes);
    // A new host brings the numbers up to date.
    world.round(vec![told("destination", &[(B, 100), (C, 1)])]);
    assert_eq!(world.metric_status("a"), json!({key(B): "100", key(C): "1"}));
    assert_eq!(world.total_writes(), writes + 2, "one status, one Sidecar");
}

#[test]
fn several_handlers_merge() {
    let mut world = world(&["one", "two"]);
    world.round(vec![told("one", &[(B, 1)]), told("two", &[(C, 2), (B, 7)])]);
    assert!(world.has_host(B) && world.has_host(C));
    assert_eq!(world.metric_status("a"), json!({key(B): "1", key(C): "2"}));
}

#[test]
fn a_host_that_is_not_called_for_the_window_leaves_by_its_grace_and_comes_back_when_it_is_called() {
    let mut world = world(&["destination"]);
    for count in 1..=WINDOW {
        world.round(vec![told("destination", &[(B, 5), (C, count)])]);
        assert!(world.has_host(B), "within the window");
    }
    for count in 0..5 {
        world.round(vec![told("destination", &[(B, 5), (C, 100 + count)])]);
    }
    assert!(!world.has_host(B) && world.has_host(C));
    assert_eq!(world.metric_status("a"), json!({key(C): "100"}), "the evidence goes, the rest stays");
    assert_eq!(world.state.learned().expired, 1);
    world.round(vec![told("destination", &[(B, 6), (C, 200)])]);
    assert!(world.has_host(B));
}

#[test]
fn a_host_on_its_way_out_stays_in_the_sidecar_for_its_grace() {
    let mut world = world(&["destination"]);
    for count in 0..=WINDOW {
        world.round(vec![told("destination", &[(B, 5), (C, count + 1)])]);
    }
    let fence = world.cluster.get(lazyload_logic::types::Kind::Fence, "default", "a").unwrap();
    assert_eq!(fence["status"]["domains"][B]["status"], "EXPIREWAIT");
    assert!(world.has_host(B));
}

#[test]
fn nothing_leaves_while_prometheus_does_not_answer_fully() {
    let failing = [
        ("nobody answers", Vec::new()),
        ("one of two handlers fails", vec![told("one", &[(C, 1)])]),
        ("a handler that knew something knows nothing of anybody", {
            let mut empty = told("two", &[]);
            empty.fences.values_mut().for_each(BTreeMap::clear);
            vec![told("one", &[(C, 1)]), empty]
        }),
        ("the fence's own query fails", {
            let (mut one, two) = (told("one", &[]), told("two", &[(B, 1)]));
            one.fences.remove(&ObjectRef::new("default", "a"));
            vec![one, two]
        }),
    ];
    for (what, told_meanwhile) in failing {
        let mut world = world(&["one", "two"]);
        world.round(vec![told("one", &[(B, 5)]), told("two", &[(B, 5)])]);
        for _ in 0..3 * WINDOW {
            world.round(told_meanwhile.clone());
        }
        assert!(world.has_host(B), "{what}");
    }
}

#[test]
fn a_prometheus_that_was_away_for_long_takes_no_host_with_it() {
    let mut world = world(&["destination"]);
    world.round(vec![told("destination", &[(B, 5)])]);
    world.now += TICK * WINDOW * 100;
    world.round(vec![told("destination", &[(B, 5)])]);
    world.settle_within(TICK * 10);
    assert!(world.has_host(B));
}

#[test]
fn a_round_about_a_few_fences_teaches_and_takes_nothing_away() {
    let mut world = world(&["destination"]);
    world.round(vec![told("destination", &[(B, 5)])]);
    for _ in 0..3 * WINDOW {
        let round = Round { full: false, told: vec![told("destination", &[(C, 1)])] };
        world.on(Event::Measured(Box::new(round)));
        world.settle_within(TICK);
    }
    assert!(world.has_host(B) && world.has_host(C));
}

#[test]
fn after_a_restart_the_status_is_known_and_its_window_begins_anew() {
    let mut world = world(&["destination"]);
    for _ in 0..WINDOW - 5 {
        world.round(vec![told("destination", &[(B, 5)])]);
    }
    world.restart();
    for _ in 0..WINDOW - 5 {
        world.round(vec![told("destination", &[])]);
        assert!(world.has_host(B));
    }
    for _ in 0..15 {
        world.round(vec![told("destination", &[])]);
    }
    assert!(!world.has_host(B));
}

#[test]
fn fences_that_are_not_enabled_are_not_asked_about_and_learn_nothing() {
    let off = mk_fence("default", "a", json!({"enable": false}));
    let mut world = World::start(entry(&["destination"]), &[mk_namespace("default", None), off]);
    assert!(world.state.interest_set().is_empty());
    world.round(vec![told("destination", &[(B, 5)])]);
    assert_eq!(world.metric_status("a"), Value::Null);
}

#[test]
fn a_short_name_of_the_caller_is_completed_and_the_global_sidecar_is_no_dependency() {
    let mut world = world(&["destination"]);
    let samples =
        ["{request_host=\"b:9080\"}", "{destination_service=\"global-sidecar.mesh-operator.svc.cluster.local\"}"];
    let mut told = told("destination", &[]);
    told.fences.insert(
        ObjectRef::new("default", "a"),
        samples.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect(),
    );
    world.round(vec![told]);
    assert_eq!(world.metric_status("a"), json!({format!("{{request_host=\"{B}:9080\"}}"): "1"}));
    assert_eq!(
        world.cluster.hosts("default", "a"),
        [format!("*/{B}"), "istio-system/*".into(), "mesh-operator/*".into()]
    );
}
