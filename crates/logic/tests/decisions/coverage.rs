//! How well a fence is known that learns only, and the waiting for it: what is written, how rarely, and what a restart keeps.

use std::time::Duration;

use lazyload_logic::state::Event;
use lazyload_logic::types::Kind;
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_call, mk_fence, mk_labelled_namespace, mk_namespace, mk_pod, mk_service};
use crate::world::World;

const MODE: &str = "lazyload.slime.io/mode";
const AFTER: &str = "lazyload.slime.io/enforce-after";
const BREAK_GLASS: &str = "lazyload.slime.io/break-glass";
const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

fn objects() -> Vec<Value> {
    vec![
        mk_namespace("mesh-operator", None),
        mk_namespace("default", None),
        mk_service("default", "a", Some("true")),
        mk_service("default", "b", None),
        mk_service("default", "c", None),
        mk_pod("default", "a-1", "a", "10.0.0.1"),
    ]
}

fn entry(after: &str) -> Value {
    let mut entry = World::labels_only();
    entry["general"]["enforceAfter"] = json!(after);
    entry
}

fn status(world: &World) -> &Value {
    &world.cluster.get(Kind::Fence, "default", "a").unwrap()["status"]
}

fn condition<'a>(world: &'a World, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = status(world)["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    let text = |field: &str| found[field].as_str().unwrap();
    (text("status"), text("reason"), text("message"))
}

fn has_sidecar(world: &World) -> bool {
    world.has(Kind::Sidecar, "default", "a")
}

fn routes(world: &World, service: &str) -> bool {
    world.cluster.hosts("default", "a").contains(&format!("*/{}", fqdn(service, "default")))
}

/// Plays on for so long; says how often was written.
fn writes_within(world: &mut World, time: Duration) -> usize {
    let before = world.total_writes();
    world.settle_within(time);
    world.total_writes() - before
}

