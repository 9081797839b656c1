//! Several SlimeBoots side by side.

use super::*;

#[test]
fn of_two_that_would_fight_the_second_waits_and_begins_when_the_first_is_gone() {
    let mut world = World::new();
    world.boot("first", &cluster(&[9080]));
    world.converge();
    let mut second = namespaces(&["shop"]);
    second["module"][0]["name"] = json!("second");
    second["module"][0]["kind"] = json!("lazyload");
    world.boot("second", &second);
    world.converge();
    let degraded = world.condition("second", "Degraded");
    assert_eq!(degraded["reason"], "Conflict");
    let message = degraded["message"].as_str().unwrap();
    assert!(
        message.contains("EnvoyFilter istio-system/to-global-sidecar") && message.contains("mesh-operator/first"),
        "{message}"
    );
    assert!(!world.names().contains("Deployment shop/global-sidecar"));
    world.remove("first");
    world.converge();
    assert_eq!(world.condition("second", "Ready")["status"], "True");
    assert!(world.names().contains("EnvoyFilter shop/to-global-sidecar"));
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
}

#[test]
fn two_that_share_nothing_live_side_by_side() {
    let mut world = World::new();
    world.boot("first", &namespaces(&["shop"]));
    let mut second = namespaces(&["bank"]);
    second["module"][0]["name"] = json!("second");
    second["module"][0]["kind"] = json!("lazyload");
    world.boot("second", &second);
    world.converge();
    for boot in ["first", "second"] {
        assert_eq!(world.condition(boot, "Ready")["status"], "True", "{boot}");
    }
    world.remove("first");
    world.converge();
    assert!(world.store.values().all(|object| object["metadata"]["labels"][names::SLIME_BOOT_LABEL] == "second"));
    assert_eq!(world.condition("second", "Ready")["status"], "True");
}
