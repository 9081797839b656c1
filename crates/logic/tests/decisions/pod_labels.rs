//! Fences of a pod label while pods come and go (contract 2.4, B41).

use std::time::Duration;

use lazyload_logic::types::Kind;
use serde_json::{Value, json};

use crate::objects::{FENCED, mk_namespace, mk_pod};
use crate::world::World;

const FENCE: &str = "app-web.workload.identity";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn entry() -> Value {
    json!({"general": {"autoFence": true, "fenceLabelKeyAlias": "app"}})
}

/// One fence that has learned one host.
fn learned() -> World {
    let mut world =
        World::start(entry(), &[mk_namespace("default", None), mk_pod("default", "web-1", "web", "10.0.0.1")]);
    world.call("10.0.0.1", "api.other.svc.cluster.local");
    world.settle();
    assert_eq!(first_host(&world), "*/api.other.svc.cluster.local");
    world
}

fn first_host(world: &World) -> Value {
    let sidecar = world.cluster.get(Kind::Sidecar, "default", FENCE);
    sidecar.map_or(Value::Null, |sidecar| sidecar["spec"]["egress"][0]["hosts"][0].clone())
}

fn scale_to_zero(world: &mut World) {
    world.cluster.delete(Kind::Pod, "default", "web-1");
    world.settle();
}

#[test]
fn what_was_learned_is_kept_across_scale_to_zero_and_a_restart() {
    let mut world = learned();
    scale_to_zero(&mut world);
    world.settle_within(6 * DAY);
    world.restart();
    world.settle_within(6 * DAY);
    assert_eq!(first_host(&world), "*/api.other.svc.cluster.local");
    world.put(mk_pod("default", "web-2", "web", "10.0.0.9"));
    world.settle_within(30 * DAY);
    assert_eq!(first_host(&world), "*/api.other.svc.cluster.local");
    assert_eq!(world.count("delete_fence"), 0);
}

#[test]
fn a_week_after_the_last_pod_the_fence_goes() {
    let mut world = learned();
    scale_to_zero(&mut world);
    world.settle_within(8 * DAY);
    assert!(!world.has(Kind::Fence, "default", FENCE));
    assert!(!world.has(Kind::Sidecar, "default", FENCE));
}

#[test]
fn a_fence_that_is_deleted_by_hand_comes_back_with_what_it_has_learned() {
    let mut world = learned();
    world.cluster.delete(Kind::Fence, "default", FENCE);
    world.settle();
    assert_eq!(first_host(&world), "*/api.other.svc.cluster.local");
}

#[test]
fn a_live_pods_new_address_and_label_are_followed() {
    let mut world = learned();
    world.put(mk_pod("default", "web-1", "web", "10.0.0.2"));
    world.call("10.0.0.2", "aaa.other.svc.cluster.local");
    world.settle();
    assert_eq!(first_host(&world), "*/aaa.other.svc.cluster.local");
    world.put(mk_pod("default", "web-1", "other", "10.0.0.2"));
    world.settle();
    assert!(world.has(Kind::Fence, "default", "app-other.workload.identity"));
    assert!(world.has(Kind::Fence, "default", FENCE));
}

#[test]
fn a_namespace_whose_label_says_no_has_none() {
    let mut world = learned();
    world.put(mk_namespace("default", Some("false")));
    world.settle();
    assert!(!world.has(Kind::Fence, "default", FENCE));
    for unclear in [None, Some("true"), Some("maybe")] {
        world.put(mk_namespace("default", unclear));
        world.settle();
        assert!(world.has(Kind::Fence, "default", FENCE), "{FENCED}={unclear:?}");
    }
    assert_eq!(first_host(&world), "*/api.other.svc.cluster.local", "what was learned is still known");
}
