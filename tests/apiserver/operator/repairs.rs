//! What somebody else changed, and who writes while controllers change places.

use super::*;

#[tokio::test]
async fn what_is_changed_by_hand_is_repaired_also_by_an_operator_that_was_away() {
    let Some(mut operated) = Operated::start("drift").await else { return };
    let boot = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let wanted = rendered(&boot);
    let repaired = async |operated: &Operated| {
        eventually("everything is repaired", DEADLINE, || async {
            operated.roll_out().await;
            let made = operated.made_for("lazyload").await;
            let lacking: Vec<&String> = wanted
                .iter()
                .filter(|(name, wanted)| made.get(*name).is_none_or(|there| !has(there, wanted)))
                .map(|it| it.0)
                .collect();
            if lacking.is_empty() && made.len() == wanted.len() { Ok(()) } else { Err(format!("{lacking:?}")) }
        })
        .await;
    };
    let damage = async |objects: &Objects| {
        let ports = json!({"spec": {"ports": [{"name": "http-1", "port": 1, "targetPort": 1}]}});
        objects.merge("Service", "mesh-operator", "global-sidecar", ports).await;
        objects.merge("ConfigMap", "mesh-operator", "lazyload", json!({"data": {"cfg": "{}"}})).await;
        objects.label("Deployment", "mesh-operator", "lazyload", LABEL, None).await;
        objects.merge("EnvoyFilter", "istio-system", "to-global-sidecar", json!({"spec": {"configPatches": []}})).await;
        objects.delete("ClusterRole", "", "global-sidecar.mesh-operator").await;
        objects.delete("Sidecar", "mesh-operator", "global-sidecar").await;
    };
    damage(operated.objects()).await;
    repaired(&operated).await;
    operated.operator.take().unwrap().kill().unwrap();
    damage(operated.objects()).await;
    operated.start_operator();
    repaired(&operated).await;
    // Silence costs nothing: no write without a reason.
    operated.ready("lazyload").await;
    let versions = |made: BTreeMap<String, Value>| -> BTreeMap<String, Value> {
        made.into_iter().map(|(name, it)| (name, it["metadata"]["resourceVersion"].clone())).collect()
    };
    let before = versions(operated.made_for("lazyload").await);
    operated.objects().label("SlimeBoot", "mesh-operator", "lazyload", "touched", Some("yes")).await;
    // As Kubernetes counts the rollouts of a Deployment.
    let revision = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    operated.objects().report("Deployment", "mesh-operator", "lazyload", revision).await;
    let reported = operated.objects().find("Deployment", "mesh-operator", "lazyload").await.unwrap();
    let mut before = before;
    before.insert("Deployment mesh-operator/lazyload".to_owned(), reported["metadata"]["resourceVersion"].clone());
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert_eq!(versions(operated.made_for("lazyload").await), before);
}

#[tokio::test]
async fn a_controller_that_knows_no_lease_is_replaced_before_controllers_are_rolled() {
    let Some(operated) = Operated::start("leader election is switched on").await else { return };
    let mut boot = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    boot["spec"]["module"][0]["global"]["misc"]["enableLeaderElection"] = json!("on");
    boot["spec"]["replicaCount"] = json!(2);
    operated.objects().apply(&boot).await;
    let controller =
        async || operated.objects().find("Deployment", "mesh-operator", "lazyload").await.unwrap()["spec"].clone();
    eventually("the new template is there", DEADLINE, || async {
        let spec = controller().await;
        if spec["replicas"] == 2 { Ok(()) } else { Err(spec) }
    })
    .await;
    operated.reason("lazyload", "Waiting").await;
    let replaced = controller().await;
    assert_eq!(replaced["strategy"]["type"], "Recreate", "the old pod ends first");
    operated.ready("lazyload").await;
    let rolled = controller().await;
    assert_eq!(rolled["strategy"]["type"], "RollingUpdate");
    assert_eq!(rolled["template"], replaced["template"], "no pod is made anew for it");
}
