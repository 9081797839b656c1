//! What the operator finds around it: declared ports, labels of namespaces, the version of istiod, a wish for NetworkPolicies.

use super::*;

#[tokio::test]
async fn ports_that_services_and_service_entries_declare_are_found_and_go_only_if_that_is_wanted() {
    let Some(operated) = Operated::start("found ports").await else { return };
    operated.objects().namespace("shop").await;
    let service = |ports: &Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "web"}, "spec": {"ports": ports}});
    let both = json!([{"name": "http", "port": 7000}, {"name": "mysql", "port": 3306}]);
    operated.objects().apply(&service(&both)).await;
    let mut boot = printed_boot("the_seeds_cluster_accesslog_example");
    let general = &mut boot["spec"]["module"][0]["general"];
    (general["autoPort"], general["cleanupWormholePort"]) = (json!(true), json!(true));
    operated.objects().apply(&boot).await;
    // The ServiceEntry's CRD is not there: that is no reason to wait.
    operated.ready("lazyload").await;
    let has = async |wanted: &[u16]| {
        let wanted: BTreeSet<u64> = wanted.iter().copied().map(u64::from).collect();
        eventually("the ports are those that are declared", DEADLINE, || async {
            operated.roll_out().await;
            let service = operated.objects().find("Service", "mesh-operator", "global-sidecar").await.unwrap();
            let ports = service["spec"]["ports"].as_array().unwrap();
            let ports: BTreeSet<u64> = ports.iter().map(|port| port["port"].as_u64().unwrap()).collect();
            if ports == wanted { Ok(()) } else { Err(ports) }
        })
        .await;
    };
    has(&[80, 9080, 7000]).await;
    let of_pod = operated.objects().find("Deployment", "mesh-operator", "global-sidecar").await.unwrap();
    operated.objects().apply(&service(&json!([{"name": "http", "port": 7001}]))).await;
    has(&[80, 9080, 7001]).await;
    let now = operated.objects().find("Deployment", "mesh-operator", "global-sidecar").await.unwrap();
    assert_eq!(of_pod["metadata"]["generation"], now["metadata"]["generation"], "no new pod for a port");
    eventually("the status says which and why", DEADLINE, || async {
        let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
        let told = boot["status"]["autoPort"].clone();
        if told == json!({"ports": ["7001: shop/web"], "leftOut": []}) { Ok(()) } else { Err(told) }
    })
    .await;

    boot["spec"]["module"][0]["general"]["cleanupWormholePort"] = json!(false);
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    operated.objects().delete("Service", "shop", "web").await;
    eventually("it is kept", DEADLINE, || async {
        let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
        let told = boot["status"]["autoPort"]["ports"].clone();
        if told == json!(["7001: declared no more"]) { Ok(()) } else { Err(told) }
    })
    .await;
    has(&[80, 9080, 7001]).await;
    operated.cluster.install_istio_crds(&["ServiceEntry"]).await;
    let entry = json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry", "metadata": {"namespace": "shop", "name": "outside"},
        "spec": {"hosts": ["outside.example"], "ports": [{"number": 7002, "name": "web", "protocol": "HTTP"}]},
    });
    operated.objects().apply(&entry).await;
    has(&[80, 9080, 7001, 7002]).await;
    boot["spec"]["module"][0]["general"]["autoPort"] = json!(false);
    operated.objects().apply(&boot).await;
    has(&[80, 9080]).await;
    operated.ready("lazyload").await;
    let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap();
    assert_eq!(boot["status"].get("autoPort"), None, "{boot}");
}

#[tokio::test]
async fn a_namespace_that_is_not_injected_is_warned_of_until_its_label_is_there() {
    let Some(operated) = Operated::start("a namespace without its label").await else { return };
    operated.objects().namespace("default").await;
    let mut boot = printed_boot("the_seeds_namespace_accesslog_example");
    boot["spec"]["component"]["globalSidecar"]["sidecarInject"]["mode"] = json!("namespace");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let warned = async |wanted: &str| {
        eventually("the warning comes and goes", DEADLINE, || async {
            let boot = operated.objects().find("SlimeBoot", "mesh-operator", "lazyload").await.unwrap_or_default();
            let warnings = boot["status"]["warnings"].clone();
            let told = warnings.to_string().contains(wanted);
            let fits = if wanted.is_empty() { warnings == json!([]) } else { told };
            if fits { Ok(()) } else { Err(warnings) }
        })
        .await;
    };
    warned("kubectl label namespace default istio-injection=enabled (or istio.io/rev=REVISION)").await;
    operated.objects().label("Namespace", "", "default", "istio-injection", Some("enabled")).await;
    warned("").await;
    operated.objects().label("Namespace", "", "default", "istio-injection", Some("disabled")).await;
    warned("namespace default has the label istio-injection=disabled").await;
}

#[tokio::test]
async fn filters_follow_the_version_of_istiod_and_one_that_is_too_old_is_refused() {
    let Some(operated) = Operated::start("old Istio").await else { return };
    let istiod = async |tag: &str| {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "istio-system", "name": "istiod", "labels": {"app": "istiod"}},
            "spec": {
                "selector": {"matchLabels": {"app": "istiod"}},
                "template": {
                    "metadata": {"labels": {"app": "istiod"}},
                    "spec": {"containers": [{"name": "discovery", "image": format!("istio/pilot:{tag}")}]},
                },
            },
        });
        operated.objects().apply(&deployment).await;
    };
    istiod("1.12.9-distroless").await;
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    let refused = operated.reason("lazyload", "UnsupportedIstio").await;
    assert!(refused["message"].as_str().unwrap().contains("expected Istio 1.13 or later"), "{refused}");
    assert!(operated.made_for("lazyload").await.is_empty());
    for (tag, there, not_there) in
        [("1.15.1", "\"append\":false", "append_action"), ("1.31.0", "append_action", "\"append\":false")]
    {
        istiod(tag).await;
        operated.ready("lazyload").await;
        eventually("the filter fits", DEADLINE, || async {
            let filter = operated.objects().find("EnvoyFilter", "istio-system", "to-global-sidecar").await;
            let text = filter.unwrap_or_default().to_string();
            if text.contains(there) && !text.contains(not_there) { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

#[tokio::test]
async fn network_policies_come_when_they_are_asked_for_and_go_when_they_are_not() {
    let Some(operated) = Operated::start("network policies").await else { return };
    operated.objects().namespace("default").await;
    let mut boot = printed_boot("the_seeds_namespace_accesslog_example");
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    assert!(operated.objects().names("NetworkPolicy").await.is_empty());
    boot["spec"]["networkPolicy"] = json!(true);
    operated.objects().apply(&boot).await;
    operated.ready("lazyload").await;
    let (made, wanted) = (operated.made_for("lazyload").await, rendered(&boot));
    let mut policies = 0;
    for (name, wanted) in wanted.iter().filter(|(name, _)| name.starts_with("NetworkPolicy ")) {
        assert!(has(&made[name], wanted), "{name}: {} lacks something of {wanted}", made[name]);
        policies += 1;
    }
    assert!(policies >= 2);
    boot["spec"]["networkPolicy"] = json!(false);
    operated.objects().apply(&boot).await;
    eventually("the policies are gone", DEADLINE, || async {
        let left = operated.objects().names("NetworkPolicy").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
