//! What goes: a SlimeBoot, a namespace, and before them what depends on their fallback.

use super::world::Sidecar;
use super::*;
use crate::operator::SETTLE;

#[test]
fn a_deleted_slime_boot_takes_the_redirection_first_and_everything_else_after_a_while() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.remove("lazyload");
    world.run();
    world.roll_out();
    world.acts.clear();
    world.run();
    assert_eq!(world.acts[..2], ["widen the Sidecars of fences ", "remove the Sidecars of fences "]);
    assert_eq!(world.acts[2], "delete EnvoyFilter istio-system/to-global-sidecar");
    assert!(world.acts[3..].iter().all(|act| !act.starts_with("delete")), "{:?}", world.acts);
    world.now += Duration::from_secs(6);
    world.run();
    assert_eq!(world.names(), BTreeSet::new());
    assert!(world.boots.is_empty());
    let deployment = world.acts.iter().position(|act| act == "delete Deployment mesh-operator/global-sidecar").unwrap();
    let account =
        world.acts.iter().position(|act| act == "delete ServiceAccount mesh-operator/global-sidecar").unwrap();
    assert!(deployment < account);
}

#[test]
fn before_the_fallback_goes_the_controller_ends_and_the_sidecars_of_its_fences_go_in_stages() {
    let disabled = {
        let mut spec = cluster(&[9080]);
        spec["module"][0]["enable"] = json!(false);
        spec
    };
    let ends: [&dyn Fn(&mut World); 2] =
        [&|world| world.remove("lazyload"), &|world| world.boot("lazyload", &disabled)];
    for end in ends {
        let mut world = World::new();
        world.boot("lazyload", &cluster(&[9080]));
        world.converge();
        world.controllers_write();
        end(&mut world);
        world.acts.clear();
        world.run();
        assert_eq!(world.acts, ["delete Deployment mesh-operator/lazyload", "write the status "]);
        let waiting = world.condition("lazyload", "Ready");
        assert_eq!(
            (&waiting["reason"], &waiting["message"]),
            (&json!("Removing"), &json!("Deployment mesh-operator/lazyload is being deleted"))
        );
        // Its pods have ended. A round that finds nothing to do ends the widening.
        world.controllers_write();
        world.roll_out();
        world.acts.clear();
        world.run();
        let widen = "widen the Sidecars of fences ";
        assert_eq!(world.acts, [widen, widen, "write the status "]);
        assert!(world.sidecars[""].wide);
        // An operator that begins anew does not know since when they are wide.
        world.restart();
        world.run();
        assert_eq!(world.sidecars.len(), 1);
        world.now += Duration::from_secs(6);
        world.acts.clear();
        world.run();
        assert_eq!(world.acts, ["remove the Sidecars of fences "]);
        assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
        world.now += Duration::from_secs(6);
        world.run();
        assert_eq!(world.acts[1], "delete EnvoyFilter istio-system/to-global-sidecar");
        world.converge();
        assert_eq!(world.names(), BTreeSet::new());
        assert!(world.sidecars.is_empty());
    }
}

#[test]
fn a_namespace_that_leaves_keeps_its_fallback_until_its_fences_hide_nothing_any_more() {
    let widen = "widen the Sidecars of fences ";
    let mut world = World::new();
    // Twice, because what was done when it left before says nothing now.
    for _ in 0..2 {
        world.boot("lazyload", &namespaces(&["shop", "bank"]));
        world.converge();
        for namespace in ["shop", "bank"] {
            let hides = Sidecar { namespace: namespace.to_owned(), ..Sidecar::default() };
            world.sidecars.insert(namespace.to_owned(), hides);
        }
        world.boot("lazyload", &namespaces(&["shop"]));
        world.acts.clear();
        world.run();
        let sidecars = world.acts.iter().filter(|act| act.contains("Sidecars")).collect::<Vec<_>>();
        assert_eq!(sidecars, [widen, widen]);
        assert_eq!(
            world.condition("lazyload", "Ready")["message"],
            "the proxies follow before the fallback is removed"
        );
        world.now += SETTLE;
        world.acts.clear();
        world.run();
        assert_eq!(world.acts, ["remove the Sidecars of fences "]);
        assert!(world.names().contains("EnvoyFilter bank/to-global-sidecar"));
        world.now += SETTLE;
        world.run();
        assert_eq!(world.acts[1], "delete EnvoyFilter bank/to-global-sidecar");
        world.converge();
        assert!(!world.names().iter().any(|name| name.contains(" bank/")), "{:?}", world.names());
        assert_eq!(world.sidecars.keys().collect::<Vec<_>>(), ["shop"]);
        assert!(!world.sidecars["shop"].wide);
    }
    // One that is leaving when everything goes is not forgotten.
    world.boot("lazyload", &namespaces(&["shop", "bank"]));
    world.converge();
    world.sidecars.insert("bank".to_owned(), Sidecar { namespace: "bank".to_owned(), ..Sidecar::default() });
    world.boot("lazyload", &namespaces(&["shop"]));
    world.run();
    world.remove("lazyload");
    world.converge();
    assert!(world.sidecars.is_empty() && world.store.is_empty());
}

#[test]
fn sidecars_that_another_slime_boots_controller_looks_after_are_left_to_it() {
    let of = |revision: &str, namespace: &str| {
        let mut spec = namespaces(&[namespace]);
        spec["module"][0]["name"] = json!(format!("lazyload-{revision}"));
        spec["module"][0]["kind"] = json!("lazyload");
        spec["module"][0]["global"] = json!({"istioRev": revision, "strictRev": true});
        spec
    };
    let mut world = World::new();
    world.boot("first", &of("a", "shop"));
    world.boot("second", &of("b", "bank"));
    world.converge();
    world.controllers_write();
    // What it looked after counts, and not what is said last.
    world.boot("first", &of("b", "shop"));
    world.remove("first");
    world.converge();
    assert_eq!(world.sidecars.keys().collect::<Vec<_>>(), ["b"]);
    assert!(!world.sidecars["b"].wide);
    assert_eq!(world.condition("second", "Ready")["status"], "True");
    world.remove("second");
    world.converge();
    assert!(world.sidecars.is_empty() && world.store.is_empty());
}

#[test]
fn sidecars_that_cannot_be_changed_keep_the_fallback_and_the_condition_says_so() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.controllers_write();
    world.remove("lazyload");
    world.run();
    world.roll_out();
    let refused = Outcome::Failed("sidecars.networking.istio.io is forbidden (403)".to_owned());
    let action = world.operator.next(world.now()).unwrap();
    assert_eq!(action.act.name(), "widen the Sidecars of fences");
    world.hear(Event::Finished(Box::new(action), refused));
    world.run();
    let degraded = world.condition("lazyload", "Degraded");
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("True"), &json!("Failed")));
    assert_eq!(degraded["message"], "Sidecars of fences: sidecars.networking.istio.io is forbidden (403)");
    assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    world.now += Duration::from_secs(1);
    world.converge();
    assert!(world.boots.is_empty() && world.sidecars.is_empty());
}
