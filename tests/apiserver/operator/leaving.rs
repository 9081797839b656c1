//! The order in which things go.

use super::*;

#[tokio::test]
async fn the_redirection_goes_first_and_nothing_else_before_it_is_gone() {
    let Some(operated) = Operated::start("removal").await else { return };
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    operated.ready("lazyload").await;
    let hold = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    operated.objects().merge("EnvoyFilter", "istio-system", "to-global-sidecar", hold(json!(["test/hold"]))).await;
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    eventually("the controller has ended, and the redirection is to go", DEADLINE, || async {
        operated.end_pods().await;
        let removing = operated.condition("lazyload", "Ready").await;
        let awaited = "EnvoyFilter istio-system/to-global-sidecar is being deleted";
        if removing["reason"] == "Removing" && removing["message"] == awaited { Ok(()) } else { Err(removing) }
    })
    .await;
    let mut before = rendered(&printed_boot("the_seeds_cluster_accesslog_example"));
    before.remove("Deployment mesh-operator/lazyload").unwrap();
    let before: Vec<String> = before.into_keys().collect();
    assert_eq!(operated.made_for("lazyload").await.into_keys().collect::<Vec<_>>(), before);
    operated.objects().merge("EnvoyFilter", "istio-system", "to-global-sidecar", hold(json!([]))).await;
    eventually("the redirection is gone, the rest waits for the proxies", DEADLINE, || async {
        let made: BTreeSet<String> = operated.made_for("lazyload").await.into_keys().collect();
        if made.len() == before.len() - 1 && !made.contains("EnvoyFilter istio-system/to-global-sidecar") {
            Ok(())
        } else {
            Err(made)
        }
    })
    .await;
    operated.nothing_is_left("lazyload").await;
}

#[tokio::test]
async fn a_slime_boot_that_is_deleted_while_there_are_fences_leaves_none_of_them_without_a_fallback() {
    let Some(operated) = Operated::start("fences that remain").await else { return };
    let objects = operated.objects();
    objects.apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    operated.ready("lazyload").await;
    let fence = objects.fence("default", "productpage", json!({"enable": true})).await;
    let owner = json!({
        "apiVersion": fence["apiVersion"], "kind": "ServiceFence", "name": "productpage", "controller": true,
        "uid": fence["metadata"]["uid"],
    });
    let sidecar = |name: &str, owners: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "Sidecar",
            "metadata": {"namespace": "default", "name": name, "ownerReferences": owners},
            "spec": {"workloadSelector": {"labels": {"app": name}}, "egress": [{"hosts": ["istio-system/*"]}]},
        })
    };
    let ours = objects.apply(&sidecar("productpage", json!([owner]))).await;
    let users = objects.apply(&sidecar("users", json!([]))).await;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    // By which the proxies of an observed fence told the controller what they call, and a user's own.
    let tells = json!({"lazyload.slime.io/caller-log": "true"});
    for (name, labels) in [("lazyload-caller-log.observed", tells), ("users", json!({}))] {
        let metadata = json!({"namespace": "default", "name": name, "labels": labels});
        let filter = json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": metadata,
            "spec": {"configPatches": []},
        });
        objects.apply(&filter).await;
    }

    objects.delete("SlimeBoot", "mesh-operator", "lazyload").await;
    eventually("the controller is to end", DEADLINE, || async {
        let controller = objects.find("Deployment", "mesh-operator", "lazyload").await.unwrap();
        let told = operated.condition("lazyload", "Ready").await["message"].clone();
        let metadata = &controller["metadata"];
        let ending = metadata["finalizers"] == json!(["foregroundDeletion"]);
        if ending && told == "Deployment mesh-operator/lazyload is being deleted" {
            Ok(())
        } else {
            Err((controller, told))
        }
    })
    .await;
    // Its pods may still write, so nobody else does.
    assert_eq!(version(&objects.find("Sidecar", "default", "productpage").await.unwrap()), version(&ours));
    operated.end_pods().await;
    let wide = eventually("the Sidecar imports everything", DEADLINE, || async {
        let found = objects.find("Sidecar", "default", "productpage").await.ok_or("it is gone")?;
        if found["spec"]["egress"][0]["hosts"] == json!(["*/*"]) { Ok(found) } else { Err("it does not") }
    })
    .await;
    assert_eq!(wide["spec"]["egress"][1]["hosts"], json!(["istio-system/*"]), "the same routes");
    assert_eq!(wide["spec"]["workloadSelector"], ours["spec"]["workloadSelector"]);
    eventually("the Sidecar is gone", DEADLINE, || async {
        if objects.find("Sidecar", "default", "productpage").await.is_none() { Ok(()) } else { Err("it is there") }
    })
    .await;
    assert!(
        objects.find("EnvoyFilter", "istio-system", "to-global-sidecar").await.is_some(),
        "proxies may still use it"
    );
    operated.nothing_is_left("lazyload").await;
    assert_eq!(objects.names("EnvoyFilter").await, ["default/users"], "nobody is left to be told");
    assert_eq!(objects.names("ServiceFence").await, ["default/productpage"]);
    assert_eq!(version(&objects.find("Sidecar", "default", "users").await.unwrap()), version(&users));
    let writes = operated.cluster.audited_writes().into_iter().filter(|(_, what)| !what.ends_with("global-sidecar"));
    let writes: Vec<String> = writes.filter(|(user, _)| user == "slime-boot").map(|(_, what)| what).collect();
    assert_eq!(writes, ["patch sidecars productpage", "delete sidecars productpage"]);
}
