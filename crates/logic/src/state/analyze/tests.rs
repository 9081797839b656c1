//! Each finding in the smallest mesh that has it, and none in one that is as it should be.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::convert;
use crate::settings::{Context, resolve};
use crate::state::Event;
use crate::types::{Kind, Now};

const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };

fn codes(general: &Value, objects: &[Value]) -> Vec<&'static str> {
    let (mut state, _) = State::new(resolve(&json!({"general": general}), &Context::default()).unwrap().settings);
    let (peers, objects): (Vec<Value>, Vec<Value>) =
        objects.iter().cloned().partition(|object| object["kind"] == "PeerAuthentication");
    for object in &objects {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }
    for kind in Kind::ALL {
        state.on(Event::Listed(kind), NOW);
    }
    let findings = state.analyze(&PeerAuthentications::of(&peers), 1);
    assert!(findings.iter().all(|it| !it.message.is_empty() && !it.remedy.is_empty() && !it.object.is_empty()));
    findings.iter().map(|finding| finding.code.name()).collect()
}

fn service(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": name}, "spec": {"selector": {"app": name}}})
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "a-1", "labels": {"app": "a"}},
        "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}})
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn fence(spec: Value, domains: Value) -> Value {
    json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "metadata": {"namespace": "default", "name": "a", "uid": "u"},
        "spec": spec, "status": {"domains": domains}})
}

fn sidecar(name: &str, owner: Option<&str>, hosts: &[&str]) -> Value {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": name, "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"namespace": "default", "name": name, "ownerReferences": owners},
        "spec": {"workloadSelector": {"labels": {"app": "a"}}, "egress": [{"hosts": hosts}]}})
}

const OWN: [&str; 2] = ["istio-system/*", "mesh-operator/*"];

/// A mesh in which nothing is wrong, with other objects in the place of its fence and Sidecar.
fn mesh(fence: Value, sidecars: Vec<Value>) -> Vec<Value> {
    let services = [("mesh-operator", "global-sidecar"), ("default", "a"), ("default", "b")];
    let mut objects: Vec<Value> = services.map(|(namespace, name)| service(namespace, name)).into();
    objects.extend([pod(), fence]);
    objects.extend(sidecars);
    objects
}

#[test]
fn in_a_mesh_that_is_as_it_should_be_nothing_is_found() {
    let host = "b.default.svc.cluster.local";
    let objects = mesh(
        fence(json!({"enable": true}), json!({host: {"hosts": [host]}})),
        vec![sidecar("a", Some("u"), &["istio-system/*", "mesh-operator/*", "*/b.default.svc.cluster.local"])],
    );
    assert_eq!(codes(&json!({}), &objects), Vec::<&str>::new());
}

#[test]
fn each_thing_that_is_wrong_has_its_code() {
    let enabled = json!({"enable": true});
    let own = || sidecar("a", Some("u"), &OWN);
    let cases = [
        ("LZ101", json!({}), mesh(fence(enabled.clone(), json!({})), vec![sidecar("a", None, &OWN)])),
        ("LZ102", json!({}), mesh(fence(enabled.clone(), json!({})), vec![own(), sidecar("users", None, &OWN)])),
        ("LZ106", json!({}), mesh(fence(json!({"enable": true, "host": {"a_b.c": {}}}), json!({})), vec![own()])),
        ("LZ107", json!({}), mesh(fence(enabled.clone(), json!({"b.c.d": {"hosts": ["b.c.d"]}})), vec![own()])),
        ("LZ108", json!({}), mesh(fence(enabled.clone(), json!({"x.example": {"external": true}})), vec![own()])),
        ("LZ110", json!({}), mesh(fence(json!({"enable": false}), json!({})), vec![])),
        (
            "LZ113",
            json!({}),
            mesh(
                fence(json!({"enable": true, "host": {"beta.default.svc.cluster.local": {}}}), json!({})),
                vec![own()],
            ),
        ),
        (
            "LZ114",
            json!({}),
            mesh(fence(json!({"enable": false}), json!({"gone.default.svc.cluster.local": {}})), vec![]),
        ),
        (
            "LZ111",
            json!({"fenceMode": "recommend"}),
            mesh(fence(enabled.clone(), json!({"b.c.d": {"hosts": ["b.c.d"]}})), vec![]),
        ),
        (
            "LZ002",
            json!({"domainAliases": [{"pattern": "(", "templates": ["x"]}]}),
            mesh(fence(enabled.clone(), json!({})), vec![own()]),
        ),
        (
            "LZ105",
            json!({"globalSidecarMode": "namespace", "namespace": ["shop"]}),
            mesh(fence(enabled.clone(), json!({})), vec![]),
        ),
    ];
    for (code, general, objects) in cases {
        let mut found = codes(&general, &objects);
        // That fence is switched off, so that nothing is wrong with its Sidecar.
        found.retain(|found| code != "LZ114" || *found != "LZ110");
        assert_eq!(found, [code], "{objects:#?}");
    }
}

