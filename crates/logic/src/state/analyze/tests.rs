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
    for object in objects {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }
    for kind in Kind::ALL {
        state.on(Event::Listed(kind), NOW);
    }
    let findings = state.analyze(1);
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
    let mut objects = vec![service("mesh-operator", "global-sidecar"), service("default", "a"), pod(), fence];
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
        assert_eq!(codes(&general, &objects), [code], "{objects:#?}");
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
    objects.push(service("default", "b"));
    assert_eq!(codes(&json!({}), &objects), Vec::<&str>::new());
    objects.push(json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"namespace": "istio-system", "name": "all"},
        "spec": {"rules": [{"from": [{"source": {"namespaces": ["default"]}}]}]}}));
    assert_eq!(codes(&json!({}), &objects), ["LZ109"]);
}

#[test]
fn every_code_is_explained_in_the_reference() {
    let reference = include_str!("../../../../../docs/reference/findings.md");
    for code in Code::ALL {
        let line = format!("| `{}` | {} |", code.name(), code.severity().name());
        assert!(reference.contains(&line), "{line}");
    }
}
