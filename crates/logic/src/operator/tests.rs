//! The operator on a cluster in memory: whatever happens in whatever order, nobody is ever sent to what is not there.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use lazyload_api::names;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Event, Injection, Key, Operator, Outcome};
use crate::boot::IstioVersion;
use crate::types::ObjectRef;
use world::{World, targets};

fn spec(general: &Value) -> Value {
    json!({
        "image": {"repository": "example/lazyload"},
        "module": [{"name": "lazyload", "enable": true, "general": general}],
        "component": {"globalSidecar": {"enable": true, "sidecarInject": {"enable": true}}},
    })
}

fn cluster(ports: &[u16]) -> Value {
    spec(&json!({"wormholePort": ports}))
}

fn finding(cleanup: bool) -> Value {
    spec(&json!({"wormholePort": [9080], "autoPort": true, "cleanupWormholePort": cleanup}))
}

fn namespaces(namespaces: &[&str]) -> Value {
    spec(&json!({"wormholePort": [9080], "globalSidecarMode": "namespace", "namespace": namespaces}))
}

#[test]
fn nothing_is_sent_to_a_global_sidecar_that_is_not_there_yet() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.run();
    assert_eq!(world.acts[0], "add the finalizer ");
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    assert_eq!(world.condition("lazyload", "Ready")["reason"], "Waiting");
    assert_eq!(world.condition("lazyload", "Progressing")["status"], "True");
    world.roll_out();
    world.run();
    assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    let ready = world.condition("lazyload", "Ready");
    assert_eq!(
        (ready["status"].clone(), ready["reason"].clone(), ready["observedGeneration"].clone()),
        (json!("True"), json!("Installed"), json!(1))
    );
    let acts = world.acts.len();
    world.converge();
    assert_eq!(world.acts.len(), acts, "silence costs nothing");
}

#[test]
fn a_deleted_slime_boot_takes_the_redirection_first_and_everything_else_after_a_while() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.remove("lazyload");
    world.run();
    world.roll_out();
    world.acts.clear();
    world.run();
    assert_eq!(world.acts[..2], ["widen the Sidecars of fences ", "remove the Sidecars of fences "]);
    assert_eq!(world.acts[2], "delete EnvoyFilter istio-system/to-global-sidecar");
    assert!(world.acts[3..].iter().all(|act| !act.starts_with("delete")), "{:?}", world.acts);
    world.now += Duration::from_secs(6);
    world.run();
    assert_eq!(world.names(), BTreeSet::new());
    assert!(world.boots.is_empty());
    let deployment = world.acts.iter().position(|act| act == "delete Deployment mesh-operator/global-sidecar").unwrap();
    let account =
        world.acts.iter().position(|act| act == "delete ServiceAccount mesh-operator/global-sidecar").unwrap();
    assert!(deployment < account);
}

#[test]
fn before_the_fallback_goes_the_controller_ends_and_the_sidecars_of_its_fences_go_in_stages() {
    let disabled = {
        let mut spec = cluster(&[9080]);
        spec["module"][0]["enable"] = json!(false);
        spec
    };
    let ends: [&dyn Fn(&mut World); 2] =
        [&|world| world.remove("lazyload"), &|world| world.boot("lazyload", &disabled)];
    for end in ends {
        let mut world = World::new();
        world.boot("lazyload", &cluster(&[9080]));
        world.converge();
        world.controllers_write();
        end(&mut world);
        world.acts.clear();
        world.run();
        assert_eq!(world.acts, ["delete Deployment mesh-operator/lazyload", "write the status "]);
        let waiting = world.condition("lazyload", "Ready");
        assert_eq!(
            (&waiting["reason"], &waiting["message"]),
            (&json!("Removing"), &json!("Deployment mesh-operator/lazyload is being deleted"))
        );
        // Its pods have ended. A round that finds nothing to do ends the widening.
        world.controllers_write();
        world.roll_out();
        world.acts.clear();
        world.run();
        let widen = "widen the Sidecars of fences ";
        assert_eq!(world.acts, [widen, widen, "write the status "]);
        assert!(world.sidecars[""].wide);
        // An operator that begins anew does not know since when they are wide.
        world.restart();
        world.run();
        assert_eq!(world.sidecars.len(), 1);
        world.now += Duration::from_secs(6);
        world.acts.clear();
        world.run();
        assert_eq!(world.acts, ["remove the Sidecars of fences "]);
        assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
        world.now += Duration::from_secs(6);
        world.run();
        assert_eq!(world.acts[1], "delete EnvoyFilter istio-system/to-global-sidecar");
        world.converge();
        assert_eq!(world.names(), BTreeSet::new());
        assert!(world.sidecars.is_empty());
    }
}

