//! The answers of the seed's example and of what goes wrong with it.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::convert;
use crate::settings::{Context, resolve};
use crate::state::Event;
use crate::state::history::{Moment, Names, What};
use crate::types::{Kind, Now};

const NOW: Now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };

fn state(general: &Value, objects: &[Value]) -> State {
    let (mut state, _) = State::new(resolve(&json!({"general": general}), &Context::default()).unwrap().settings);
    for object in objects {
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), NOW);
    }
    for kind in Kind::ALL {
        state.on(Event::Listed(kind), NOW);
    }
    state
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": name}, "spec": {"selector": {"app": name}}})
}

fn host(name: &str) -> String {
    format!("{name}.default.svc.cluster.local")
}

/// Productpage calls details and what lies behind reviews, declares ratings, and has called a host that the mesh does not know.
fn example() -> State {
    let status = json!({
        "domains": {
            host("details"): {"hosts": [host("details")]}, host("reviews"): {"hosts": [host("reviews"), host("reviews-v2")]},
            host("ratings"): {"hosts": [host("ratings")]}, "x.example": {"external": true},
        },
        "metricStatus": {
            "{destination_service=\"details\"}": "2", "{destination_service=\"reviews\"}": "1", "{destination_service=\"x.example\"}": "1",
        },
    });
    state(
        &json!({"autoFence": true, "wormholePort": ["9080"]}),
        &[
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"slime.io/serviceFenced": "true"}}}),
            service("productpage"),
            service("details"),
            service("reviews"),
            service("ratings"),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "productpage-1", "labels": {"app": "productpage"}},
                "spec": {"containers": []}, "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"namespace": "default", "name": "reviews"},
                "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews-v2"}}]}]}}),
            json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                "metadata": {"namespace": "default", "name": "productpage", "uid": "u", "labels": {"app.kubernetes.io/created-by": "fence-controller"}},
                "spec": {"enable": true, "workloadSelector": {"fromService": true}, "host": {"ratings": {}}}, "status": status}),
            json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
                "metadata": {"namespace": "default", "name": "productpage", "ownerReferences": [
                    {"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "productpage", "uid": "u", "controller": true}]},
                "spec": {"workloadSelector": {"labels": {"app": "productpage"}},
                    "egress": [{"hosts": [format!("*/{}", host("details")), format!("*/{}", host("reviews")), format!("*/{}", host("reviews-v2")), "istio-system/*", "mesh-operator/*"]}]}}),
        ],
    )
}

fn ask(state: &State, workload: &str, host: &str) -> HostExplained {
    let explained = state.explain(&ObjectRef::new("default", workload), Some(host), 1).unwrap();
    assert_eq!(explained.hosts.len(), 1);
    explained.hosts.into_iter().next().unwrap()
}

fn causes(explained: &HostExplained) -> Vec<(&str, &str, Option<&str>)> {
    explained.causes.iter().map(|cause| (cause.kind, cause.what.as_str(), cause.by.as_deref())).collect()
}

#[test]
fn each_host_of_a_sidecar_has_its_entry_and_what_brought_it_in() {
    let state = example();
    let details = ask(&state, "productpage", "details");
    assert_eq!(
        (details.host.clone(), details.way, details.entries.clone()),
        (host("details"), Way::Direct, vec![format!("*/{}", host("details"))])
    );
    let called = "called as details; status.metricStatus.{destination_service=\"details\"}: 2";
    assert_eq!(causes(&details), [("learned", called, None)]);

    let behind = ask(&state, "productpage", "reviews-v2.default.svc.cluster.local");
    let called = "called as reviews; status.metricStatus.{destination_service=\"reviews\"}: 1";
    let by = format!("routes of {}", host("reviews"));
    assert_eq!((behind.way, causes(&behind)), (Way::Direct, vec![("learned", called, Some(by.as_str()))]));

    let own = ask(&state, "productpage", "mesh-operator/*");
    assert_eq!((own.way, own.causes[0].kind), (Way::Direct, "settings"));
}

#[test]
fn a_host_that_is_not_there_says_what_would_bring_it_in() {
    let state = example();
    let coming = ask(&state, "productpage", "ratings");
    assert_eq!((coming.way, causes(&coming)), (Way::Coming, vec![("static", "spec.host.\"ratings\"", None)]));
    assert_eq!(ask(&state, "productpage", "x.example").way, Way::External);
    let unknown = ask(&state, "productpage", "gone");
    assert_eq!((unknown.way, unknown.causes.len()), (Way::Fallback, 0));
    assert_eq!(unknown.advice[0], "there is no Service default/gone now");
    assert!(unknown.advice[1].contains("wormholePort (9080)"), "{:?}", unknown.advice);
    assert!(
        unknown.advice.iter().any(|advice| advice.contains("patch servicefence productpage")),
        "{:?}",
        unknown.advice
    );
}

