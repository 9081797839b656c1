//! Scope gates and revisions while they change: namespaces' labels, objects' revisions, settings.

use std::time::Duration;

use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Value, json};

use crate::objects::{FENCED, mk_fence, mk_namespace, mk_pod, mk_service, mk_virtual_service};
use crate::world::World;

const REVISION: &str = "istio.io/rev";

fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

fn fences(world: &World) -> Vec<String> {
    let name = |fence: &&Value| fence["metadata"]["name"].as_str().unwrap().to_owned();
    world.cluster.all(Kind::Fence).iter().map(name).collect()
}

fn hosts(world: &World, name: &str) -> Value {
    world
        .cluster
        .get(Kind::Sidecar, "default", name)
        .map_or(Value::Null, |sidecar| sidecar["spec"]["egress"][0]["hosts"].clone())
}

fn change_settings(world: &mut World, entry: Value) {
    let settings = resolve(&entry, &Context::default()).unwrap().settings;
    world.entry = entry;
    world.on(Event::Settings(Box::new(settings)));
    world.settle();
}

#[test]
fn a_namespaces_label_brings_it_into_scope_and_out_of_it_at_once_and_manual_fences_stay() {
    let entry = json!({"general": {"autoFence": true, "defaultFence": true, "managementSelectors": [{"matchLabels": {"team": "a"}}]}});
    let namespace = |labels: Value| labelled(mk_namespace("default", None), labels);
    let mut world = World::start(
        entry,
        &[
            namespace(json!({"team": "a"})),
            mk_service("default", "svc", None),
            mk_fence("default", "manual", json!({"enable": true})),
        ],
    );
    assert_eq!(fences(&world), ["manual", "svc"]);
    world.put(namespace(json!({"team": "b", FENCED: "true"})));
    world.settle();
    assert_eq!(fences(&world), ["manual"]);
    world.put(namespace(json!({"team": "a"})));
    world.settle();
    assert_eq!(fences(&world), ["manual", "svc"]);
}

#[test]
fn a_namespace_that_was_not_heard_of_costs_no_fence() {
    let entry = json!({"general": {"autoFence": true, "defaultFence": true, "fenceLabelKeyAlias": "app", "managementSelectors": [{"matchLabels": {"team": "a"}}]}});
    let namespace = labelled(mk_namespace("default", None), json!({"team": "a"}));
    let objects = [namespace, mk_service("default", "svc", None), mk_pod("default", "p", "svc", "10.0.0.1")];
    let mut world = World::start(entry, &objects);
    assert_eq!(fences(&world), ["app-svc.workload.identity", "svc"]);
    world.on(Event::Deleted(Kind::Namespace, ObjectRef::new("", "default")));
    world.on(Event::Heal);
    world.settle();
    assert_eq!(fences(&world), ["app-svc.workload.identity", "svc"]);
}

#[test]
fn a_fence_follows_its_revision_label_to_and_fro() {
    let entry = json!({"global": {"istioRev": "1-19"}});
    let fence = |revision: &str, host: &str| {
        labelled(mk_fence("default", "a", json!({"enable": true, "host": {host: {}}})), json!({REVISION: revision}))
    };
    let mut world = World::start(entry, &[fence("1-18", "x.example.com"), mk_pod("default", "a", "a", "10.0.0.1")]);
    world.call("10.0.0.1", "called.example.com");
    world.settle();
    assert_eq!(world.total_writes(), 0, "neither status nor Sidecar");
    assert_eq!(world.state.learned().skipped.get("other_revision"), Some(&1));
    world.put(fence("1-19", "x.example.com"));
    world.settle();
    assert_eq!(hosts(&world, "a"), json!(["*/x.example.com", "istio-system/*", "mesh-operator/*"]));
    let writes = world.total_writes();
    world.put(fence("1-18", "y.example.com"));
    world.settle();
    assert_eq!(world.total_writes(), writes, "what is there stays as it is");
}