#[test]
fn sidecars_that_another_slime_boots_controller_looks_after_are_left_to_it() {
    let of = |revision: &str, namespace: &str| {
        let mut spec = namespaces(&[namespace]);
        spec["module"][0]["name"] = json!(format!("lazyload-{revision}"));
        spec["module"][0]["kind"] = json!("lazyload");
        spec["module"][0]["global"] = json!({"istioRev": revision, "strictRev": true});
        spec
    };
    let mut world = World::new();
    world.boot("first", &of("a", "shop"));
    world.boot("second", &of("b", "bank"));
    world.converge();
    world.controllers_write();
    // What it looked after counts, and not what is said last.
    world.boot("first", &of("b", "shop"));
    world.remove("first");
    world.converge();
    assert_eq!(world.sidecars.keys().collect::<Vec<_>>(), ["b"]);
    assert!(!world.sidecars["b"].wide);
    assert_eq!(world.condition("second", "Ready")["status"], "True");
    world.remove("second");
    world.converge();
    assert!(world.sidecars.is_empty() && world.store.is_empty());
}

#[test]
fn sidecars_that_cannot_be_changed_keep_the_fallback_and_the_condition_says_so() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.controllers_write();
    world.remove("lazyload");
    world.run();
    world.roll_out();
    let refused = Outcome::Failed("sidecars.networking.istio.io is forbidden (403)".to_owned());
    let action = world.operator.next(world.now()).unwrap();
    assert_eq!(action.act.name(), "widen the Sidecars of fences");
    world.hear(Event::Finished(Box::new(action), refused));
    world.run();
    let degraded = world.condition("lazyload", "Degraded");
    assert_eq!((&degraded["status"], &degraded["reason"]), (&json!("True"), &json!("Failed")));
    assert_eq!(degraded["message"], "Sidecars of fences: sidecars.networking.istio.io is forbidden (403)");
    assert!(world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    world.now += Duration::from_secs(1);
    world.converge();
    assert!(world.boots.is_empty() && world.sidecars.is_empty());
}

#[test]
fn a_controller_without_a_lease_is_gone_before_one_with_a_lease_begins() {
    let of = |election: &str| {
        let mut spec = cluster(&[9080]);
        spec["module"][0]["global"] = json!({"misc": {"enableLeaderElection": election}});
        spec["replicaCount"] = json!(if election == "on" { 2 } else { 1 });
        spec
    };
    let controller = Key::new("Deployment", "mesh-operator", "lazyload").unwrap();
    let mut world = World::new();
    let strategy = |world: &World| world.store[&controller]["spec"]["strategy"]["type"].clone();
    world.boot("lazyload", &of("off"));
    world.converge();
    assert_eq!(strategy(&world), "Recreate");
    world.boot("lazyload", &of("on"));
    world.run();
    assert_eq!(world.store[&controller]["spec"]["replicas"], 2);
    assert_eq!(strategy(&world), "Recreate", "the old pods go first");
    // Also for an operator that knows nothing of what it began.
    world.restart();
    world.run();
    assert_eq!(strategy(&world), "Recreate");
    world.acts.clear();
    world.converge();
    assert_eq!(strategy(&world), "RollingUpdate");
    let writes = |world: &World| world.acts.iter().filter(|act| **act == format!("apply {controller}")).count();
    assert_eq!(writes(&world), 1);
    world.acts.clear();
    world.boot("lazyload", &of("off"));
    world.converge();
    assert_eq!(
        (strategy(&world), writes(&world)),
        (json!("Recreate"), 1),
        "the other way Kubernetes ends the old ones first"
    );
}

