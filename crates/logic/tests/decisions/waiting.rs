//! Calls that are faster than the news of who made them, and addresses that change hands.

use std::time::Duration;

use lazyload_logic::types::Kind;
use serde_json::json;

use crate::objects::{mk_fence, mk_namespace, mk_pod, mk_service};
use crate::world::World;

const B: &str = "*/b.default.svc.cluster.local";

fn world() -> World {
    let fence = mk_fence("default", "a", json!({"enable": true}));
    World::start(json!({}), &[mk_namespace("default", None), mk_service("default", "b", None), fence])
}

fn learned_b(world: &World) -> bool {
    world.cluster.hosts("default", "a").contains(&B.to_owned())
}

#[test]
fn a_call_faster_than_the_news_of_its_pod_is_learned_when_the_pod_is_known() {
    let mut world = world();
    world.call("10.0.0.1", "b:80");
    world.settle();
    assert!(!learned_b(&world));
    world.put(mk_pod("default", "a-1", "a", "10.0.0.1"));
    world.settle();
    assert!(learned_b(&world));
}

#[test]
fn a_call_of_long_ago_is_not_put_down_to_a_new_owner_of_its_address() {
    let mut world = world();
    world.call("10.0.0.1", "b:80");
    world.settle_within(Duration::from_secs(31));
    world.put(mk_pod("default", "a-1", "a", "10.0.0.1"));
    world.settle();
    assert!(!learned_b(&world));
}

#[test]
fn a_call_faster_than_the_news_of_its_service_or_fence_is_learned_too() {
    let mut world =
        World::start(json!({}), &[mk_namespace("default", None), mk_pod("default", "a-1", "a", "10.0.0.1")]);
    world.call("10.0.0.1", "b:80");
    world.settle();
    world.put(mk_service("default", "a", None));
    world.settle();
    world.put(mk_fence("default", "a", json!({"enable": true})));
    world.settle();
    assert!(learned_b(&world));

    let mut world =
        World::start(json!({}), &[mk_namespace("default", None), mk_pod("default", "x-1", "x", "10.0.0.1")]);
    world.call("10.0.0.1", "b:80");
    world.settle();
    world.put(mk_fence("default", "a", json!({"enable": true, "workloadSelector": {"labels": {"app": "x"}}})));
    world.settle();
    assert!(learned_b(&world));
}

#[test]
fn calls_seen_while_lists_are_still_coming_lose_nothing() {
    let objects = [
        mk_namespace("default", None),
        mk_service("default", "a", None),
        mk_service("default", "b", None),
        mk_pod("default", "a-1", "a", "10.0.0.1"),
        mk_fence("default", "a", json!({"enable": true, "workloadSelector": {"fromService": true}})),
    ];
    let mut world = World::new(json!({}), &objects);
    world.on(lazyload_logic::state::Event::Applied(Box::new(crate::simulated_cluster::read(&objects[3]))));
    world.call("10.0.0.1", "b.default:80");
    world.now += Duration::from_secs(120);
    world.list();
    world.settle();
    assert!(learned_b(&world), "a large cluster takes its time to be listed");
}

#[test]
fn an_address_belongs_to_the_newest_pod_that_has_it_whatever_the_order_of_news() {
    let pod = |name: &str, app: &str, created: &str| {
        let mut pod = mk_pod("default", name, app, "10.0.0.1");
        pod["metadata"]["creationTimestamp"] = json!(created);
        pod
    };
    let old = pod("old", "other", "2026-11-23T00:00:00Z");
    let new = pod("new", "a", "2026-11-23T00:10:00Z");
    for order in [[&old, &new], [&new, &old]] {
        let mut world = world();
        for pod in order {
            world.put(pod.clone());
        }
        // The old pod reports once more that it is on its way out.
        let mut leaving = old.clone();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:11:00Z");
        world.put(leaving);
        world.settle();
        world.call("10.0.0.1", "b:80");
        world.settle();
        assert!(learned_b(&world));
        world.cluster.delete(Kind::Pod, "default", "old");
        world.settle();
        world.call("10.0.0.1", "c:80");
        world.settle();
        assert_eq!(world.cluster.hosts("default", "a").len(), 4, "the new pod keeps the address");
    }
}

#[test]
fn calls_that_nobody_claims_are_bounded_and_counted() {
    let mut world = world();
    for number in 0..6_000_u32 {
        world.call(&std::net::Ipv4Addr::from(0x0a01_0000 + number).to_string(), "b:80");
    }
    for number in 0..100 {
        world.call("10.1.0.0", &format!("h{number}:80"));
    }
    assert!(world.state.learned().skipped["unknown_caller"] >= 6_000 - 4_096);
    world.put(mk_pod("default", "a-1", "a", "10.1.0.0"));
    world.settle();
    assert!(learned_b(&world));
}
