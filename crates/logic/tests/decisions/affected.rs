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

fn mk_policy(dice: &mut Dice, namespace: &str, name: &str) -> Value {
    let sources = [
        json!({"principals": ["cluster.local/ns/default/sa/a"]}),
        json!({"principals": ["*/sa/b"]}),
        json!({"principals": ["*"], "notNamespaces": ["test"]}),
        json!({"serviceAccounts": ["a", "test/b"]}),
        json!({"namespaces": ["default"]}),
        json!({"namespaces": ["t*"]}),
        json!({"principals": ["cluster.local/ns/mesh-operator/sa/global-sidecar"]}),
        json!({"ipBlocks": ["10.0.0.0/8"]}),
    ];
    let rules = [
        json!({"from": [{"source": sources[dice.below(8)]}]}),
        json!({"from": [{"source": sources[dice.below(8)]}], "to": [{"operation": {"hosts": ["s1*"]}}]}),
        json!({"from": [{"source": sources[dice.below(8)]}], "to": [{"operation": {"ports": ["9080"]}}]}),
    ];
    let action = ["ALLOW", "ALLOW", "ALLOW", "DENY"][dice.below(4)];
    let mut spec = json!({"action": action, "rules": [rules[dice.below(3)]]});
    let labels = [json!({"app": "s0"}), json!({"app": "s1"}), json!({"team": "x"}), json!({"app": "s1", "team": "x"})];
    if dice.below(4) > 0 {
        spec["selector"] = json!({"matchLabels": labels[dice.below(4)]});
    }
    let namespace = if dice.below(4) == 0 { "istio-system" } else { namespace };
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

/// A pod of another kind under a name that may be taken.
fn mk_other_pod(dice: &mut Dice, at: usize) -> Value {
    let number = dice.below(4);
    let name = if number == 3 { "extra".to_owned() } else { format!("s{number}") };
    let mut pod = mk_pod(NAMESPACES[at], &name, &format!("s{}", dice.below(3)), &format!("10.0.{at}.{number}"));
    pod["spec"]["serviceAccountName"] = ["a", "b", "default"][dice.below(3)].into();
    if dice.below(2) == 0 {
        pod["metadata"]["labels"]["team"] = json!("x");
    }
    pod
}

/// Something happens to an object, or a pod calls somebody.
fn happen(world: &mut World, dice: &mut Dice) {
    let namespace = NAMESPACES[dice.below(2)];
    let (service, object) = (format!("s{}", dice.below(3)), format!("v{}", dice.below(3)));
    let gone = dice.below(3) == 0;
    match dice.below(12) {
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
            if dice.below(3) == 0 {
                changed["spec"]["selector"] =
                    [json!({"team": "x"}), json!({"app": "s1", "team": "x"})][dice.below(2)].clone();
                changed["spec"]["ports"][0]["targetPort"] = json!(8080);
            }
            world.put(changed);
        }
        6 => world.put(mk_fence(namespace, &service, mk_spec(dice))),
        7 if gone => {
            let namespace = if dice.below(3) == 0 { "istio-system" } else { namespace };
            world.cluster.delete(Kind::AuthorizationPolicy, namespace, &object);
        }
        7 | 8 => world.put(mk_policy(dice, namespace, &object)),
        9 if gone => world.cluster.delete(Kind::Pod, namespace, ["s0", "s1", "s2", "extra"][dice.below(4)]),
        9 | 10 => {
            let at = dice.below(2);
            world.put(mk_other_pod(dice, at));
        }
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