#[test]
fn what_kubernetes_reports_in_annotations_causes_no_write_and_what_a_user_writes_there_does() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let key = Key::new("Deployment", "mesh-operator", "lazyload").unwrap();
    let mut annotated = |annotation: &str, subresource: &str| {
        let fields = json!({"f:metadata": {"f:annotations": {".": {}, (format!("f:{annotation}")): {}}}});
        let object = world.store.get_mut(&key).unwrap();
        object["metadata"]["annotations"] = json!({annotation: "1"});
        object["metadata"]["managedFields"] = json!([{"manager": "m", "subresource": subresource, "fieldsV1": fields}]);
        let object = object.clone();
        world.hear(Event::Applied(Box::new(object)));
        world.now += Duration::from_secs(3);
        world.acts.clear();
        world.run();
        world.acts.clone()
    };
    assert_eq!(annotated("deployment.kubernetes.io/revision", "status"), Vec::<String>::new());
    assert_eq!(annotated("deployment.kubernetes.io/revision", ""), ["apply Deployment mesh-operator/lazyload"]);
}

#[test]
fn rights_that_the_operator_lacks_are_told_and_what_works_without_them_goes_on() {
    let mut world = World::new();
    let lacks = "missing rights: create events.events.k8s.io in all namespaces (without: there are no Events)";
    world.hear(Event::Lacks(Some(lacks.to_owned())));
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let ready = world.condition("lazyload", "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("MissingRights")));
    assert_eq!(ready["message"], format!("{lacks}. Besides: everything is there and runs"));
    assert_eq!(world.condition("lazyload", "Degraded")["status"], "True");
    assert_eq!(world.news.last().map(|news| news.warning), Some(true));
    world.hear(Event::Lacks(None));
    world.converge();
    assert_eq!(world.condition("lazyload", "Ready")["reason"], "Installed");
    assert_eq!(world.condition("lazyload", "Degraded")["status"], "False");
}

#[test]
fn an_operator_that_may_not_see_everything_says_so_and_changes_nothing() {
    let mut world = World::new();
    world.operator = Operator::default();
    let kinds: Vec<&'static str> =
        world.operator.unlisted().iter().copied().filter(|kind| *kind != "Service").collect();
    kinds.into_iter().for_each(|kind| world.hear(Event::Listed(kind)));
    world.boot("lazyload", &cluster(&[9080]));
    world.run();
    assert_eq!(world.acts, Vec::<String>::new(), "it may only take its time");
    world.hear(Event::Lacks(Some("missing rights: list services in all namespaces".to_owned())));
    world.run();
    assert_eq!(world.acts, ["write the status "]);
    let ready = world.condition("lazyload", "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("MissingRights")));
    assert_eq!(ready["message"], "missing rights: list services in all namespaces. Nothing is changed before");
    world.hear(Event::Lacks(None));
    world.hear(Event::Listed("Service"));
    world.converge();
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
}

#[test]
fn a_namespace_that_does_not_ask_for_injection_is_warned_of_until_it_does() {
    let mut world = World::new();
    let mut spec = namespaces(&["shop", "bank"]);
    world.boot("lazyload", &spec);
    assert!(!world.operator.watches_namespaces(), "its pods ask for themselves");
    spec["component"]["globalSidecar"]["sidecarInject"]["mode"] = json!("namespace");
    world.boot("lazyload", &spec);
    assert!(world.operator.watches_namespaces());
    let warnings = |world: &mut World| {
        world.converge();
        let warnings = world.boots["lazyload"]["status"]["warnings"].as_array().unwrap().clone();
        warnings.iter().map(|it| it.as_str().unwrap().split(',').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.hear(Event::Namespace("shop".into(), Some(Injection::Unsaid)));
    world.hear(Event::Namespace("other".into(), Some(Injection::Unsaid)));
    assert_eq!(warnings(&mut world), Vec::<String>::new(), "not all are heard of");
    world.hear(Event::Namespace("bank".into(), Some(Injection::Refused)));
    world.hear(Event::NamespacesListed);
    assert_eq!(
        warnings(&mut world),
        [
            "namespace shop has neither the label istio-injection=enabled nor istio.io/rev",
            "namespace bank has the label istio-injection=disabled"
        ]
    );
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
    world.hear(Event::Namespace("shop".into(), Some(Injection::Wanted)));
    world.hear(Event::Namespace("bank".into(), None));
    assert_eq!(warnings(&mut world), Vec::<String>::new());
}

#[test]
fn filters_fit_the_oldest_istio_that_is_found_and_one_that_is_too_old_is_refused() {
    let istiod = |world: &mut World, name: &str, version: Option<&str>| {
        let version = version.map(|version| IstioVersion::parse(version).unwrap());
        let (namespace, name) = name.split_once('/').unwrap();
        world.hear(Event::Istiod(ObjectRef::new(namespace, name), version));
    };
    let redirection = Key::new("EnvoyFilter", "istio-system", "to-global-sidecar").unwrap();
    let has = |world: &World, text: &str| world.store[&redirection].to_string().contains(text);
    let mut world = World::new();
    istiod(&mut world, "istio-system/istiod", Some("1.12.4"));
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert!(world.store.is_empty());
    let ready = world.condition("lazyload", "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("UnsupportedIstio")));
    let message = ready["message"].as_str().unwrap();
    assert!(message.starts_with("Deployment istio-system/istiod: expected Istio 1.13 or later"), "{message}");

    istiod(&mut world, "istio-system/istiod", Some("1.31.0"));
    istiod(&mut world, "istio-system/istiod-old", Some("1.14.1"));
    istiod(&mut world, "elsewhere/istiod", Some("1.9.1"));
    world.converge();
    assert!(has(&world, "\"append\":false") && has(&world, "LuaPerRoute") && !has(&world, "%ENVIRONMENT"));
    istiod(&mut world, "istio-system/istiod-old", None);
    world.converge();
    assert!(has(&world, "append_action") && has(&world, "%ENVIRONMENT") && !has(&world, "Lua"));
    // One that became too old changes nothing that works.
    let before = world.store.clone();
    istiod(&mut world, "istio-system/istiod", Some("1.12.4"));
    world.converge();
    assert_eq!((&world.store, &world.condition("lazyload", "Degraded")["status"]), (&before, &json!("True")));
    let mut said = cluster(&[9080]);
    said["istioVersion"] = json!("1.31");
    world.boot("lazyload", &said);
    world.converge();
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True", "its user knows better");
    world.boot("lazyload", &cluster(&[9080]));
    world.remove("lazyload");
    world.converge();
    assert!(world.store.is_empty(), "what is removed needs no version");
}

#[test]
fn a_controller_of_another_name_starts_when_the_old_one_has_ended() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    world.controllers_write();
    let mut renamed = cluster(&[9080]);
    renamed["module"][0]["name"] = json!("other");
    renamed["module"][0]["kind"] = json!("lazyload");
    world.boot("lazyload", &renamed);
    world.run();
    assert!(
        world.store[&Key::new("Deployment", "mesh-operator", "lazyload").unwrap()]["metadata"]["deletionTimestamp"]
            .is_string()
    );
    assert!(!world.names().contains("Deployment mesh-operator/other"));
    world.converge();
    assert!(world.names().contains("Deployment mesh-operator/other"));
    assert!(!world.sidecars[""].wide, "it goes on where the old one was");
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
}

#[test]
fn a_new_port_is_served_before_it_is_used_and_an_old_one_until_nobody_uses_it() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080, 7000]));
    world.converge();
    world.boot("lazyload", &cluster(&[9080, 8000]));
    world.run();
    let redirection = Key::new("EnvoyFilter", "istio-system", "to-global-sidecar").unwrap();
    let ports =
        |world: &World| targets(&world.store[&redirection]).into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    assert_eq!(ports(&world), [80, 7000, 9080]);
    world.roll_out();
    world.run();
    assert_eq!(ports(&world), [80, 8000, 9080]);
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    assert!(world.store[&service].to_string().contains("7000"));
    world.now += Duration::from_secs(6);
    world.run();
    assert!(!world.store[&service].to_string().contains("7000"));
}

