//! What users are told.

use super::*;
use crate::boot::IstioVersion;
use crate::operator::{Injection, Operator};
use crate::types::ObjectRef;

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
fn a_slime_boot_without_a_global_sidecar_is_told_what_that_means() {
    let mut world = World::new();
    let mut spec = cluster(&[9080]);
    spec["component"]["globalSidecar"]["enable"] = json!(false);
    world.boot("lazyload", &spec);
    world.converge();
    let warnings = &world.boots["lazyload"]["status"]["warnings"];
    assert!(warnings[0].as_str().unwrap().starts_with("component.globalSidecar.enable is not true: "), "{warnings}");
    world.boot("lazyload", &cluster(&[9080]));
    world.converge();
    assert_eq!(world.boots["lazyload"]["status"]["warnings"], json!([]));
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
