//! Hosts that the mesh comes to know, or knows no longer, while they are depended on.

use std::time::Duration;

use lazyload_logic::types::Kind;
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_fence, mk_namespace, mk_pod, mk_service, mk_service_entry};
use crate::world::World;

fn world() -> World {
    let objects = [
        mk_namespace("default", None),
        mk_service("default", "a", None),
        mk_pod("default", "a-v1", "a", "10.0.0.1"),
        mk_fence("default", "a", json!({"enable": true})),
    ];
    World::start(json!({}), &objects)
}

fn hosts(world: &World) -> Vec<String> {
    let mut hosts = world.cluster.hosts("default", "a");
    hosts.retain(|host| !host.ends_with("/*"));
    hosts
}

fn domains(world: &World) -> Value {
    world.cluster.get(Kind::Fence, "default", "a").unwrap()["status"]["domains"].clone()
}

#[test]
fn an_external_host_becomes_a_dependency_with_its_service_entry_and_leaves_after_the_grace_when_that_goes() {
    let mut world = world();
    world.call("10.0.0.1", "www.163.com");
    world.settle();
    let external = json!({"www.163.com": {"external": true}});
    assert_eq!((hosts(&world), domains(&world)), (vec![], external.clone()));

    world.put(mk_service_entry("egress", "search", &["www.163.com"]));
    world.settle();
    assert_eq!(hosts(&world), ["*/www.163.com"]);
    assert_eq!(domains(&world), json!({"www.163.com": {"hosts": ["www.163.com"]}}));

    world.cluster.delete(Kind::ServiceEntry, "egress", "search");
    world.settle_within(Duration::from_secs(20));
    assert_eq!(hosts(&world), ["*/www.163.com"]);
    let leaving = json!({"www.163.com": {"hosts": ["www.163.com"], "status": "EXPIREWAIT"}});
    assert_eq!(domains(&world), leaving);
    // It flaps: nothing is lost, and the grace begins anew.
    world.put(mk_service_entry("egress", "search", &["*.163.com"]));
    world.settle();
    assert_eq!(domains(&world), json!({"www.163.com": {"hosts": ["*.163.com"]}}));
    assert_eq!(hosts(&world), ["*/*.163.com"]);
    world.cluster.delete(Kind::ServiceEntry, "egress", "search");
    world.settle_within(Duration::from_secs(25));
    assert_eq!(hosts(&world), ["*/*.163.com"]);
    world.settle_within(Duration::from_secs(10));
    assert_eq!((hosts(&world), domains(&world)), (vec![], external));
    let writes = world.total_writes();
    world.settle_within(Duration::from_secs(120));
    world.restart();
    world.settle_within(Duration::from_secs(120));
    assert_eq!(world.total_writes(), writes, "at rest");
}

#[test]
fn a_short_name_called_before_its_service_exists_converges_when_it_does() {
    let mut world = world();
    world.call("10.0.0.1", "details.default:9080");
    world.settle();
    assert_eq!(domains(&world), json!({"details.default": {"external": true}}));
    world.put(mk_service("default", "details", None));
    world.settle();
    let details = fqdn("details", "default");
    assert_eq!(hosts(&world), [format!("*/{details}")]);
    assert_eq!(domains(&world), json!({details.clone(): {"hosts": [details]}}));
}
