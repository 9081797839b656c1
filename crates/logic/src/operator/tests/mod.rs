//! The operator on a cluster in memory: whatever happens in whatever order, nobody is ever sent to what is not there.

mod conditions;
mod leaving;
mod ports;
mod replacing;
mod rivals;
mod schedule;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use lazyload_api::names;
use serde_json::{Value, json};

use super::{Event, Key, Outcome};
use world::World;

fn spec(general: &Value) -> Value {
    json!({
        "image": {"repository": "example/lazyload"},
        "module": [{"name": "lazyload", "enable": true, "general": general}],
        "component": {"globalSidecar": {"enable": true, "sidecarInject": {"enable": true}}},
    })
}

fn cluster(ports: &[u16]) -> Value {
    spec(&json!({"wormholePort": ports}))
}

fn finding(cleanup: bool) -> Value {
    spec(&json!({"wormholePort": [9080], "autoPort": true, "cleanupWormholePort": cleanup}))
}

fn namespaces(namespaces: &[&str]) -> Value {
    spec(&json!({"wormholePort": [9080], "globalSidecarMode": "namespace", "namespace": namespaces}))
}

#[test]
fn nothing_is_sent_to_a_global_sidecar_that_is_not_there_yet() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.run();
    assert_eq!(world.acts[0], "add the finalizer ");
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    assert_eq!(world.condition("lazyload", "Ready")["reason"], "Waiting");
    assert_eq!(world.condition("lazyload", "Progressing")["status"], "True");
    world.roll_out();
    world.run();
    assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    let ready = world.condition("lazyload", "Ready");
    assert_eq!(
        (ready["status"].clone(), ready["reason"].clone(), ready["observedGeneration"].clone()),
        (json!("True"), json!("Installed"), json!(1))
    );
    let acts = world.acts.len();
    world.converge();
    assert_eq!(world.acts.len(), acts, "silence costs nothing");
}

#[test]
fn what_is_changed_or_deleted_by_hand_is_repaired_and_a_lost_label_too() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let before = world.store.clone();
    let key = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    world.store.get_mut(&key).unwrap()["spec"]["ports"] = json!([]);
    let edited = world.store[&key].clone();
    world.hear(Event::Applied(Box::new(edited)));
    world.now += Duration::from_secs(3);
    world.run_unchecked();
    world.store.get_mut(&key).unwrap()["metadata"]["labels"] = json!({});
    world.hear(Event::Gone(key.clone()));
    let deleted = Key::new("ConfigMap", "mesh-operator", "lazyload").unwrap();
    world.store.remove(&deleted);
    world.hear(Event::Gone(deleted.clone()));
    world.now += Duration::from_secs(3);
    world.converge();
    assert_eq!(world.store[&key]["spec"], before[&key]["spec"]);
    assert_eq!(world.store[&key]["metadata"]["labels"], before[&key]["metadata"]["labels"]);
    assert_eq!(world.store[&deleted]["data"], before[&deleted]["data"]);
}

#[test]
fn somebody_elses_object_is_never_touched_and_nothing_is_sent_meanwhile() {
    let mut world = World::new();
    let key = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "mesh-operator", "name": "global-sidecar", "uid": "u"}});
    world.store.insert(key.clone(), theirs.clone());
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert_eq!(world.store[&key], theirs);
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    let degraded = world.condition("lazyload", "Degraded");
    assert_eq!((degraded["status"].clone(), degraded["reason"].clone()), (json!("True"), json!("Occupied")));
    assert!(
        degraded["message"].as_str().unwrap().starts_with("Service mesh-operator/global-sidecar is there already"),
        "{degraded}"
    );
    world.store.remove(&key);
    world.now += Duration::from_secs(60);
    world.converge();
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
}
