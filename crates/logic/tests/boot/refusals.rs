use lazyload_api::slime_boot::SlimeBootSpec;
use lazyload_logic::boot::read;
use serde_json::{Value, json};

use crate::given::objects;

/// An installation that is accepted, with one value put at a path.
fn with(pointer: &str, value: Value) -> SlimeBootSpec {
    let mut spec = json!({
        "image": {"repository": "example/lazyload"},
        "module": [{"name": "lazyload", "kind": "lazyload", "enable": true, "general": {"wormholePort": ["9080"]}, "global": {"misc": {}}}],
        "component": {"globalSidecar": {"enable": true, "sidecarInject": {"enable": true, "mode": "pod"}}},
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    serde_json::from_value(spec).unwrap()
}

#[test]
fn each_refusal_names_the_field_what_was_expected_and_a_way_out() {
    for (pointer, value, expected) in [
        ("/image", json!(null), "spec.image.repository: expected the image's name without its tag, got nothing"),
        (
            "/image/pullPolicy",
            json!("Often"),
            "spec.image.pullPolicy: expected Always, IfNotPresent or Never, got \"Often\"",
        ),
        (
            "/replicaCount",
            json!(2),
            "spec.replicaCount: expected 1, got 2: several controllers need leader election, so set global.misc.enableLeaderElection of the module to \"on\"",
        ),
        (
            "/args",
            json!(["--enable-leader-election"]),
            "spec.args: expected nothing, because the controller takes no arguments; remove it",
        ),
        (
            "/module/0/kind",
            json!("limiter"),
            "spec.module[0].kind: expected lazyload, got \"limiter\"; disable modules of other kinds",
        ),
        (
            "/module/0/name",
            json!("Lazy.Load"),
            "spec.module[0].name: expected at most 63 lower-case letters, digits and '-', beginning with a letter and not ending with '-', \
             got \"Lazy.Load\"",
        ),
        (
            "/module/0/name",
            json!("global-sidecar"),
            "spec.module[0].name: global-sidecar is the name of another component; choose another, such as lazyload",
        ),
        (
            "/module/0/general/wormholePort",
            json!(["http"]),
            "spec.module[0].general.wormholePort[0]: expected a port number from 1 to 65535, got \"http\"",
        ),
        (
            "/module/0/general/globalSidecarMode",
            json!("namespace"),
            "spec.module[0].general.namespace: expected the namespaces that get a global-sidecar, got none; list at least one",
        ),
        (
            "/module/0/general",
            json!({"globalSidecarMode": "namespace", "namespace": ["default", "istio-system"]}),
            "spec.module[0].general.namespace[1]: \"istio-system\" is Istio's root namespace, whose EnvoyFilters reach every proxy; use \
             cluster mode for that",
        ),
        (
            "/module/0/general",
            json!({"globalSidecarMode": "namespace", "namespace": ["default", "shop", "default"]}),
            "spec.module[0].general.namespace[2]: \"default\" occurs twice; remove one",
        ),
        (
            "/module/0/general",
            json!({"globalSidecarMode": "namespace", "namespace": ["Shop"]}),
            "spec.module[0].general.namespace[0]: expected a namespace: at most 63 lower-case letters, digits and '-', not beginning or \
             ending with '-', got \"Shop\"",
        ),
        (
            "/namespace",
            json!("mesh_operator"),
            "spec.namespace: expected a namespace: at most 63 lower-case letters, digits and '-', not beginning or ending with '-'; got \
             \"mesh_operator\"",
        ),
        (
            "/module/0/name",
            json!("lazyload-accesslog-source"),
            "spec.module[0].name: lazyload-accesslog-source is the name of another component; choose another, such as lazyload",
        ),
        (
            "/module/0/bundle",
            json!({}),
            "spec.module[0]: a bundle of modules is not supported yet; remove bundle and mode",
        ),
        (
            "/module/0/global/misc/enableLeaderElection",
            json!("always"),
            "spec.module[0].global.misc.enableLeaderElection: expected true or false, got \"always\"",
        ),
        (
            "/module/0/general/managementSelectors",
            json!([{"matchExpressions": [{"key": "team", "operator": "Is"}]}]),
            "spec.module[0].general.managementSelectors[0].matchExpressions[0].operator: expected In, NotIn, Exists or DoesNotExist, got \"Is\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "cluster": "b", "domains": ["x.com"]}, {"name": "a", "cluster": "c", "domains": ["y.com"]}]),
            "spec.module[0].general.dispatches[1].name: \"a\" names two dispatches; choose another",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "cluster": "b", "domains": ["x.com"]}, {"name": "c", "cluster": "b", "domains": ["X.com"]}]),
            "spec.module[0].general.dispatches[1].domains: \"X.com\" occurs twice; keep it in one dispatch",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "cluster": "PassthroughCluster"}]),
            "spec.module[0].general.dispatches[0].domains: expected at least one domain, or domainRegex, got nothing",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"]}]),
            "spec.module[0].general.dispatches[0].cluster: expected a cluster, got nothing",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"], "cluster": "{{ .Values.foo }}"}]),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": .Values.foo is not set in the SlimeBoot's spec",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"], "cluster": "{{ upper .Values.namespace }}"}]),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": expected a string, a number, .Values.KEY, print, default or parentheses, got upper",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"], "cluster": "outbound|80|egress.x.svc.cluster.local"}]),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": expected DIRECTION|PORT|SUBSET|HOST, such as outbound|80||egress.example.svc.cluster.local, got \"outbound|80|egress.x.svc.cluster.local\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"], "cluster": "outbound|http||egress.x.svc.cluster.local"}]),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": expected DIRECTION|PORT|SUBSET|HOST, such as outbound|80||egress.example.svc.cluster.local, got \"outbound|http||egress.x.svc.cluster.local\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.com"], "cluster": "two words"}]),
            "spec.module[0].general.dispatches[0].cluster: dispatch \"a\": expected the name of a cluster, got \"two words\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["x.*.com"], "cluster": "c"}]),
            "spec.module[0].general.dispatches[0].domains[0]: expected a host, *.HOST, HOST.* or *, with one '*' at most, got \"x.*.com\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["https://x.com/"], "cluster": "c"}]),
            "spec.module[0].general.dispatches[0].domains[0]: expected a host, *.HOST, HOST.* or *, without scheme and path, got \"https://x.com/\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": [""], "cluster": "c"}]),
            "spec.module[0].general.dispatches[0].domains[0]: expected text that is not empty, got \"\"",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domains": ["*"], "cluster": "c"}, {"name": "b", "domains": ["*"], "cluster": "c"}]),
            "spec.module[0].general.dispatches[1].domains: \"*\" occurs twice; keep it in one dispatch",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "a", "domainRegex": "(", "cluster": "c"}]),
            "spec.module[0].general.dispatches[0].domainRegex: expected a regular expression (RE2 syntax), got \"(\": unclosed group",
        ),
        (
            "/module/0/general/dispatches",
            json!([{"name": "to b", "domains": ["x.com"], "cluster": "c"}]),
            "spec.module[0].general.dispatches[0].name: expected a name without white space, got \"to b\"",
        ),
        (
            "/module/0/general/proxyVersion",
            json!("1.["),
            "spec.module[0].general.proxyVersion: expected a regular expression (RE2 syntax), got \"1.[\": unclosed character class",
        ),
        (
            "/component/globalSidecar/type",
            json!("clustered"),
            "spec.component.globalSidecar.type: expected cluster or namespace, got \"clustered\"",
        ),
        (
            "/component/globalSidecar/sidecarInject",
            json!(null),
            "spec.component.globalSidecar.sidecarInject.enable: expected true, got nothing; the global-sidecar works only with an injected \
             proxy, so set it to true",
        ),
        (
            "/component/globalSidecar/sidecarInject/mode",
            json!("namespace"),
            "spec.component.globalSidecar.sidecarInject.mode: expected pod, got \"namespace\"; in cluster mode the namespace of the \
             controller is not injected as a whole, so set it to pod",
        ),
        (
            "/component/globalSidecar/probePort",
            json!(9080),
            "spec.component.globalSidecar.probePort: 9080 is also a wormhole port; choose another port for probes, such as 20000",
        ),
        (
            "/component/globalSidecar/port",
            json!(15021),
            "spec.component.globalSidecar: port 15021 belongs to Istio's proxy in the same pod; leave it out of wormholePort, port and \
             probePort",
        ),
    ] {
        let error = read(&with(pointer, value)).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_value_of_a_pod_is_checked_against_its_kubernetes_type() {
    let error = read(&with("/volumes", json!([{"hostPath": "x"}]))).unwrap_err().to_string();
    assert!(error.starts_with("spec.volumes: expected a list of volumes, each with a name: "), "{error}");
}

#[test]
fn a_second_module_is_refused_and_none_is_nothing_to_do() {
    let module = json!({"name": "lazyload", "enable": true});
    let error = read(&with("/module", json!([module, module]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.module[1]: a second module of kind lazyload besides spec.module[0] is not supported yet; disable one of them"
    );
    let reading = read(&with("/module", json!([]))).unwrap();
    assert_eq!(objects(&reading), Vec::<Value>::new());
    assert_eq!(reading.warnings, ["no entry of spec.module has enable: true, so there is nothing to install"]);
}

#[test]
fn without_a_global_sidecar_only_the_controller_is_installed() {
    let reading = read(&with("/component", json!(null))).unwrap();
    let kinds: Vec<_> = objects(&reading).iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Service", "Deployment"]);
}

#[test]
fn an_unknown_setting_is_a_warning() {
    let reading = read(&with("/module/0/general/wormholePorts", json!(["1"]))).unwrap();
    assert_eq!(
        reading.warnings,
        ["general.wormholePorts is not a known setting and has no effect; did you mean general.wormholePort?"]
    );
}

#[test]
fn a_misspelt_key_of_the_component_is_a_warning_with_the_nearest_known_one() {
    for (pointer, warning) in [
        (
            "/component/globalSidecars",
            "spec.component.globalSidecars is not a known setting and has no effect; did you mean spec.component.globalSidecar?",
        ),
        (
            "/component/globalSidecar/replica",
            "spec.component.globalSidecar.replica is not a known setting and has no effect; did you mean spec.component.globalSidecar.replicas?",
        ),
        (
            "/component/globalSidecar/sidecarInject/label",
            "spec.component.globalSidecar.sidecarInject.label is not a known setting and has no effect; did you mean spec.component.globalSidecar.sidecarInject.labels?",
        ),
        ("/module/0/globl", "globl is not a known setting and has no effect; did you mean global?"),
    ] {
        assert_eq!(read(&with(pointer, json!({"a": "b"}))).unwrap().warnings, [warning]);
    }
}

#[test]
fn only_a_setting_that_takes_a_restart_rolls_the_controller() {
    let annotation = |pointer: &str, value: Value| {
        let installation = read(&with(pointer, value)).unwrap().installation.unwrap();
        let objects = lazyload_logic::boot::desired_objects(&installation);
        let named = |object: &&Value| object["kind"] == "Deployment" && object["metadata"]["name"] == "lazyload";
        let template = &objects.iter().find(named).unwrap()["spec"]["template"];
        template["metadata"]["annotations"]["lazyload.slime.io/config-checksum"].as_str().unwrap().to_owned()
    };
    let before = annotation("/module/0/general", json!({"wormholePort": ["9080"]}));
    for safe in [
        json!({"wormholePort": ["9080", "80"]}),
        json!({"autoFence": true, "defaultFence": true, "whiteNamespaceList": "a", "stableHost": ["a.b"], "domainAliases": []}),
        json!({"managementSelectors": [{}], "fenceLabelKeyAlias": "app", "enableShortDomain": true}),
    ] {
        assert_eq!(annotation("/module/0/general", safe.clone()), before, "{safe}");
    }
    assert_eq!(annotation("/module/0/global/log", json!({"logLevel": "debug"})), before);
    let handlers = json!({"h": {"query": "sum(x{app=\"$source_app\"})by(request_host)"}});
    for (pointer, value) in [
        ("/module/0/general/clusterGsNamespace", json!("gs")),
        ("/module/0/metric", json!({"prometheus": {"address": "http://p", "handlers": handlers}})),
        ("/module/0/global/misc/aux-addr", json!(":9081")),
        ("/module/0/global/istioRev", json!("1-19")),
        ("/namespace", json!("elsewhere")),
    ] {
        assert_ne!(annotation(pointer, value), before, "{pointer}");
    }
}

#[test]
fn a_cluster_that_istio_does_not_make_is_a_warning() {
    let reading =
        read(&with("/module/0/general/dispatches", json!([{"name": "a", "domains": ["x.com"], "cluster": "b"}])))
            .unwrap();
    assert_eq!(
        reading.warnings,
        [
            "spec.module[0].general.dispatches[0].cluster: \"b\" is no cluster that Istio makes; requests get 503 unless something else adds it \
          to the proxies"
        ]
    );
}