#[test]
fn a_found_port_is_served_before_it_is_used_and_one_that_goes_until_nobody_uses_it() {
    let mut world = World::new();
    world.boot("lazyload", &finding(true));
    world.declares("shop/web", &[7000]);
    world.converge();
    let redirection = Key::new("EnvoyFilter", "istio-system", "to-global-sidecar").unwrap();
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    let ports =
        |world: &World| targets(&world.store[&redirection]).into_iter().map(|(port, _)| port).collect::<Vec<_>>();
    assert_eq!(ports(&world), [80, 9080], "not all is heard of yet");
    let waiting = world.condition("lazyload", "Ready")["message"].clone();
    assert!(waiting.as_str().unwrap().starts_with("the list of all Service objects and"), "{waiting}");

    world.all_is_declared();
    world.acts.clear();
    world.converge();
    assert_eq!(ports(&world), [80, 7000, 9080]);
    assert!(!world.acts.iter().any(|act| act.contains("Deployment")), "no new pod for a port: {:?}", world.acts);
    assert_eq!(world.boots["lazyload"]["status"]["autoPort"], json!({"ports": ["7000: shop/web"], "leftOut": []}));
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");

    world.restart();
    world.converge();
    assert_eq!(ports(&world), [80, 7000, 9080], "nothing goes before all is heard of");
    world.all_is_declared();
    world.declares("shop/web", &[7001]);
    world.run();
    assert_eq!(ports(&world), [80, 7001, 9080]);
    assert!(world.store[&service].to_string().contains("7000"), "proxies may still use it");
    world.now += Duration::from_secs(6);
    world.run();
    assert!(!world.store[&service].to_string().contains("7000"));

    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert_eq!(ports(&world), [80, 9080]);
    assert_eq!(world.boots["lazyload"]["status"].get("autoPort"), None);
}

