//! Fences that go less far, and break-glass: what is written, what is kept, what it takes to come back.

use std::time::Duration;

use lazyload_logic::state::Event;
use lazyload_logic::types::Kind;
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_fence, mk_foreign_sidecar, mk_labelled_namespace, mk_namespace, mk_pod, mk_service};
use crate::world::World;

const MODE: &str = "lazyload.slime.io/mode";
const BREAK_GLASS: &str = "lazyload.slime.io/break-glass";

fn objects() -> Vec<Value> {
    vec![
        mk_namespace("mesh-operator", None),
        mk_namespace("default", None),
        mk_service("default", "a", Some("true")),
        mk_service("default", "b", None),
        mk_pod("default", "a-1", "a", "10.0.0.1"),
    ]
}

/// A world in which `a` has called `b`, and everything has come to rest.
fn learned() -> World {
    let mut world = World::start(World::labels_only(), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(Duration::from_secs(10));
    assert!(world.cluster.hosts("default", "a").contains(&format!("*/{}", fqdn("b", "default"))));
    world
}

fn status(world: &World) -> &Value {
    &world.cluster.get(Kind::Fence, "default", "a").unwrap()["status"]
}

fn condition<'a>(world: &'a World, kind: &str) -> (&'a str, &'a str) {
    let conditions = status(world)["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

fn has_sidecar(world: &World) -> bool {
    world.has(Kind::Sidecar, "default", "a")
}

#[test]
fn a_fence_that_goes_less_far_loses_its_sidecar_in_stages_learns_on_and_has_all_of_it_when_it_comes_back() {
    for (mode, reason) in [("observe", "Observing"), ("recommend", "Recommending")] {
        let mut world = learned();
        let updates = world.count("update_sidecar");
        world.put(mk_labelled_namespace("default", MODE, Some(mode)));
        world.settle_within(Duration::from_secs(60));
        assert!(!has_sidecar(&world));
        assert_eq!(world.count("update_sidecar"), updates + 1, "every cluster first");
        assert_eq!(status(&world)["mode"], mode);
        assert_eq!(condition(&world, "SidecarApplied"), ("False", reason));
        assert_eq!(condition(&world, "Ready"), ("True", reason));

        world.call("10.0.0.1", "c.other:80");
        world.settle();
        let recommended = world.state.index().fences().next().map(|fence| world.state.recommended(fence));
        let hosts = recommended.unwrap().unwrap()["spec"]["egress"][0]["hosts"].clone();
        assert!(hosts.as_array().unwrap().contains(&json!(format!("*/{}", fqdn("b", "default")))), "{hosts}");
        assert!(status(&world)["metricStatus"].as_object().unwrap().len() == 2, "{}", status(&world));
        assert!(!has_sidecar(&world));

        let writes = world.total_writes();
        world.on(Event::Heal);
        world.restart();
        world.settle_within(Duration::from_secs(60));
        assert_eq!(world.total_writes(), writes, "at rest it writes nothing");

        world.put(mk_namespace("default", None));
        world.settle_within(Duration::from_secs(60));
        assert!(world.cluster.hosts("default", "a").contains(&format!("*/{}", fqdn("b", "default"))));
        assert_eq!(status(&world).get("mode"), None);
        assert_eq!(condition(&world, "SidecarApplied"), ("True", "Applied"));
    }
}

#[test]
fn a_service_that_is_observed_from_the_start_never_has_a_sidecar() {
    let mut objects = objects();
    objects[2]["metadata"]["labels"][MODE] = json!("observe");
    let mut world = World::start(World::labels_only(), &objects);
    world.call("10.0.0.1", "b:9080");
    world.settle_within(Duration::from_secs(60));
    assert_eq!((world.count("create_sidecar"), world.count("create_fence")), (0, 1));
    assert!(status(&world)["domains"].get(fqdn("b", "default")).is_some());
}

#[test]
fn break_glass_widens_every_fence_without_touching_a_spec_and_is_heeded_at_the_start_too() {
    for namespace in ["mesh-operator", "default"] {
        let mut world = learned();
        let spec = world.cluster.get(Kind::Fence, "default", "a").unwrap()["spec"].clone();
        world.put(mk_labelled_namespace(namespace, BREAK_GLASS, Some("on")));
        // The controller is away when it is asked for.
        world.restart();
        world.settle_within(Duration::from_secs(60));
        assert!(!has_sidecar(&world), "{namespace}");
        assert_eq!(status(&world)["mode"], "break-glass");
        assert_eq!(condition(&world, "SidecarApplied"), ("False", "BreakGlass"));
        let told: Vec<&str> = world.state.take_notices().iter().map(|notice| notice.reason).collect();
        assert!(told.contains(&"BreakGlass"), "{told:?}");
        assert_eq!(world.cluster.get(Kind::Fence, "default", "a").unwrap()["spec"], spec);
        let census = world.state.census();
        assert_eq!((census.by_mode, census.glasses), ([("break-glass", 1)].into(), 1));

        world.call("10.0.0.1", "c.other:80");
        world.put(mk_labelled_namespace(namespace, BREAK_GLASS, Some("off")));
        world.settle_within(Duration::from_secs(60));
        assert!(world.cluster.hosts("default", "a").contains(&format!("*/{}", fqdn("b", "default"))));
        assert_eq!(status(&world)["metricStatus"].as_object().unwrap().len(), 2, "it has learned meanwhile");
    }
}

#[test]
fn break_glass_of_a_namespace_leaves_others_as_they_are() {
    let mut world = learned();
    world.put(mk_labelled_namespace("elsewhere", BREAK_GLASS, Some("on")));
    let writes = world.total_writes();
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.total_writes(), writes);
}

#[test]
fn a_users_sidecar_is_not_taken_over_while_its_fence_is_observed() {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("observe"));
    let mut handed_over = mk_foreign_sidecar("default", "a");
    handed_over["metadata"]["annotations"] = json!({"lazyload.slime.io/adopt": "true"});
    objects.push(handed_over);
    let mut world = World::start(World::labels_only(), &objects);
    world.settle_within(Duration::from_secs(60));
    assert_eq!((world.count("adopt_sidecar"), world.count("delete_sidecar"), world.count("update_sidecar")), (0, 0, 0));
    world.put(mk_namespace("default", None));
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.count("adopt_sidecar"), 1);
}

