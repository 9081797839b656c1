//! Ports that are written and ports that are found.

use super::world::targets;
use super::*;

#[test]
fn a_new_port_is_served_before_it_is_used_and_an_old_one_until_nobody_uses_it() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080, 7000]));
    world.converge();
    world.boot("lazyload", &cluster(&[9080, 8000]));
    world.run();
    let redirection = Key::new("EnvoyFilter", "istio-system", "to-global-sidecar").unwrap();
    let ports =
        |world: &World| targets(&world.store[&redirection]).into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    assert_eq!(ports(&world), [80, 7000, 9080]);
    world.roll_out();
    world.run();
    assert_eq!(ports(&world), [80, 8000, 9080]);
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    assert!(world.store[&service].to_string().contains("7000"));
    world.now += Duration::from_secs(6);
    world.run();
    assert!(!world.store[&service].to_string().contains("7000"));
}

#[test]
fn a_found_port_is_served_before_it_is_used_and_one_that_goes_until_nobody_uses_it() {
    let mut world = World::new();
    world.boot("lazyload", &finding(true));
    world.declares("shop/web", &[7000]);
    world.converge();
    let redirection = Key::new("EnvoyFilter", "istio-system", "to-global-sidecar").unwrap();
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    let ports =
        |world: &World| targets(&world.store[&redirection]).into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    assert_eq!(ports(&world), [80, 9080], "not all is heard of yet");
    let waiting = world.condition("lazyload", "Ready")["message"].clone();
    assert!(waiting.as_str().unwrap().starts_with("the list of all Service objects and"), "{waiting}");

    world.all_is_declared();
    world.acts.clear();
    world.converge();
    assert_eq!(ports(&world), [80, 7000, 9080]);
    assert!(!world.acts.iter().any(|act| act.contains("Deployment")), "no new pod for a port: {:?}", world.acts);
    assert_eq!(world.boots["lazyload"]["status"]["autoPort"], json!({"ports": ["7000: shop/web"], "leftOut": []}));
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");

    world.restart();
    world.converge();
    assert_eq!(ports(&world), [80, 7000, 9080], "nothing goes before all is heard of");
    world.all_is_declared();
    world.declares("shop/web", &[7001]);
    world.run();
    assert_eq!(ports(&world), [80, 7001, 9080]);
    assert!(world.store[&service].to_string().contains("7000"), "proxies may still use it");
    world.now += Duration::from_secs(6);
    world.run();
    assert!(!world.store[&service].to_string().contains("7000"));

    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert_eq!(ports(&world), [80, 9080]);
    assert_eq!(world.boots["lazyload"]["status"].get("autoPort"), None);
}

#[test]
fn found_ports_only_grow_also_over_a_restart_before_everything_is_heard_of() {
    let mut world = World::new();
    world.boot("lazyload", &finding(false));
    world.all_is_declared();
    world.declares("shop/web", &[7000]);
    world.converge();
    world.restart();
    world.converge();
    world.all_is_declared();
    world.converge();
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    assert!(world.store[&service].to_string().contains("7000"));
    let told = world.boots["lazyload"]["status"]["autoPort"]["ports"].clone();
    assert_eq!(told, json!(["7000: declared no more"]));
}