#[test]
fn what_is_missing_around_a_fence_is_found() {
    let enabled = || fence(json!({"enable": true}), json!({}));
    let own = || sidecar("a", Some("u"), &OWN);
    assert_eq!(codes(&json!({}), &[pod(), enabled(), own()]), ["LZ001"]);
    assert_eq!(codes(&json!({}), &[service("mesh-operator", "global-sidecar"), enabled(), own()]), ["LZ104"]);
    let from_service = fence(json!({"enable": true, "workloadSelector": {"fromService": true}}), json!({}));
    assert_eq!(codes(&json!({}), &[service("mesh-operator", "global-sidecar"), from_service]), ["LZ103"]);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    let general = json!({"autoFence": true, "defaultFence": true});
    assert_eq!(codes(&general, &[namespace, service("default", "a")]), ["LZ003"]);
}

#[test]
fn break_glass_is_found_once_where_it_was_asked_for() {
    let fenced = || mesh(fence(json!({"enable": true}), json!({})), vec![]);
    for namespace in ["default", "mesh-operator"] {
        let mut objects = fenced();
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"lazyload.slime.io/break-glass": "on"}}}));
        assert_eq!(codes(&json!({}), &objects), ["LZ004"], "{namespace}");
    }
}

#[test]
fn a_mode_that_is_none_is_found() {
    let mut misspelt = fence(json!({"enable": true}), json!({}));
    misspelt["metadata"]["labels"] = json!({"lazyload.slime.io/mode": "observed"});
    assert_eq!(codes(&json!({}), &mesh(misspelt, vec![sidecar("a", Some("u"), &OWN)])), ["LZ106"]);
}

#[test]
fn a_first_call_that_a_policy_denies_is_found() {
    let host = "b.default.svc.cluster.local";
    let mut objects = mesh(
        json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "metadata": {"namespace": "default", "name": "a", "uid": "u"},
            "spec": {"enable": true}, "status": {"domains": {host: {"hosts": [host]}},
                "metricStatus": {"{destination_service=\"b.default.svc.cluster.local\"}": "1"}}}),
        vec![sidecar("a", Some("u"), &["istio-system/*", "mesh-operator/*", "*/b.default.svc.cluster.local"])],
    );
    assert_eq!(codes(&json!({}), &objects), Vec::<&str>::new());
    objects.push(json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"namespace": "istio-system", "name": "all"},
        "spec": {"rules": [{"from": [{"source": {"namespaces": ["default"]}}]}]}}));
    assert_eq!(codes(&json!({}), &objects), ["LZ109"]);
}

fn with_ports(namespace: &str, name: &str, ports: &Value) -> Value {
    let mut service = service(namespace, name);
    service["spec"]["ports"] = ports.clone();
    service
}

/// Of a mesh in which Service b has these ports, and a's Sidecar these hosts.
fn codes_with_ports(general: &Value, ports: &Value, hosts: &[&str]) -> Vec<&'static str> {
    let hosts: Vec<&str> = OWN.iter().chain(hosts).copied().collect();
    let mut objects = mesh(fence(json!({"enable": true}), json!({})), vec![sidecar("a", Some("u"), &hosts)]);
    objects.push(with_ports("default", "b", ports));
    objects.push(with_ports("mesh-operator", "global-sidecar", &json!([{"name": "http-80", "port": 80}])));
    codes(general, &objects)
}

#[test]
fn a_port_without_a_fallback_is_found_where_a_call_could_miss_it_and_nowhere_else() {
    let http = json!([{"name": "http", "port": 8000}]);
    let listed = json!({"wormholePort": ["9080"]});
    assert_eq!(codes_with_ports(&listed, &http, &[]), ["LZ005"]);
    assert_eq!(codes_with_ports(&json!({}), &json!([{"port": 7, "appProtocol": "grpc"}]), &[]), ["LZ005"]);
    let none: [&str; 0] = [];
    assert_eq!(codes_with_ports(&json!({"wormholePort": ["8000"]}), &http, &[]), none, "it is listed");
    assert_eq!(codes_with_ports(&json!({"autoPort": true}), &http, &[]), none, "the operator finds it");
    assert_eq!(
        codes_with_ports(&listed, &json!([{"name": "http", "port": 80}]), &[]),
        none,
        "the global-sidecar has it"
    );
    for host in ["*/b.default.svc.cluster.local", "./*", "default/*"] {
        assert_eq!(codes_with_ports(&listed, &http, &[host]), none, "no call of it needs a fallback: {host}");
    }
    for ports in [
        json!([{"name": "tcp", "port": 8000}]),
        json!([{"name": "redis", "port": 8000}]),
        json!([{"port": 8000}]),
        json!([{"name": "http", "port": 8000, "protocol": "UDP"}]),
    ] {
        assert_eq!(codes_with_ports(&listed, &ports, &[]), none, "{ports}");
    }
    // Where there is no global-sidecar, or no fence, another finding says so, or nobody asked.
    let lonely = [with_ports("default", "b", &http), service("mesh-operator", "global-sidecar")];
    assert_eq!(codes(&listed, &lonely), none);
    let elsewhere = mesh(fence(json!({"enable": true}), json!({})), vec![sidecar("a", Some("u"), &OWN)]);
    let elsewhere: Vec<Value> = elsewhere.into_iter().chain([with_ports("shop", "c", &http)]).collect();
    assert_eq!(codes(&listed, &elsewhere), none, "nothing tells that it is called");
}