#[test]
fn found_ports_only_grow_also_over_a_restart_before_everything_is_heard_of() {
    let mut world = World::new();
    world.boot("lazyload", &finding(false));
    world.all_is_declared();
    world.declares("shop/web", &[7000]);
    world.converge();
    world.restart();
    world.converge();
    world.all_is_declared();
    world.converge();
    let service = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    assert!(world.store[&service].to_string().contains("7000"));
    let told = world.boots["lazyload"]["status"]["autoPort"]["ports"].clone();
    assert_eq!(told, json!(["7000: declared no more"]));
}

#[test]
fn what_is_changed_or_deleted_by_hand_is_repaired_and_a_lost_label_too() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let before = world.store.clone();
    let key = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    world.store.get_mut(&key).unwrap()["spec"]["ports"] = json!([]);
    let edited = world.store[&key].clone();
    world.hear(Event::Applied(Box::new(edited)));
    world.now += Duration::from_secs(3);
    world.run_unchecked();
    world.store.get_mut(&key).unwrap()["metadata"]["labels"] = json!({});
    world.hear(Event::Gone(key.clone()));
    let deleted = Key::new("ConfigMap", "mesh-operator", "lazyload").unwrap();
    world.store.remove(&deleted);
    world.hear(Event::Gone(deleted.clone()));
    world.now += Duration::from_secs(3);
    world.converge();
    assert_eq!(world.store[&key]["spec"], before[&key]["spec"]);
    assert_eq!(world.store[&key]["metadata"]["labels"], before[&key]["metadata"]["labels"]);
    assert_eq!(world.store[&deleted]["data"], before[&deleted]["data"]);
}

