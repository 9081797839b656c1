//! Processes that lack a right: they say which, and go on with the rest.

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{CONTROLLER_GROUP, Cluster};
use super::controller::Controller;
use crate::support::running::{Running, free_port};
use crate::support::{binary, waiting::eventually};

/// The operator's ClusterRole.
const OPERATOR_ROLE: &str = "slime-boot";

/// Takes a verb on a resource out of a role.
fn without(role: &mut Value, resource: &str, verb: &str) {
    let mut taken = 0;
    for rule in role["rules"].as_array_mut().unwrap() {
        if rule["resources"].as_array().unwrap().contains(&json!(resource)) {
            let verbs = rule["verbs"].as_array_mut().unwrap();
            let before = verbs.len();
            verbs.retain(|it| it != verb);
            taken += before - verbs.len();
        }
    }
    assert!(taken > 0, "{verb} {resource}: {role}");
}

#[tokio::test]
async fn a_controller_names_the_rights_that_it_lacks_until_it_has_them_and_works_with_the_rest() {
    let Some(cluster) = Cluster::start("missing rights").await else { return };
    let objects = &cluster.objects;
    let whole = objects.find("ClusterRole", "", CONTROLLER_GROUP).await.unwrap();
    let mut role = json!({
        "apiVersion": whole["apiVersion"], "kind": "ClusterRole", "metadata": {"name": CONTROLLER_GROUP}, "rules": whole["rules"],
    });
    let complete = role.clone();
    without(&mut role, "servicefences/status", "patch");
    without(&mut role, "events", "create");
    objects.apply(&role).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    let expected = "missing rights: patch servicefences.microservice.slime.io/status in all namespaces (without: nothing that is learned \
                    is kept); create events.events.k8s.io in all namespaces (without: there are no Events); apply the roles";
    eventually("what is missing is told", DEADLINE, || async {
        let (status, text) = controller.get("/modules/readyz").await.unwrap();
        if status == 200 && text.starts_with(expected) { Ok(()) } else { Err((status, text)) }
    })
    .await;
    let log = controller.log();
    assert_eq!(log.matches(expected).count(), 1, "{log}");
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(expected)), "{log}");

    objects.apply(&complete).await;
    eventually("nothing is missing", DEADLINE, || async {
        let answer = controller.get("/modules/readyz").await.unwrap();
        if answer == (200, String::new()) { Ok(()) } else { Err(answer) }
    })
    .await;
    assert!(controller.log().contains("every right is there now"), "{}", controller.log());
}

#[tokio::test]
async fn an_operator_without_rights_names_them_all_and_one_with_its_role_lacks_none() {
    let Some(cluster) = Cluster::start("the operator's rights").await else { return };
    let start = |log: &str| {
        let arguments = ["boot".to_owned(), "--listen".to_owned(), format!("127.0.0.1:{}", free_port())];
        let kubeconfig = cluster.operators_kubeconfig().display().to_string();
        let environment = [("KUBECONFIG", kubeconfig), ("LOG_LEVEL", "debug".to_owned())];
        Running::start(&binary::lazyload(), &arguments, &environment, cluster.folder().join(log)).unwrap()
    };
    let bare = start("bare.log");
    eventually("what is missing is told", DEADLINE, || async {
        let log = bare.log();
        let told =
            ["missing rights: ", "list slimeboots.config.netease.com in all namespaces", "`lazyload install-yaml`"];
        if told.iter().all(|part| log.contains(part)) { Ok(()) } else { Err(log) }
    })
    .await;
    cluster.install_istio_crds(&["EnvoyFilter"]).await;
    let objects = &cluster.objects;
    objects
        .apply(&json!({
            "apiVersion": "config.netease.com/v1alpha1", "kind": "SlimeBoot",
            "metadata": {"namespace": "default", "name": "lazyload"}, "spec": {"module": []},
        }))
        .await;
    let condition = async |kind: &str| {
        let boot = objects.find("SlimeBoot", "default", "lazyload").await.unwrap();
        let conditions = boot["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    };
    // It may read and write SlimeBoots, but not see what was made for them.
    let role = objects.find("ClusterRole", "", OPERATOR_ROLE).await;
    assert!(role.is_none());
    let slime_boots = json!([
        {"apiGroups": ["config.netease.com"], "resources": ["slimeboots"], "verbs": ["get", "list", "patch", "watch"]},
        {"apiGroups": ["config.netease.com"], "resources": ["slimeboots/status"], "verbs": ["get", "patch"]},
    ]);
    cluster.grant_the_operators_rights().await;
    let whole = objects.find("ClusterRole", "", OPERATOR_ROLE).await.unwrap()["rules"].clone();
    let role = |rules: &Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": OPERATOR_ROLE}, "rules": rules});
    objects.apply(&role(&slime_boots)).await;
    eventually("the condition says what is missing", DEADLINE, || async {
        let degraded = condition("Degraded").await;
        let message = degraded["message"].as_str().unwrap_or_default().to_owned();
        let told = message.starts_with("missing rights: ") && message.contains("list services in all namespaces");
        if degraded["status"] == "True" && degraded["reason"] == "MissingRights" && told {
            Ok(())
        } else {
            Err(degraded)
        }
    })
    .await;
    objects.apply(&role(&whole)).await;
    eventually("the condition is gone", DEADLINE, || async {
        let degraded = condition("Degraded").await;
        if degraded["status"] == "False" && degraded["reason"] == "NothingToInstall" { Ok(()) } else { Err(degraded) }
    })
    .await;
    eventually("nothing is missing", DEADLINE, || async {
        if bare.log().contains("every right is there now") { Ok(()) } else { Err(bare.log()) }
    })
    .await;
}
