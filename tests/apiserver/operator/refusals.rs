//! What is not done: to somebody else's objects, beside another SlimeBoot, with mistakes.

use super::*;

#[tokio::test]
async fn somebody_elses_object_stays_as_it_is_and_the_condition_says_so() {
    let Some(operated) = Operated::start("a foreign object").await else { return };
    let theirs = operated
        .objects()
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "mesh-operator", "name": "global-sidecar"}, "data": {"mine": "yes"},
        }))
        .await;
    operated.objects().apply(&printed_boot("the_seeds_cluster_accesslog_example")).await;
    let occupied = operated.reason("lazyload", "Occupied").await;
    let message = occupied["message"].as_str().unwrap();
    assert!(message.starts_with("ConfigMap mesh-operator/global-sidecar is there already and not ours"), "{message}");
    operated.roll_out().await;
    assert_eq!(operated.objects().find("ConfigMap", "mesh-operator", "global-sidecar").await.unwrap(), theirs);
    assert!(!operated.made_for("lazyload").await.contains_key("EnvoyFilter istio-system/to-global-sidecar"));
    // Handed over by its labels.
    operated.objects().label("ConfigMap", "mesh-operator", "global-sidecar", LABEL, Some("lazyload")).await;
    operated
        .objects()
        .label("ConfigMap", "mesh-operator", "global-sidecar", "slime.io/slimeboot-namespace", Some("mesh-operator"))
        .await;
    operated.ready("lazyload").await;
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    operated.nothing_is_left("lazyload").await;
}

#[tokio::test]
async fn of_two_slime_boots_that_would_fight_the_second_waits() {
    let Some(operated) = Operated::start("two SlimeBoots").await else { return };
    let first = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&first).await;
    operated.ready("lazyload").await;
    let before = operated.made_for("lazyload").await;
    let mut second = printed_boot("the_seeds_namespace_accesslog_example");
    second["metadata"]["name"] = json!("second");
    second["spec"]["module"][0]["name"] = json!("second");
    operated.objects().apply(&second).await;
    let conflict = operated.reason("second", "Conflict").await;
    assert!(conflict["message"].as_str().unwrap().contains("mesh-operator/lazyload"), "{conflict}");
    assert!(operated.made_for("second").await.is_empty());
    assert_eq!(operated.made_for("lazyload").await, before);
    operated.objects().delete("SlimeBoot", "mesh-operator", "lazyload").await;
    operated.ready("second").await;
}

/// What users get wrong: where, what they write, and how the condition begins.
fn mistakes() -> Vec<(&'static str, Value, &'static str)> {
    let dispatch = |dispatch: Value| json!([dispatch]);
    vec![
        ("/image", json!(null), "spec.image.repository"),
        ("/image/pullPolicy", json!("Sometimes"), "spec.image.pullPolicy"),
        ("/namespace", json!("Mesh"), "spec.namespace"),
        ("/istioNamespace", json!("istio_system"), "spec.istioNamespace"),
        ("/replicaCount", json!(3), "spec.replicaCount"),
        ("/args", json!(["--enable-leader-election"]), "spec.args"),
        ("/env", json!([{"name": ["x"]}]), "spec.env"),
        ("/volumes", json!([{"hostPath": "/x"}]), "spec.volumes"),
        ("/containers", json!({"slime": {"volumeMounts": [{"name": ["x"]}]}}), "spec.containers.slime.volumeMounts"),
        ("/resources", json!({"limits": "much"}), "spec.resources"),
        ("/module/0/name", json!("Lazy Load"), "spec.module[0].name"),
        ("/module/0/name", json!("global-sidecar"), "spec.module[0].name"),
        ("/module/0/kind", json!("limiter"), "spec.module[0].kind"),
        ("/module/0/enable", json!("perhaps"), "spec.module[0].enable"),
        ("/module/0/general/wormholePort", json!(["http"]), "spec.module[0].general.wormholePort[0]"),
        ("/module/0/general/wormholePort", json!([70000]), "spec.module[0].general.wormholePort[0]"),
        ("/module/0/general/wormholePort", json!([15001]), "spec.component.globalSidecar"),
        ("/module/0/general/autoFence", json!("sure"), "spec.module[0].general.autoFence"),
        ("/module/0/general/globalSidecarMode", json!("namespace"), "spec.module[0].global.misc.globalSidecarMode"),
        ("/module/0/general/metricSourceType", json!("guess"), "spec.module[0].general.metricSourceType"),
        ("/module/0/general/proxyVersion", json!("1.("), "spec.module[0].general.proxyVersion"),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"]})),
            "spec.module[0].general.dispatches[0].cluster",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"], "cluster": "{{ .Values.foo }}"})),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": .Values.foo",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com"], "cluster": "outbound|x||y"})),
            "spec.module[0].general.dispatches[0].cluster",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["*x*"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domains[0]",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domains": ["x.com", "X.com"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domains",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "to b", "domains": ["x.com"], "cluster": "c"})),
            "spec.module[0].general.dispatches[0].name",
        ),
        (
            "/module/0/general/dispatches",
            dispatch(json!({"name": "a", "domainRegex": "(", "cluster": "c"})),
            "spec.module[0].general.dispatches[0].domainRegex",
        ),
        ("/component/globalSidecar/type", json!("many"), "spec.component.globalSidecar.type"),
        (
            "/component/globalSidecar/sidecarInject/enable",
            json!(false),
            "spec.component.globalSidecar.sidecarInject.enable",
        ),
        (
            "/component/globalSidecar/sidecarInject/mode",
            json!("namespace"),
            "spec.component.globalSidecar.sidecarInject.mode",
        ),
        ("/component/globalSidecar/probePort", json!(9080), "spec.component.globalSidecar.probePort"),
        ("/istioVersion", json!("1.12"), "spec.istioVersion: expected Istio 1.13 or later"),
        ("/istioVersion", json!(1.20), "spec.istioVersion: expected text"),
        ("/component/globalSidecar/replicas", json!(0), "spec.component.globalSidecar.replicas"),
    ]
}

#[tokio::test]
async fn each_of_thirty_mistakes_gives_a_condition_and_changes_nothing_that_works() {
    let Some(operated) = Operated::start("mistakes").await else { return };
    let right = printed_boot("the_seeds_cluster_accesslog_example");
    operated.objects().apply(&right).await;
    operated.ready("lazyload").await;
    let before = operated.made_for("lazyload").await;
    let mistakes = mistakes();
    assert!(mistakes.len() >= 30);
    for (pointer, value, begins) in mistakes {
        let mut wrong = right.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrong["spec"].pointer_mut(parent).unwrap()[key] = value;
        operated.objects().apply(&wrong).await;
        let invalid = operated.reason("lazyload", "Invalid").await;
        let message = invalid["message"].as_str().unwrap();
        assert!(message.starts_with(begins), "{pointer}: {message}");
        let degraded = operated.condition("lazyload", "Degraded").await;
        assert_eq!(degraded["status"], "True");
    }
    assert_eq!(operated.made_for("lazyload").await, before);
    operated.objects().apply(&right).await;
    operated.ready("lazyload").await;
}