#[test]
fn somebody_elses_object_is_never_touched_and_nothing_is_sent_meanwhile() {
    let mut world = World::new();
    let key = Key::new("Service", "mesh-operator", "global-sidecar").unwrap();
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "mesh-operator", "name": "global-sidecar", "uid": "u"}});
    world.store.insert(key.clone(), theirs.clone());
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert_eq!(world.store[&key], theirs);
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
    let degraded = world.condition("lazyload", "Degraded");
    assert_eq!((degraded["status"].clone(), degraded["reason"].clone()), (json!("True"), json!("Occupied")));
    assert!(
        degraded["message"].as_str().unwrap().starts_with("Service mesh-operator/global-sidecar is there already"),
        "{degraded}"
    );
    world.store.remove(&key);
    world.now += Duration::from_secs(60);
    world.converge();
    assert_eq!(world.condition("lazyload", "Ready")["status"], "True");
}

#[test]
fn a_mistake_changes_nothing_and_is_told_by_its_path() {
    let mut world = World::new();
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    let before = world.store.clone();
    world.boot("lazyload", &spec(&json!({"wormholePort": ["http"]})));
    world.converge();
    assert_eq!(world.store, before);
    let ready = world.condition("lazyload", "Ready");
    assert_eq!(ready["reason"], "Invalid");
    assert_eq!(ready["observedGeneration"], 2);
    assert!(
        ready["message"].as_str().unwrap().starts_with("spec.module[0].general.wormholePort[0]: expected a port"),
        "{ready}"
    );
    assert_eq!(world.news.last().unwrap().reason, "Invalid");
    assert!(world.news.last().unwrap().warning);
}

#[test]
fn of_two_that_would_fight_the_second_waits_and_begins_when_the_first_is_gone() {
    let mut world = World::new();
    world.boot("first", &cluster(&[9080]));
    world.converge();
    let mut second = namespaces(&["shop"]);
    second["module"][0]["name"] = json!("second");
    second["module"][0]["kind"] = json!("lazyload");
    world.boot("second", &second);
    world.converge();
    let degraded = world.condition("second", "Degraded");
    assert_eq!(degraded["reason"], "Conflict");
    let message = degraded["message"].as_str().unwrap();
    assert!(
        message.contains("EnvoyFilter istio-system/to-global-sidecar") && message.contains("mesh-operator/first"),
        "{message}"
    );
    assert!(!world.names().contains("Deployment shop/global-sidecar"));
    world.remove("first");
    world.converge();
    assert_eq!(world.condition("second", "Ready")["status"], "True");
    assert!(world.names().contains("EnvoyFilter shop/to-global-sidecar"));
    assert!(!world.names().contains("EnvoyFilter istio-system/to-global-sidecar"));
}

#[test]
fn two_that_share_nothing_live_side_by_side() {
    let mut world = World::new();
    world.boot("first", &namespaces(&["shop"]));
    let mut second = namespaces(&["bank"]);
    second["module"][0]["name"] = json!("second");
    second["module"][0]["kind"] = json!("lazyload");
    world.boot("second", &second);
    world.converge();
    for boot in ["first", "second"] {
        assert_eq!(world.condition(boot, "Ready")["status"], "True", "{boot}");
    }
    world.remove("first");
    world.converge();
    assert!(world.store.values().all(|object| object["metadata"]["labels"][names::SLIME_BOOT_LABEL] == "second"));
    assert_eq!(world.condition("second", "Ready")["status"], "True");
}

/// What may happen.
#[derive(Clone, Debug)]
enum Happening {
    Says(usize),
    RollsOut,
    Passes(u64),
    Acts(usize),
    Restarts,
    IsRemoved,
    ControllersWrite,
    Declares(Vec<u16>),
    HasDeclared,
}