#[test]
fn a_sidecar_of_another_revision_is_left_untouched() {
    let entry = json!({"global": {"istioRev": "1-19"}});
    let mut world = World::start(entry, &[mk_fence("default", "a", json!({"enable": true}))]);
    let relabel = |world: &mut World, revision: Value| {
        let sidecar = world.cluster.get(Kind::Sidecar, "default", "a").unwrap().clone();
        world.put(labelled(sidecar, json!({REVISION: revision})));
    };
    relabel(&mut world, json!("1-18"));
    world.put(mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.settle();
    assert_eq!(hosts(&world, "a"), json!(["istio-system/*", "mesh-operator/*"]));
    relabel(&mut world, json!("1-19"));
    world.settle();
    assert_eq!(hosts(&world, "a"), json!(["*/x.example.com", "istio-system/*", "mesh-operator/*"]));
}

#[test]
fn a_virtual_service_follows_its_revision_label_to_and_fro() {
    let entry = json!({"global": {"istioRev": "1-19"}});
    let route = |revision: &str| {
        labelled(mk_virtual_service("default", "v", "x.example.com", "y.example.com"), json!({REVISION: revision}))
    };
    let mut world = World::start(
        entry,
        &[mk_fence("default", "a", json!({"enable": true, "host": {"x.example.com": {}}})), route("1-18")],
    );
    let has_destination = |world: &World| hosts(world, "a").as_array().unwrap().contains(&json!("*/y.example.com"));
    assert!(!has_destination(&world));
    world.put(route("1-19"));
    world.settle();
    assert!(has_destination(&world));
    world.put(route("1-18"));
    world.settle();
    assert!(!has_destination(&world));
}

#[test]
fn changed_settings_are_in_force_at_once() {
    let objects =
        [mk_namespace("default", None), mk_service("default", "svc", None), mk_pod("default", "p", "svc", "10.0.0.1")];
    let mut world = World::start(json!({}), &objects);
    assert_eq!(world.total_writes(), 0);
    change_settings(
        &mut world,
        json!({"general": {"autoFence": true, "defaultFence": true, "stableHost": ["api.example.com"]}}),
    );
    assert_eq!(hosts(&world, "svc"), json!(["*/api.example.com", "istio-system/*", "mesh-operator/*"]));
    let alias = json!([{"pattern": "^api", "templates": ["alias.example.com"]}]);
    change_settings(
        &mut world,
        json!({"general": {"autoFence": true, "defaultFence": false, "fenceLabelKeyAlias": "app", "domainAliases": alias}}),
    );
    assert_eq!(fences(&world), ["app-svc.workload.identity"]);
    world.call("10.0.0.1", "api.other.svc.cluster.local");
    world.settle();
    let expected = json!(["*/alias.example.com", "*/api.other.svc.cluster.local", "istio-system/*", "mesh-operator/*"]);
    assert_eq!(hosts(&world, "app-svc.workload.identity"), expected);
    change_settings(&mut world, json!({"general": {"autoFence": true}}));
    assert!(fences(&world).is_empty());
}

fn namespaced(namespaces: &[&str]) -> Value {
    json!({"general": {"autoFence": true, "globalSidecarMode": "namespace", "namespace": namespaces, "wormholePort": ["9080"]}})
}

fn why_no_sidecar(world: &World, name: &str) -> String {
    let fence = world.cluster.get(Kind::Fence, "default", name).unwrap();
    let conditions = fence["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let applied = conditions.iter().find(|condition| condition["type"] == "SidecarApplied").unwrap();
    applied["reason"].as_str().unwrap().to_owned()
}

#[test]
fn where_no_global_sidecar_is_a_fence_hides_nothing_and_says_so_and_what_it_learned_is_kept() {
    let fence = mk_fence("default", "manual", json!({"enable": true, "host": {"b.default.svc.cluster.local": {}}}));
    let mut world =
        World::start(namespaced(&["shop"]), &[mk_namespace("default", None), mk_service("default", "b", None), fence]);
    assert_eq!((hosts(&world, "manual"), why_no_sidecar(&world, "manual").as_str()), (Value::Null, "WithoutFallback"));
    change_settings(&mut world, namespaced(&["shop", "default"]));
    assert!(hosts(&world, "manual").to_string().contains("b.default.svc"));
    assert_eq!(why_no_sidecar(&world, "manual"), "Applied");
    change_settings(&mut world, namespaced(&["shop"]));
    world.settle_within(Duration::from_secs(5));
    assert_eq!((hosts(&world, "manual"), why_no_sidecar(&world, "manual").as_str()), (Value::Null, "WithoutFallback"));
    let domains = world.cluster.get(Kind::Fence, "default", "manual").unwrap()["status"]["domains"].to_string();
    assert!(domains.contains("b.default.svc.cluster.local"), "{domains}");
}

#[test]
fn fences_where_a_global_sidecar_of_somebody_else_is_are_left_to_its_controller() {
    let objects = [
        mk_namespace("default", None),
        mk_service("default", "a", Some("true")),
        mk_service("default", "global-sidecar", None),
        mk_fence("default", "manual", json!({"enable": true})),
    ];
    let mut world = World::start(namespaced(&["default"]), &objects);
    assert_eq!(fences(&world), ["a", "manual"]);
    let before = world.total_writes();
    // It leaves: its operator takes the Sidecars, and until then somebody is served.
    change_settings(&mut world, namespaced(&["shop"]));
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.total_writes(), before);
    world.cluster.delete(Kind::Service, "default", "global-sidecar");
    world.settle_within(Duration::from_secs(60));
    assert_eq!(fences(&world), ["manual"], "nobody looks after it any more, so it is as if it were not labelled");
    assert_eq!((hosts(&world, "manual"), hosts(&world, "a")), (Value::Null, Value::Null));
}
