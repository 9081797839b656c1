//! Only the fences that news can matter to are looked at; none of them is missed.

use std::time::Duration;

use lazyload_logic::state::Event;
use lazyload_logic::types::Kind;
use proptest::prelude::{ProptestConfig, any, proptest};
use serde_json::{Value, json};

use crate::objects::{mk_fence, mk_namespace, mk_pod, mk_service, mk_service_entry};
use crate::schedule::Dice;
use crate::world::World;

const NAMESPACES: [&str; 2] = ["default", "test"];
const HOSTS: [&str; 9] = [
    "s0",
    "s1",
    "s2.test.svc.cluster.local",
    "*.test.svc.cluster.local",
    "*.example.com",
    "www.example.com",
    "s1.default.alias",
    "*.alias",
    "*",
];

fn mk_entry() -> Value {
    let alias =
        json!({"pattern": r"^(?P<n>[^.]+)\.(?P<ns>[^.]+)\.svc\.cluster\.local$", "templates": ["$n.$ns.alias"]});
    json!({"general": {"domainAliases": [alias]}})
}

fn mk_spec(dice: &mut Dice) -> Value {
    [
        json!({"enable": true}),
        json!({"enable": true, "host": {"s1": {}, "s2.test": {}, "www.example.com": {}}}),
        json!({"enable": true, "host": {"test/*": {}}}),
        json!({"enable": true, "namespaceSelector": ["default"]}),
        json!({"enable": true, "labelSelector": [{"selector": {"team": "x", "tier": "y"}}, {"selector": {"tier": "z"}}]}),
        json!({"enable": true, "workloadSelector": {"fromService": true}, "host": {"*.example.com": {}}}),
    ][dice.below(6)]
    .clone()
}

fn mk_objects(dice: &mut Dice) -> Vec<Value> {
    let mut objects = Vec::new();
    for (at, namespace) in NAMESPACES.into_iter().enumerate() {
        objects.push(mk_namespace(namespace, None));
        for number in 0..3 {
            let name = format!("s{number}");
            objects.push(mk_service(namespace, &name, None));
            objects.push(mk_pod(namespace, &name, &name, &format!("10.0.{at}.{number}")));
            objects.push(mk_fence(namespace, &name, mk_spec(dice)));
        }
    }
    objects
}

fn mk_virtual_service(dice: &mut Dice, namespace: &str, name: &str) -> Value {
    let exports = [json!([]), json!(["."]), json!(["default"]), json!(["*"])];
    let mut hosts = vec![HOSTS[dice.below(HOSTS.len())], HOSTS[dice.below(HOSTS.len())]];
    hosts.truncate(dice.below(3));
    let delegate = json!({"delegate": {"name": format!("v{}", dice.below(3)), "namespace": NAMESPACES[dice.below(2)]}});
    let route = json!({"route": [{"destination": {"host": format!("d{}", dice.below(4))}}]});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"hosts": hosts, "exportTo": exports[dice.below(4)], "http": [route, delegate]}})
}

fn mk_route(dice: &mut Dice, kind: &str, namespace: &str, name: &str) -> Value {
    let parent_namespace = NAMESPACES[dice.below(2)];
    let parent = [
        json!({"group": "", "kind": "Service", "name": format!("s{}", dice.below(3)), "namespace": parent_namespace}),
        json!({"group": "networking.istio.io", "kind": "ServiceEntry", "name": format!("v{}", dice.below(3)), "namespace": parent_namespace}),
    ][dice.below(2)]
    .clone();
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"parentRefs": [parent], "rules": [{"backendRefs": [{"name": format!("d{}", dice.below(4))}]}]}})
}

/// Something happens to an object, or a pod calls somebody.
fn happen(world: &mut World, dice: &mut Dice) {
    let namespace = NAMESPACES[dice.below(2)];
    let (service, object) = (format!("s{}", dice.below(3)), format!("v{}", dice.below(3)));
    let gone = dice.below(3) == 0;
    match dice.below(8) {
        0 if gone => world.cluster.delete(Kind::VirtualService, namespace, &object),
        0 | 1 => world.put(mk_virtual_service(dice, namespace, &object)),
        2 if gone => world.cluster.delete(Kind::HttpRoute, namespace, &object),
        2 => world.put(mk_route(dice, "HTTPRoute", namespace, &object)),
        3 if gone => world.cluster.delete(Kind::GrpcRoute, namespace, &object),
        3 => world.put(mk_route(dice, "GRPCRoute", namespace, &object)),
        4 if gone => world.cluster.delete(Kind::ServiceEntry, namespace, &object),
        4 => {
            let hosts = [HOSTS[4 + dice.below(4)], HOSTS[4 + dice.below(4)]];
            world.put(mk_service_entry(namespace, &object, &hosts));
        }
        5 => {
            let service = ["s0", "s1", "s2", "later"][dice.below(4)];
            if gone {
                return world.cluster.delete(Kind::Service, namespace, service);
            }
            let mut changed = mk_service(namespace, service, None);
            changed["metadata"]["labels"] =
                [json!({}), json!({"team": "x", "tier": "y"}), json!({"tier": "z"})][dice.below(3)].clone();
            world.put(changed);
        }
        6 => world.put(mk_fence(namespace, &service, mk_spec(dice))),
        _ => {
            let called = ["s0:80", "s1.test", "www.example.com", "a.example.com", "s1.default.alias", "later.test"];
            world.call(&format!("10.0.{}.{}", dice.below(2), dice.below(3)), called[dice.below(called.len())]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_look_at_the_affected_fences_is_as_good_as_a_look_at_all(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let objects = mk_objects(&mut dice);
        let mut world = World::start(mk_entry(), &objects);
        for _ in 0..=dice.below(40) {
            happen(&mut world, &mut dice);
            if dice.below(2) == 0 {
                world.settle();
            }
        }
        world.settle_within(Duration::from_secs(120));
        let before = world.cluster.writes.clone();
        world.on(Event::Heal);
        world.settle_within(Duration::from_secs(120));
        assert_eq!(world.cluster.writes, before, "a look at all fences found something to write");
    }
}