fn specs() -> Vec<Value> {
    let dispatches = json!([{"name": "sohu", "domains": ["*.sohu.com"], "cluster": "_GLOBAL_SIDECAR"}, {"name": "rest", "domains": ["*"], "cluster": "PassthroughCluster"}]);
    let mut with_port = cluster(&[9080]);
    with_port["component"]["globalSidecar"]["port"] = json!(8888);
    let mut elsewhere = cluster(&[9080]);
    elsewhere["module"][0]["general"]["clusterGsNamespace"] = json!("gateways");
    let mut renamed = cluster(&[9080]);
    renamed["module"][0]["name"] = json!("other");
    renamed["module"][0]["kind"] = json!("lazyload");
    let mut elected = cluster(&[9080]);
    elected["module"][0]["global"] = json!({"misc": {"enableLeaderElection": "on"}});
    let mut none = cluster(&[9080]);
    none["module"][0]["enable"] = json!(false);
    let mut measured = spec(&json!({"wormholePort": [9080], "metricSourceType": "prometheus"}));
    measured["module"][0]["metric"] = json!({"prometheus": {
        "address": "http://prometheus.istio-system:9090", "handlers": {"destination": {"query": "up", "type": "Group"}},
    }});
    vec![
        cluster(&[9080]),
        cluster(&[9080, 7000]),
        finding(true),
        finding(false),
        cluster(&[]),
        with_port,
        elsewhere,
        renamed,
        elected,
        none,
        spec(&json!({"wormholePort": [80], "dispatches": dispatches})),
        measured,
        namespaces(&["shop"]),
        namespaces(&["shop", "bank"]),
        namespaces(&["bank", "mesh-operator"]),
        spec(&json!({"wormholePort": ["wrong"]})),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..specs().len()).prop_map(Happening::Says),
        3 => Just(Happening::RollsOut),
        2 => (1_u64..7).prop_map(Happening::Passes),
        6 => (1_usize..30).prop_map(Happening::Acts),
        1 => Just(Happening::Restarts),
        1 => Just(Happening::IsRemoved),
        2 => prop::collection::vec(7000_u16..7003, 0..3).prop_map(Happening::Declares),
        3 => Just(Happening::ControllersWrite),
        1 => Just(Happening::HasDeclared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_nobody_is_sent_to_what_is_not_there_and_in_the_end_there_is_what_was_said_last(
        happenings in prop::collection::vec(happening(), 1..16), last in 0..specs().len() - 1
    ) {
        let specs = specs();
        let mut world = World::new();
        for happening in happenings {
            match happening {
                Happening::Says(one) => world.boot("lazyload", &specs[one]),
                Happening::RollsOut => world.roll_out(),
                Happening::Passes(seconds) => world.now += Duration::from_secs(seconds),
                Happening::Acts(count) => {
                    for _ in 0..count {
                        world.step();
                    }
                }
                Happening::IsRemoved => world.remove("lazyload"),
                Happening::Restarts => world.restart(),
                Happening::Declares(ports) => world.declares("shop/web", &ports),
                Happening::ControllersWrite => world.controllers_write(),
                Happening::HasDeclared => world.all_is_declared(),
            }
        }
        world.all_is_declared();
        // One that is being deleted goes first.
        world.converge();
        world.converge();
        world.boot("lazyload", &specs[last]);
        world.converge();
        world.converge();
        let spec: lazyload_api::slime_boot::SlimeBootSpec = serde_json::from_value(specs[last].clone()).unwrap();
        let wanted = crate::boot::read(&spec).unwrap().installation;
        let wanted: BTreeSet<String> =
            wanted.iter().flat_map(crate::boot::desired_objects).filter_map(|body| Some(Key::of(&body)?.to_string())).collect();
        prop_assert_eq!(world.names(), wanted);
        prop_assert_eq!(&world.condition("lazyload", "Ready")["status"], "True");
        world.controllers_write();
        world.remove("lazyload");
        world.converge();
        world.converge();
        prop_assert_eq!(world.names(), BTreeSet::new());
        prop_assert!(world.boots.is_empty() && world.sidecars.is_empty());
    }
}