#[test]
fn a_fence_that_another_ruled_has_its_own_sidecar_once_that_one_is_observed() {
    let mut objects = objects();
    // Older or not, it selects the same pods and was made by hand.
    objects.push(mk_fence("default", "other", json!({"enable": true, "workloadSelector": {"labels": {"app": "a"}}})));
    let mut world = World::start(World::labels_only(), &objects);
    world.settle_within(Duration::from_secs(60));
    let before = ["a", "other"].map(|name| world.has(Kind::Sidecar, "default", name));
    assert_eq!(before.iter().filter(|has| **has).count(), 1, "one rules");
    let ruler = if before[0] { "a" } else { "other" };
    let mut fence = world.cluster.get(Kind::Fence, "default", ruler).unwrap().clone();
    fence["metadata"]["labels"][MODE] = json!("observe");
    world.put(fence);
    world.settle_within(Duration::from_secs(60));
    let after = ["a", "other"].map(|name| world.has(Kind::Sidecar, "default", name));
    assert_eq!(after, [!before[0], !before[1]]);
}

#[test]
fn a_mode_that_is_none_is_told_and_leaves_it_to_the_next_level() {
    let mut world = learned();
    world.put(mk_labelled_namespace("default", MODE, Some("observed")));
    world.settle_within(Duration::from_secs(60));
    assert!(has_sidecar(&world));
    assert_eq!(condition(&world, "SpecValid"), ("False", "LeftOut"));
    let told: Vec<&str> = world.state.take_notices().iter().map(|notice| notice.reason).collect();
    assert!(told.contains(&"SpecInvalid"), "{told:?}");
}

fn with_caller_logs() -> Value {
    let mut entry = World::labels_only();
    entry["general"]["callerLogs"] = json!("on");
    entry
}

#[test]
fn while_a_fence_is_observed_its_proxies_tell_what_they_call_and_its_status_says_so_before_and_until_it_is_over() {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("observe"));
    let mut world = World::start(with_caller_logs(), &objects);
    world.settle_within(Duration::from_secs(10));
    let name = "lazyload-caller-log.a";
    assert_eq!(status(&world)["callerLog"], name);
    let filter = &world.cluster.caller_logs[name];
    assert_eq!(filter["metadata"]["ownerReferences"][0]["name"], "a");
    assert_eq!(filter["spec"]["workloadSelector"]["labels"], json!({"app": "a"}));
    let patches = filter["spec"]["configPatches"].as_array().unwrap();
    assert!(patches.iter().all(|patch| patch["match"]["context"] == "SIDECAR_OUTBOUND"), "{patches:#?}");

    let writes = world.total_writes();
    world.on(Event::Heal);
    world.call("10.0.0.1", "b:9080");
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.count("apply_caller_log"), 1, "what it learns does not write it again");
    assert_eq!(world.total_writes(), writes + 1);
    // Who starts does not know whether it is as it should be, and writes it once.
    world.restart();
    world.settle_within(Duration::from_secs(60));
    assert_eq!(world.count("apply_caller_log"), 2);

    // The process dies between the two writes of the end.
    world.put(mk_namespace("default", None));
    while world.count("remove_caller_log") == 0 {
        world.hear();
        let changes = world.plan();
        for change in &changes {
            let outcome = world.cluster.apply(change);
            world.finish(change, outcome);
        }
        world.now += Duration::from_secs(1);
    }
    assert_eq!(status(&world)["callerLog"], name, "until it is gone for sure");
    world.restart();
    world.settle_within(Duration::from_secs(60));
    assert_eq!(status(&world).get("callerLog"), None);
    assert!(world.cluster.caller_logs.is_empty() && has_sidecar(&world));
}

#[test]
fn break_glass_adds_nothing_to_any_proxy_and_takes_away_what_was_added() {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("recommend"));
    let mut world = World::start(with_caller_logs(), &objects);
    world.settle_within(Duration::from_secs(10));
    assert_eq!(world.cluster.caller_logs.len(), 1);
    world.put(mk_labelled_namespace("mesh-operator", BREAK_GLASS, Some("on")));
    world.settle_within(Duration::from_secs(60));
    assert!(world.cluster.caller_logs.is_empty() && status(&world).get("callerLog").is_none());
}

#[test]
fn nobodys_proxy_is_changed_unless_that_is_switched_on_and_what_is_left_after_it_was_is_told() {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("observe"));
    let mut world = World::start(World::labels_only(), &objects);
    world.settle_within(Duration::from_secs(10));
    assert_eq!((world.count("apply_caller_log"), status(&world).get("callerLog")), (0, None));

    let mut world = World::start(with_caller_logs(), &objects);
    world.settle_within(Duration::from_secs(10));
    world.entry = World::labels_only();
    world.restart();
    world.settle_within(Duration::from_secs(10));
    assert_eq!(world.count("remove_caller_log"), 0, "it has no right to any more");
    assert_eq!(condition(&world, "SpecValid"), ("False", "LeftOut"));
    assert_eq!(status(&world)["callerLog"], "lazyload-caller-log.a");
}
