//! AuthorizationPolicies that name callers, while they and the pods that they are about come and go.

use std::time::Duration;

use lazyload_logic::types::Kind;
use serde_json::{Value, json};

use crate::objects::{fqdn, mk_fence, mk_namespace, mk_pod, mk_service};
use crate::world::World;

fn mk_policy(name: &str, source: Value) -> Value {
    json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"selector": {"matchLabels": {"app": "cart"}}, "rules": [{"from": [{"source": source}]}]}})
}

fn mk_caller() -> Value {
    let mut pod = mk_pod("default", "a-v1", "a", "10.0.0.1");
    pod["spec"]["serviceAccountName"] = json!("a");
    pod
}

fn world(policies: &[Value]) -> World {
    let objects = [
        mk_namespace("default", None),
        mk_service("default", "a", None),
        mk_caller(),
        mk_fence("default", "a", json!({"enable": true})),
        mk_service("shop", "cart", None),
        mk_service("shop", "stock", None),
    ];
    World::start(json!({}), &[&objects, policies].concat())
}

fn domains(world: &World) -> Value {
    world.cluster.get(Kind::Fence, "default", "a").unwrap()["status"].get("domains").cloned().unwrap_or(json!({}))
}

fn hosts(world: &World) -> Vec<String> {
    let mut hosts = world.cluster.hosts("default", "a");
    hosts.retain(|host| !host.ends_with("/*"));
    hosts
}

fn of_account() -> Value {
    json!({"principals": ["cluster.local/ns/default/sa/a"]})
}

#[test]
fn a_host_leaves_after_the_grace_when_the_last_policy_that_names_the_caller_is_removed_unless_it_was_learned() {
    let mut world = world(&[mk_policy("one", of_account()), mk_policy("two", json!({"namespaces": ["default"]}))]);
    let cart = fqdn("cart", "shop");
    let named = |by: &[&str]| json!({cart.clone(): {"hosts": [cart], "policies": by}});
    assert_eq!(domains(&world), named(&["shop/one", "shop/two"]));
    world.cluster.delete(Kind::AuthorizationPolicy, "shop", "one");
    world.settle();
    assert_eq!(domains(&world), named(&["shop/two"]));

    world.put(mk_policy("two", json!({"namespaces": ["other"]})));
    world.settle();
    assert_eq!(domains(&world), json!({cart.clone(): {"hosts": [cart], "status": "EXPIREWAIT"}}));
    assert_eq!(hosts(&world), [format!("*/{cart}")]);
    world.settle_within(Duration::from_secs(35));
    assert_eq!((domains(&world), hosts(&world)), (json!({}), vec![]));

    world.put(mk_policy("one", of_account()));
    world.settle();
    world.call("10.0.0.1", "cart.shop:9080");
    world.settle();
    assert_eq!(domains(&world), named(&["shop/one"]));
    world.cluster.delete(Kind::AuthorizationPolicy, "shop", "one");
    world.settle_within(Duration::from_secs(60));
    assert_eq!(domains(&world), json!({cart.clone(): {"hosts": [cart]}}), "it was learned as well");
    let writes = world.total_writes();
    world.settle_within(Duration::from_secs(120));
    world.restart();
    world.settle_within(Duration::from_secs(120));
    assert_eq!(world.total_writes(), writes, "at rest");
}

#[test]
fn the_first_pod_of_a_fence_brings_what_policies_name_it_for_and_a_restart_of_its_pods_takes_nothing_away() {
    let mut world = world(&[mk_policy("one", of_account())]);
    let cart = format!("*/{}", fqdn("cart", "shop"));
    assert_eq!(hosts(&world), std::slice::from_ref(&cart));
    world.cluster.delete(Kind::Pod, "default", "a-v1");
    world.settle_within(Duration::from_secs(20));
    assert_eq!(hosts(&world), std::slice::from_ref(&cart));
    world.put(mk_caller());
    world.settle_within(Duration::from_secs(60));
    assert_eq!(hosts(&world), std::slice::from_ref(&cart));

    // Without pods for longer nobody has the account; with the next one somebody has.
    world.cluster.delete(Kind::Pod, "default", "a-v1");
    world.settle_within(Duration::from_secs(60));
    assert!(hosts(&world).is_empty());
    world.put(mk_caller());
    world.settle();
    assert_eq!(hosts(&world), [cart]);
}

#[test]
fn a_service_that_comes_to_select_protected_pods_is_imported_and_one_that_ceases_to_leaves() {
    let mut pod = mk_pod("shop", "cart-v1", "cart", "10.0.0.2");
    pod["metadata"]["labels"]["tier"] = json!("back");
    let mut world = world(&[mk_policy("one", of_account()), pod]);
    let mut front = mk_service("shop", "front", None);
    front["spec"]["selector"] = json!({"tier": "back"});
    world.put(front.clone());
    world.settle();
    let (cart, host) = (format!("*/{}", fqdn("cart", "shop")), format!("*/{}", fqdn("front", "shop")));
    assert_eq!(hosts(&world), [cart.clone(), host]);
    front["spec"]["selector"] = json!({"tier": "other"});
    world.put(front);
    world.settle_within(Duration::from_secs(60));
    assert_eq!(hosts(&world), [cart]);
}

#[test]
fn a_fence_says_whose_first_call_was_denied_and_no_longer_when_a_policy_admits_the_global_sidecar() {
    // Whoever calls from a virtual machine has no pod that would tell its account.
    let source = json!({"principals": ["cluster.local/ns/default/sa/vm"]});
    let mut world = world(&[mk_policy("one", source)]);
    let denied = |world: &World| {
        let fence = world.cluster.get(Kind::Fence, "default", "a").unwrap().clone();
        let conditions = fence["status"]["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == "FirstCallsDenied")
    };
    world.call("10.0.0.1", "cart.shop:9080");
    world.settle();
    assert_eq!(denied(&world), None, "this workload is not admitted either: the mesh means it");
    world.cluster.delete(Kind::Pod, "default", "a-v1");
    world.settle();
    let message = denied(&world).unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("cart.shop.svc.cluster.local (AuthorizationPolicy shop/one)"), "{message}");
    assert!(message.contains("mesh-operator/global-sidecar"), "{message}");
    let told = world.state.take_notices().into_iter().filter(|notice| notice.reason == "FirstCallsDenied").count();
    assert_eq!(told, 1);
    world.put(mk_policy("two", json!({"serviceAccounts": ["mesh-operator/global-sidecar"]})));
    world.settle();
    assert_eq!(denied(&world), None);
}