#[test]
fn a_port_on_which_a_call_would_pass_the_mesh_by_is_named() {
    let mut objects = vec![service("global-sidecar"), service("b")];
    objects[0]["metadata"]["namespace"] = json!("mesh-operator");
    objects[1]["spec"]["ports"] = json!([{"name": "http", "port": 8000}, {"name": "http-too", "port": 9080}]);
    objects.push(json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
        "metadata": {"namespace": "default", "name": "a", "uid": "u"}, "spec": {"enable": true}}));
    objects.push(json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
        "metadata": {"namespace": "default", "name": "a", "ownerReferences": [
            {"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "name": "a", "uid": "u", "controller": true}]},
        "spec": {"workloadSelector": {"labels": {"app": "a"}}, "egress": [{"hosts": ["istio-system/*"]}]}}));
    let advice = ask(&state(&json!({"wormholePort": ["9080"]}), &objects), "a", "b").advice;
    assert!(advice.iter().any(|it| it.contains("a call on port 8000 passes the mesh by")), "{advice:?}");
}

#[test]
fn workloads_are_found_by_their_pods_and_what_is_not_fenced_says_why() {
    let state = example();
    let by_pod = state.explain(&ObjectRef::new("default", "productpage-1"), None, 1).unwrap();
    assert_eq!(
        (by_pod.fence.as_str(), by_pod.pods, by_pod.sidecar.as_deref()),
        ("default/productpage", 1, Some("default/productpage"))
    );
    assert_eq!(by_pod.why, "automatic: namespace default has the label slime.io/serviceFenced=true");
    // All that matters to it: what is in, and what is not.
    let ways: Vec<_> = by_pod.hosts.iter().map(|it| (it.host.as_str(), it.way)).collect();
    assert!(
        ways.contains(&("x.example", Way::External)) && ways.contains(&("istio-system/*", Way::Direct)),
        "{ways:?}"
    );
    let unfenced = state.explain(&ObjectRef::new("default", "details"), Some("ratings"), 1).unwrap();
    assert!(!unfenced.fenced && unfenced.sidecar.is_none());
    assert_eq!(unfenced.hosts[0].way, Way::Direct);
    assert!(state.explain(&ObjectRef::new("default", "nobody"), None, 1).is_none());
}

#[test]
fn every_entry_that_no_fence_asks_for_has_a_setting_for_its_cause() {
    let fence = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence", "metadata": {"namespace": "default", "name": "a"},
        "spec": {"enable": true}});
    let general = json!({"globalSidecarMode": "namespace", "namespace": ["default"], "stableHost": ["x.example"]});
    let state = state(&general, &[fence]);
    for (host, setting) in [
        ("global-sidecar", "general.globalSidecarMode, its global-sidecar"),
        ("x.example", "general.stableHost"),
        ("istio-system/*", "global.istioNamespace"),
        ("mesh-operator/*", "global.slimeNamespace"),
    ] {
        let host = if host == "global-sidecar" { self::host(host) } else { host.to_owned() };
        let what = format!("{setting}: every Sidecar has it");
        assert_eq!(causes(&ask(&state, "a", &host)), [("settings", what.as_str(), None)]);
    }
}

fn moment(at: i64, what: What) -> Moment {
    Moment { at: Some(at), what }
}

#[test]
fn what_a_controller_remembers_says_since_when_a_host_is_in_scope_and_by_which_request() {
    let mut state = example();
    let id = ObjectRef::new("default", "productpage");
    assert_eq!(ask(&state, "productpage", "details").causes[0].since, None, "nobody was asked");
    let called = |host: String, written: &str| What::Called {
        host,
        written: written.into(),
        caller: "default/productpage-1".into(),
        verified: true,
    };
    let routed = Names::of([format!("*/{}", host("details")).as_str()]);
    let sidecar = What::Sidecar { is_new: false, announced: Names::default(), routed, unrouted: Names::default() };
    let forgotten = What::Forgotten { key: crate::ledger::evidence_key("details"), asked: true };
    state.recall(
        &id,
        [
            moment(5, called(host("details"), "details.default")),
            moment(6, forgotten),
            moment(7, called(host("details"), "details")),
            moment(9, sidecar),
        ],
    );
    let details = ask(&state, "productpage", "details");
    let what = "default/productpage-1 called it as details, by its certificate".to_owned();
    assert_eq!(details.causes[0].since, Some(Since { at: Some(7), what }), "the last time that it was learned");
    assert_eq!(details.routed_since, Some(9));
    let reviews = ask(&state, "productpage", "reviews");
    let what = "it was learned before the controller began".to_owned();
    assert_eq!((reviews.routed_since, reviews.causes[0].since.clone()), (None, Some(Since { at: None, what })));
}

#[test]
fn what_a_fence_declares_is_no_older_than_the_fence() {
    let mut fence = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
        "metadata": {"namespace": "default", "name": "a", "creationTimestamp": "1970-01-01T00:01:40Z"},
        "spec": {"enable": true, "host": {"x.example": {}}}});
    let since = |fence: &Value| {
        let state = state(&json!({}), std::slice::from_ref(fence));
        ask(&state, "a", "x.example").causes[0].since.as_ref().and_then(|since| since.at)
    };
    assert_eq!(since(&fence), Some(100));
    fence["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    assert_eq!(since(&fence), None, "a folder's fences have no times");
}
