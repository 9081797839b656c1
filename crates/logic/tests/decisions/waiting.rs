//! Calls that are faster than the news of who made them, and addresses that change hands.

use std::time::Duration;

use lazyload_logic::observation::{Call, Identity};
use lazyload_logic::state::Event;
use lazyload_logic::types::Kind;
use serde_json::json;

use crate::objects::{mk_call, mk_fence, mk_namespace, mk_pod, mk_service};
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

/// A call over mTLS, by an account of `default`.
fn call_as(world: &mut World, account: &str, address: &str, authority: &str) {
    let peer = Identity { namespace: "default", account }.to_owned();
    world.on(Event::Called(vec![Call { peer: Some(peer), ..mk_call(address, authority, 1).unwrap() }]));
    world.settle();
}

/// A pod of app `a` with this account.
fn mk_pod_of(name: &str, account: Option<&str>, address: &str) -> serde_json::Value {
    let mut pod = mk_pod("default", name, "a", address);
    if let Some(account) = account {
        pod["spec"]["serviceAccountName"] = json!(account);
    }
    pod
}

#[test]
fn a_call_whose_certificate_is_not_the_pods_is_skipped_and_counted_after_its_wait() {
    let mut world = world();
    world.put(mk_pod_of("a-1", Some("web"), "10.0.0.1"));
    world.settle();
    call_as(&mut world, "thief", "10.0.0.1", "b:80");
    world.settle_within(Duration::from_secs(60));
    assert!(!learned_b(&world));
    assert_eq!(world.state.learned().skipped["identity_mismatch"], 1, "no other call was needed for that");
    assert_eq!((world.state.learned().verified, world.state.learned().unverified), (0, 0));

    call_as(&mut world, "web", "10.0.0.1", "b:80");
    assert!(learned_b(&world));
    assert_eq!((world.state.learned().verified, world.state.learned().unverified), (1, 0));
    world.call("10.0.0.1", "b:80");
    assert_eq!((world.state.learned().verified, world.state.learned().unverified), (1, 1), "plaintext is believed");
}

#[test]
fn a_call_without_a_certificate_that_is_told_of_one_namespace_is_of_its_pods_alone() {
    let mut world = world();
    world.put(mk_pod_of("a-1", Some("web"), "10.0.0.1"));
    world.settle();
    let told_of = |world: &mut World, namespace: &str| {
        let peer = Some(Identity::of_namespace(namespace).to_owned());
        world.on(Event::Called(vec![Call { peer, ..mk_call("10.0.0.1", "b:80", 1).unwrap() }]));
        world.settle_within(Duration::from_secs(60));
    };
    told_of(&mut world, "other");
    assert!(!learned_b(&world));
    assert_eq!(world.state.learned().skipped["identity_mismatch"], 1);
    told_of(&mut world, "default");
    assert!(learned_b(&world));
    assert_eq!((world.state.learned().verified, world.state.learned().unverified), (0, 1), "by its address");
}

#[test]
fn a_pod_without_an_account_has_the_account_default() {
    for account in [None, Some("")] {
        let mut world = world();
        world.put(mk_pod_of("a-1", account, "10.0.0.1"));
        world.settle();
        call_as(&mut world, "default", "10.0.0.1", "b:80");
        assert!(learned_b(&world), "{account:?}");
    }
}

#[test]
fn a_call_of_a_new_pod_on_an_old_address_waits_for_the_news_of_it() {
    let mut world = world();
    world.put(mk_pod("default", "old", "other", "10.0.0.1"));
    world.settle();
    call_as(&mut world, "web", "10.0.0.1", "b:80");
    assert!(!learned_b(&world));
    world.put(mk_pod_of("a-1", Some("web"), "10.0.0.1"));
    world.settle();
    assert!(learned_b(&world));
    assert!(world.state.learned().skipped.is_empty());
}

#[test]
fn the_last_calls_of_a_pod_are_learned_after_it_is_gone_but_not_for_long() {
    for ends in [true, false] {
        let leave = |world: &mut World| {
            if ends {
                let mut pod = mk_pod("default", "a-1", "a", "10.0.0.1");
                pod["status"]["phase"] = json!("Succeeded");
                world.put(pod);
            } else {
                world.cluster.delete(Kind::Pod, "default", "a-1");
            }
        };
        let mut world = world();
        world.put(mk_pod("default", "a-1", "a", "10.0.0.1"));
        world.settle();
        leave(&mut world);
        world.settle_within(Duration::from_secs(50));
        world.call("10.0.0.1", "b:80");
        world.settle();
        assert!(learned_b(&world), "a Job's last call, for example");

        world.now += Duration::from_secs(120);
        world.call("10.0.0.1", "c:80");
        world.settle_within(Duration::from_secs(60));
        assert_eq!(world.cluster.hosts("default", "a").len(), 3);
        assert_eq!(world.state.learned().skipped["unknown_caller"], 1);
    }
}

#[test]
fn a_pod_that_is_not_ready_yet_is_a_caller() {
    let mut world = world();
    let mut pod = mk_pod("default", "a-1", "a", "10.0.0.1");
    pod["status"]["phase"] = json!("Pending");
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    world.put(pod);
    world.settle();
    world.call("10.0.0.1", "b:80");
    world.settle();
    assert!(learned_b(&world), "an init container's call, for example");
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