#[test]
fn a_fence_waits_until_nothing_new_was_learned_for_the_time_and_neither_a_restart_nor_silence_writes_or_begins_again() {
    let mut world = World::start(entry("3d"), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(HOUR);
    assert_eq!(status(&world)["mode"], "waiting");
    let (applied, reason, message) = condition(&world, "SidecarApplied");
    assert_eq!((applied, reason), ("False", "Waiting"));
    // The call was seen two seconds after the start.
    assert!(message.contains("has a Sidecar from 1970-01-15T13:46:42Z on"), "{message}");
    assert_eq!(condition(&world, "Ready").1, "Waiting");
    assert_eq!(status(&world)["coverage"]["since"], "1970-01-12T13:46:41Z");
    assert_eq!(world.state.census().by_mode, [("waiting", 1)].into());
    assert_eq!(writes_within(&mut world, 2 * DAY), 0, "nothing happens, and nothing is written");

    world.call("10.0.0.1", "c:9080");
    assert!((1..=2).contains(&writes_within(&mut world, HOUR)), "it learns, and says until when it waits now");
    world.restart();
    assert_eq!(writes_within(&mut world, 2 * DAY), 0);
    assert!(!has_sidecar(&world), "a day is left since the newest host");
    // The controller is away when the time is over.
    world.now += DAY;
    world.restart();
    world.settle_within(HOUR);
    assert!(routes(&world, "b") && routes(&world, "c"));
    assert_eq!((status(&world).get("mode"), status(&world).get("coverage")), (None, None));
    assert_eq!(condition(&world, "SidecarApplied").1, "Applied");
    assert_eq!(writes_within(&mut world, 5 * DAY), 0);
}

#[test]
fn the_waiting_ends_by_itself_without_any_news() {
    let mut world = World::start(entry("3d"), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(3 * DAY - HOUR);
    assert!(!has_sidecar(&world));
    world.settle_within(2 * HOUR);
    assert!(routes(&world, "b"));
    // From now on a new host is a host like any other.
    world.call("10.0.0.1", "c:9080");
    world.settle_within(HOUR);
    assert!(routes(&world, "c"));
}

#[test]
fn what_has_a_sidecar_keeps_it_when_waiting_is_asked_for_and_gets_it_back_at_once() {
    let mut world = World::start(World::labels_only(), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(HOUR);
    let writes = world.total_writes();
    world.entry = entry("3d");
    world.restart();
    world.settle_within(HOUR);
    assert_eq!(world.total_writes(), writes);
    world.cluster.delete(Kind::Sidecar, "default", "a");
    world.settle_within(HOUR);
    assert!(routes(&world, "b"));
}

#[test]
fn what_was_observed_long_enough_already_does_not_wait_and_what_was_not_waits_for_the_rest() {
    for (observed, waits) in [(4 * DAY, false), (DAY, true)] {
        let mut objects = objects();
        objects[1] = mk_labelled_namespace("default", MODE, Some("observe"));
        let mut world = World::start(entry("3d"), &objects);
        world.call("10.0.0.1", "b:9080");
        world.settle_within(observed);
        world.put(mk_namespace("default", None));
        world.settle_within(HOUR);
        assert_eq!(has_sidecar(&world), !waits, "{observed:?}");
        world.settle_within(2 * DAY);
        assert!(routes(&world, "b"), "{observed:?}");
    }
}

#[test]
fn the_narrowest_label_says_how_long_and_news_of_it_is_heeded_at_once() {
    let mut world = World::start(entry("3d"), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(HOUR);
    assert!(!has_sidecar(&world));
    world.put(mk_labelled_namespace("default", AFTER, Some("never")));
    world.settle_within(HOUR);
    assert!(!has_sidecar(&world));
    let (valid, _, message) = condition(&world, "SpecValid");
    assert!(
        valid == "False" && message.contains("expected a time such as 12h or 3d, or off, got \"never\""),
        "{message}"
    );
    world.put(mk_labelled_namespace("default", AFTER, Some("4h")));
    world.settle_within(HOUR);
    let message = condition(&world, "SidecarApplied").2;
    assert!(
        !has_sidecar(&world) && message.contains("for 4h (label lazyload.slime.io/enforce-after of the Namespace)"),
        "{message}"
    );
    world.put(mk_labelled_namespace("default", AFTER, Some("off")));
    world.settle();
    assert!(has_sidecar(&world));
}

#[test]
fn break_glass_interrupts_no_waiting_and_does_not_end_it_either() {
    let mut world = World::start(entry("3d"), &objects());
    world.call("10.0.0.1", "b:9080");
    world.settle_within(HOUR);
    world.put(mk_labelled_namespace("mesh-operator", BREAK_GLASS, Some("on")));
    world.settle_within(DAY);
    assert_eq!(status(&world)["mode"], "break-glass");
    world.put(mk_namespace("mesh-operator", None));
    world.settle_within(DAY);
    assert_eq!((status(&world)["mode"].as_str(), has_sidecar(&world)), (Some("waiting"), false));
    world.settle_within(DAY);
    assert!(routes(&world, "b"), "the time went on");
}

#[test]
fn a_fence_that_waits_rules_nobody_and_does_so_once_the_time_is_over() {
    let mut objects = objects();
    let mut other = mk_fence("default", "other", json!({"enable": true, "workloadSelector": {"labels": {"app": "a"}}}));
    other["metadata"]["labels"][AFTER] = json!("off");
    objects.push(other);
    let mut world = World::start(entry("3d"), &objects);
    world.call("10.0.0.1", "b:9080");
    world.settle_within(HOUR);
    let has = |world: &World| ["a", "other"].map(|name| world.has(Kind::Sidecar, "default", name));
    assert_eq!(has(&world), [false, true]);
    world.settle_within(4 * DAY);
    let both = has(&world);
    assert_eq!(both.iter().filter(|has| **has).count(), 1, "one rules, whichever it is: {both:?}");
    assert_eq!(condition(&world, "Ready").0, "True");
}

#[test]
fn a_time_from_a_clock_that_was_ahead_is_put_right_and_does_not_hold_a_fence_back() {
    for is_restarted in [true, false] {
        let mut world = World::start(entry("3d"), &objects());
        world.wrong = 30 * 86_400;
        world.call("10.0.0.1", "b:9080");
        world.settle_within(HOUR);
        world.wrong = 0;
        if is_restarted {
            world.restart();
        } else {
            world.on(Event::Heal);
        }
        world.settle_within(HOUR);
        let (_, _, message) = condition(&world, "SidecarApplied");
        assert!(message.contains("from 1970-01-15T14:"), "{message}");
        world.settle_within(3 * DAY);
        assert!(routes(&world, "b"), "{is_restarted}");
    }
}

#[test]
fn hosts_that_the_mesh_does_not_know_hold_nothing_back() {
    let mut world = World::start(entry("3d"), &objects());
    for day in 0..4 {
        world.call("10.0.0.1", &format!("h{day}.example"));
        world.settle_within(DAY);
    }
    assert!(has_sidecar(&world));
}

#[test]
fn a_host_that_is_learned_before_the_first_look_at_its_fence_is_the_newest_one_too() {
    let mut world = World::new(entry("3d"), &objects());
    world.call("10.0.0.1", "b:9080");
    world.list();
    world.settle();
    let coverage = &status(&world)["coverage"];
    assert_eq!((&coverage["newestHost"], &coverage["pods"]), (&json!("1970-01-12T13:46:41Z"), &json!(1)), "{coverage}");
}

/// An observed fence whose pods' own proxies tell what they call.
fn told_by_callers() -> World {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("recommend"));
    let mut entry = World::labels_only();
    entry["general"]["callerLogs"] = json!("on");
    let mut world = World::start(entry, &objects);
    world.settle_within(Duration::from_secs(10));
    assert_eq!(status(&world)["callerLog"], "lazyload-caller-log.a");
    world
}

fn count(world: &mut World, authority: &str, count: u64) {
    world.on(Event::CountedByCallers(mk_call("10.0.0.1", authority, count).into_iter().collect()));
}

#[test]
fn of_the_calls_that_callers_tell_those_count_for_the_fallback_that_the_recommended_sidecar_has_not_at_that_moment() {
    let mut world = told_by_callers();
    world.on(Event::Called(mk_call("10.0.0.1", "b:9080", 2).into_iter().collect()));
    world.settle();
    count(&mut world, "b:9080", 10);
    // It is in every Sidecar.
    count(&mut world, "istiod.istio-system.svc.cluster.local:15010", 3);
    world.call("10.0.0.1", "x.example");
    count(&mut world, "x.example", 5);
    world.settle_within(HOUR);
    let coverage = &status(&world)["coverage"];
    assert_eq!((&coverage["calls"], &coverage["callsToFallback"]), (&json!(18), &json!(7)), "{coverage}");

    world.restart();
    world.settle_within(HOUR);
    count(&mut world, "b:9080", 2);
    world.settle_within(2 * DAY);
    let coverage = &status(&world)["coverage"];
    assert_eq!((&coverage["calls"], &coverage["callsToFallback"]), (&json!(20), &json!(7)), "{coverage}");
}

#[test]
fn a_busy_fence_is_written_the_more_rarely_the_longer_it_is_observed_and_a_quiet_one_not_at_all() {
    let mut world = told_by_callers();
    world.call("10.0.0.1", "b:9080");
    world.settle();
    let mut of_days = Vec::new();
    for _ in 0..4 {
        let before = world.total_writes();
        for _ in 0..24 * 60 {
            count(&mut world, "b:9080", 100);
            world.settle_within(Duration::from_secs(60));
        }
        of_days.push(world.total_writes() - before);
    }
    assert!(of_days[0] <= 20 && of_days[3] <= 2 && of_days[3] > 0, "{of_days:?}");
    world.settle_within(2 * DAY);
    assert_eq!(status(&world)["coverage"]["calls"], json!(4 * 24 * 60 * 100));
    assert_eq!(writes_within(&mut world, 9 * DAY), 0);
}

#[test]
fn pods_and_cron_jobs_that_call_are_told_and_those_of_before_a_restart_too() {
    let mut objects = objects();
    objects[1] = mk_labelled_namespace("default", MODE, Some("observe"));
    objects.push(mk_pod("default", "a-2", "a", "10.0.0.2"));
    let mut world = World::start(World::labels_only(), &objects);
    for address in ["10.0.0.1", "10.0.0.2"] {
        world.call(address, "b:9080");
    }
    world.settle_within(HOUR);
    assert_eq!(status(&world)["coverage"]["pods"], 2);
    world.restart();
    world.settle();
    let mut nightly = mk_pod("default", "nightly-29384400-abcde", "a", "10.0.0.3");
    nightly["metadata"]["labels"]["batch.kubernetes.io/job-name"] = json!("nightly-29384400");
    // After the restart, an hour after the start.
    nightly["metadata"]["creationTimestamp"] = json!("1970-01-13T00:00:00Z");
    world.put(nightly);
    world.settle();
    for address in ["10.0.0.1", "10.0.0.3", "10.0.0.1"] {
        world.call(address, "b:9080");
    }
    let writes = writes_within(&mut world, HOUR);
    let coverage = &status(&world)["coverage"];
    assert_eq!((&coverage["pods"], &coverage["cronJobs"]), (&json!(3), &json!(["nightly"])), "{coverage}");
    assert_eq!(writes, 1);
}