#[test]
fn a_port_without_a_fallback_is_an_error_where_its_pods_take_mutual_tls_alone() {
    let mut objects = mesh(fence(json!({"enable": true}), json!({})), vec![sidecar("a", Some("u"), &OWN)]);
    objects.push(with_ports("default", "b", &json!([{"name": "http", "port": 8000}])));
    let of = |app: &str| {
        json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"namespace": "default", "name": app},
            "spec": {"selector": {"matchLabels": {"app": app}}, "mtls": {"mode": "STRICT"}}})
    };
    let mut pod_of_b = pod();
    (pod_of_b["metadata"]["name"], pod_of_b["metadata"]["labels"]["app"]) = (json!("b-1"), json!("b"));
    objects.extend([pod_of_b, of("a")]);
    assert_eq!(codes(&json!({}), &objects), ["LZ005"], "others are not asked");
    objects.push(of("b"));
    assert_eq!(codes(&json!({}), &objects), ["LZ006"]);
}

fn users_sidecar(namespace: &str, name: &str, labels: &Value, hosts: &[&str]) -> Value {
    let mut spec = json!({"egress": [{"hosts": hosts}]});
    if !labels.is_null() {
        spec["workloadSelector"] = json!({"labels": labels});
    }
    json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

#[test]
fn what_is_odd_about_users_sidecars_is_found_without_any_fence() {
    let of_pod = json!({"app": "a"});
    let user = |name: &str, labels: &Value, hosts: &[&str]| users_sidecar("default", name, labels, hosts);
    let entry = json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"namespace": "default", "name": "e"},
        "spec": {"hosts": ["known.example"]}});
    let good = [
        "*/*",
        "./*",
        "~/*",
        "shop/*",
        "*/b.default.svc.cluster.local",
        "default/b.default.svc.cluster.local",
        "*/known.example",
        "*/*.example",
    ];
    let cases = [
        (vec![user("x", &of_pod, &good), user("y", &Value::Null, &good)], vec![]),
        (vec![user("x", &Value::Null, &good), user("y", &json!({}), &good)], vec!["LZ201"]),
        (vec![user("x", &of_pod, &good), user("y", &of_pod, &good)], vec!["LZ202"]),
        (vec![user("x", &json!({"app": "nobody"}), &good)], vec!["LZ203"]),
        (vec![user("x", &of_pod, &["*/beta.default.svc.cluster.local"])], vec!["LZ204"]),
        (vec![user("x", &of_pod, &["shop/b.default.svc.cluster.local"])], vec!["LZ204"]),
        (vec![user("x", &of_pod, &["*/unknown.example"])], vec!["LZ204"]),
        (vec![users_sidecar("istio-system", "x", &of_pod, &good)], vec!["LZ205", "LZ203"]),
    ];
    for (sidecars, expected) in cases {
        let mut objects = vec![service("default", "a"), service("default", "b"), pod(), entry.clone()];
        objects.extend(sidecars);
        assert_eq!(codes(&json!({}), &objects), expected, "{objects:#?}");
    }
}

#[test]
fn fences_that_share_some_pods_are_found_once_and_those_of_which_one_rules_are_not() {
    let of = |name: &str, labels: &Value| {
        let mut fence = fence(json!({"enable": true, "workloadSelector": {"labels": labels}}), json!({}));
        fence["metadata"]["name"] = json!(name);
        let mut own = sidecar(name, Some("u"), &OWN);
        own["spec"]["workloadSelector"]["labels"] = labels.clone();
        [fence, own]
    };
    let with = |other: &Value| {
        let mut pod = pod();
        pod["metadata"]["labels"]["team"] = json!("x");
        let mut objects = vec![service("mesh-operator", "global-sidecar"), pod];
        objects.extend(of("a", &json!({"app": "a"})).into_iter().chain(of("other", other)));
        codes(&json!({}), &objects)
    };
    assert_eq!(with(&json!({"team": "x"})), ["LZ112"]);
    assert_eq!(with(&json!({"app": "a", "team": "x"})), Vec::<&str>::new());
}

#[test]
fn every_code_is_explained_in_the_reference() {
    let reference = include_str!("../../../../../docs/reference/findings.md");
    for code in Code::ALL {
        let line = format!("| `{}` | {} |", code.name(), code.severity().name());
        assert!(reference.contains(&line), "{line}");
    }
}
