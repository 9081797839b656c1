//! The seed's automatic mode step by step (contract 7.2, A1 to A8), and what automatic fences must not do.

use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Value, json};

use crate::objects::{FENCED, mk_fence, mk_namespace, mk_pod, mk_service};
use crate::world::World;

fn entry(auto: bool, default: bool) -> Value {
    json!({"general": {"autoFence": auto, "defaultFence": default}})
}

fn testns(auto: bool, default: bool) -> World {
    let mut objects = vec![mk_namespace("testns", None)];
    objects.extend(["svc1", "svc2", "svc3"].map(|name| mk_service("testns", name, None)));
    World::start(entry(auto, default), &objects)
}

/// Names of the fences; each must have its Sidecar, and no Sidecar may be without a fence.
fn fenced(world: &World) -> Vec<String> {
    let names = |kind| -> Vec<String> {
        world.cluster.all(kind).iter().map(|value| value["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(Kind::Fence), names(Kind::Sidecar));
    names(Kind::Fence)
}

fn label(world: &mut World, service: Option<&str>, namespace: Option<&str>) {
    world.put(mk_service("testns", "svc1", service));
    world.put(mk_namespace("testns", namespace));
    world.settle();
}

#[test]
fn a1_to_a4_labels_of_service_and_namespace_decide() {
    let mut world = testns(true, true);
    assert_eq!(fenced(&world), ["svc1", "svc2", "svc3"]);
    label(&mut world, None, Some("false"));
    assert!(fenced(&world).is_empty());
    label(&mut world, Some("true"), Some("false"));
    assert_eq!(fenced(&world), ["svc1"]);
    label(&mut world, None, None);
    assert_eq!(fenced(&world), ["svc1", "svc2", "svc3"]);
}

#[test]
fn a5_a_manual_fence_is_never_touched_by_labels() {
    let mut world = testns(true, true);
    world.put(mk_service("testns", "mine", None));
    world.put(mk_fence("testns", "mine", json!({"enable": true, "host": {"x.example.com": {}}})));
    world.settle();
    let before = world.cluster.get(Kind::Fence, "testns", "mine").unwrap().clone();
    for (service, namespace) in [(None, Some("false")), (Some("true"), Some("false")), (None, None)] {
        label(&mut world, service, namespace);
        assert_eq!(world.cluster.get(Kind::Fence, "testns", "mine"), Some(&before));
    }
    assert!(before["metadata"]["labels"].is_null());
}

#[test]
fn a6_other_values_leave_the_decision_to_the_next_level() {
    for value in ["", "maybe", "True"] {
        for default in [true, false] {
            let mut world = testns(true, default);
            label(&mut world, Some(value), Some("true"));
            assert!(fenced(&world).contains(&"svc1".to_owned()), "{value}");
            label(&mut world, Some(value), Some("false"));
            assert!(fenced(&world).is_empty(), "{value}");
            label(&mut world, None, Some(value));
            assert_eq!(fenced(&world).len(), if default { 3 } else { 0 }, "{value}");
        }
    }
}

#[test]
fn a7_service_beats_namespace_beats_default() {
    let mut world = testns(true, false);
    label(&mut world, Some("false"), Some("true"));
    assert_eq!(fenced(&world), ["svc2", "svc3"]);
    label(&mut world, Some("true"), Some("false"));
    assert_eq!(fenced(&world), ["svc1"]);
}

#[test]
fn a8_in_manual_mode_labels_have_no_effect() {
    let mut world = testns(false, true);
    label(&mut world, Some("true"), Some("true"));
    assert_eq!(world.total_writes(), 0);
}

#[test]
fn an_automatic_fence_deleted_by_hand_comes_straight_back_with_all_it_had_learned() {
    let mut world = testns(true, true);
    world.put(mk_pod("testns", "p", "svc1", "10.0.0.1"));
    world.settle();
    world.call("10.0.0.1", "svc2:80");
    world.settle();
    world.cluster.delete(Kind::Fence, "testns", "svc1");
    world.settle();
    assert_eq!(world.cluster.hosts("testns", "svc1")[0], "*/svc2.testns.svc.cluster.local");
}

#[test]
fn the_fence_of_a_deleted_service_goes_and_its_name_starts_afresh() {
    let mut world = testns(true, true);
    world.put(mk_pod("testns", "p", "svc1", "10.0.0.1"));
    world.settle();
    world.call("10.0.0.1", "svc2:80");
    world.settle();
    world.cluster.delete(Kind::Service, "testns", "svc1");
    world.settle();
    assert_eq!(fenced(&world), ["svc2", "svc3"]);
    world.put(mk_service("testns", "svc1", None));
    world.settle();
    assert_eq!(world.cluster.hosts("testns", "svc1"), ["istio-system/*", "mesh-operator/*"]);
}

#[test]
fn an_automatic_fence_whose_namespace_is_not_known_yet_is_neither_deleted_nor_made() {
    let mut world =
        World::new(entry(true, true), &[mk_service("late", "svc1", None), mk_service("late", "svc2", None)]);
    let mut fence = mk_fence("late", "svc1", json!({"enable": true}));
    fence["metadata"]["labels"] = json!({"app.kubernetes.io/created-by": "fence-controller"});
    world.put(fence);
    world.list();
    world.settle();
    assert_eq!((world.count("delete_fence"), world.count("create_fence")), (0, 0));
    world.put(mk_namespace("late", None));
    world.settle();
    assert_eq!((world.count("delete_fence"), world.count("create_fence")), (0, 1));
}

#[test]
fn a_fence_that_was_refused_is_made_once_its_service_is_labelled_anew() {
    let mut world =
        World::new(World::labels_only(), &[mk_namespace("testns", None), mk_service("testns", "svc1", Some("true"))]);
    world.list();
    let refused = world.plan();
    assert_eq!(refused.len(), 1);
    world.finish(&refused[0], lazyload_logic::state::Outcome::Rejected("no".to_owned()));
    assert!(world.plan().is_empty());
    world.put(mk_service("testns", "svc1", Some("false")));
    world.settle();
    assert!(fenced(&world).is_empty());
    world.put(mk_service("testns", "svc1", Some("true")));
    world.settle();
    assert_eq!(fenced(&world), ["svc1"]);
}

#[test]
fn the_global_sidecars_own_service_and_services_without_selector_are_never_fenced() {
    let mut bare = mk_service("testns", "bare", Some("true"));
    bare["spec"].as_object_mut().unwrap().remove("selector");
    let own = mk_service("mesh-operator", "global-sidecar", Some("false"));
    let other = mk_service("mesh-operator", "lazyload", None);
    let objects = [mk_namespace("testns", None), mk_namespace("mesh-operator", Some("true")), bare, own, other];
    let mut world = World::start(entry(true, true), &objects);
    world.on(Event::Heal);
    world.settle();
    assert_eq!(world.total_writes(), 0, "{FENCED}");
    assert!(world.state.index().find_service(&ObjectRef::new("testns", "bare")).is_some());
}
