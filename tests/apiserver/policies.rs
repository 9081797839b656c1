//! AuthorizationPolicies that name callers: with their CRD, with the rights that the product gives itself, in the form of the API server.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::dependencies::hosts_become;
use crate::support::waiting::eventually;

const CART: &str = "cart.shop.svc.cluster.local";

fn policy(name: &str, selector: &Value, source: &Value) -> Value {
    json!({"apiVersion": "security.istio.io/v1beta1", "kind": "AuthorizationPolicy",
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"selector": {"matchLabels": selector}, "action": "ALLOW", "rules": [{"from": [{"source": source}]}]}})
}

#[tokio::test]
async fn a_policy_that_names_the_caller_is_a_dependency_from_the_moment_that_its_crd_is_installed() {
    let Some(cluster) = Cluster::start("policies").await else { return };
    let objects = &cluster.objects;
    objects.namespace("shop").await;
    objects.service("shop", "cart", json!({})).await;
    objects.service("default", "caller", json!({})).await;
    objects.pod("default", "caller", "10.244.0.10").await;
    let mut controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    objects.fence("default", "caller", json!({"enable": true})).await;
    hosts_become(&cluster, "caller", &["istio-system/*", "mesh-operator/*"]).await;

    cluster.install_istio_crds(&["AuthorizationPolicy"]).await;
    // Pods without a service account of their own run under `default`.
    let source = json!({"principals": ["cluster.local/ns/default/sa/default"]});
    objects.apply(&policy("cart-viewer", &json!({"app": "cart"}), &source)).await;
    hosts_become(&cluster, "caller", &["*/cart.shop.svc.cluster.local", "istio-system/*", "mesh-operator/*"]).await;
    let domains_become = async |expected: Value| {
        eventually("the domains", DEADLINE, || async {
            let fence = objects.find("ServiceFence", "default", "caller").await.ok_or(Value::Null)?;
            let domains = fence["status"].get("domains").cloned().unwrap_or(json!({}));
            if domains == expected { Ok(()) } else { Err(fence) }
        })
        .await;
    };
    domains_become(json!({CART: {"hosts": [CART], "policies": ["shop/cart-viewer"]}})).await;

    objects.apply(&policy("of-namespace", &json!({}), &json!({"namespaces": ["default"]}))).await;
    let all = ["*/cart.shop.svc.cluster.local", "istio-system/*", "mesh-operator/*", "shop/*"];
    hosts_become(&cluster, "caller", &all).await;
    objects.delete("AuthorizationPolicy", "shop", "of-namespace").await;
    objects.delete("AuthorizationPolicy", "shop", "cart-viewer").await;
    let leaving = json!({"shop/*": {"status": "EXPIREWAIT"}, CART: {"hosts": [CART], "status": "EXPIREWAIT"}});
    domains_become(leaving).await;
    hosts_become(&cluster, "caller", &["istio-system/*", "mesh-operator/*"]).await;
    domains_become(json!({})).await;
    controller.assert_running();
}
