//! The Helm chart: what it prints is what `lazyload install-yaml` prints, and its values do what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::program::helm;
use crate::apiserver::cluster::documents;
use crate::support::process::{run, run_with_input};
use crate::support::{binary, repository};

/// Every toggle on, and a SlimeBoot.
const EVERYTHING: &str = r#"
image: {tag: "9", pullPolicy: Never}
logLevel: debug
tolerations: [{operator: Exists}]
podDisruptionBudget: {enabled: true}
podMonitor: {enabled: true, labels: {release: monitoring}}
prometheusRule: {enabled: true}
dashboard: {enabled: true}
slimeBoot:
  enabled: true
  spec:
    module: [{name: lazyload, kind: lazyload, enable: true, general: {wormholePort: ["9080"]}}]
    component: {globalSidecar: {enable: true, sidecarInject: {enable: true, labels: {sidecar.istio.io/inject: "true"}}}}
"#;

fn chart() -> String {
    repository().join("charts/lazyload").display().to_string()
}

fn template(helm: &PathBuf, namespace: &str, values: &str, options: &[&str]) -> anyhow::Result<Vec<Value>> {
    let chart = chart();
    let arguments = [&["template", "lazyload", &chart, "-n", namespace, "-f", "-"], options].concat();
    Ok(documents(&run_with_input(helm, &arguments, values)?))
}

/// By kind, namespace and name.
fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"])
    };
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = helm("helm_finds_nothing_to_complain_of") else { return };
    for values in ["{}", EVERYTHING] {
        let linted = run_with_input(&helm, &["lint", "--strict", &chart(), "-f", "-"], values).unwrap();
        assert!(!linted.contains("[WARNING]") && !linted.contains("[ERROR]"), "{linted}");
    }
}

#[test]
fn the_chart_installs_what_install_yaml_prints() {
    let Some(helm) = helm("the_chart_installs_what_install_yaml_prints") else { return };
    let mut printed = by_name(documents(&run(binary::lazyload(), &["install-yaml"]).unwrap()));
    // Helm makes it.
    assert!(printed.remove(r#""Namespace" null "mesh-operator""#).is_some());
    let installed = template(&helm, "mesh-operator", "{}", &["--include-crds", "--no-hooks"]).unwrap();
    assert_eq!(by_name(installed), printed);
    let elsewhere = run(binary::lazyload(), &["install-yaml", "--namespace", "ops", "--image", "a/b:9"]).unwrap();
    let mut elsewhere = by_name(documents(&elsewhere));
    assert!(elsewhere.remove(r#""Namespace" null "ops""#).is_some());
    let values = "image: {repository: a/b, tag: \"9\"}";
    let installed = template(&helm, "ops", values, &["--include-crds", "--no-hooks"]).unwrap();
    assert_eq!(by_name(installed), elsewhere);
}

#[test]
fn every_toggle_adds_its_object_and_nothing_else_changes() {
    let Some(helm) = helm("every_toggle_adds_its_object_and_nothing_else_changes") else { return };
    let kinds = |objects: &BTreeMap<String, Value>| -> BTreeSet<String> { objects.keys().cloned().collect() };
    let few = by_name(template(&helm, "ops", "{}", &[]).unwrap());
    let all = by_name(template(&helm, "ops", EVERYTHING, &[]).unwrap());
    let more: Vec<String> = kinds(&all).difference(&kinds(&few)).cloned().collect();
    assert_eq!(
        more,
        [
            r#""ConfigMap" "ops" "lazyload-dashboard""#,
            r#""PodDisruptionBudget" "ops" "global-sidecar""#,
            r#""PodMonitor" "ops" "global-sidecar""#,
            r#""PodMonitor" "ops" "lazyload""#,
            r#""PrometheusRule" "ops" "lazyload""#,
            r#""SlimeBoot" "ops" "lazyload""#,
        ]
    );
    let boot = &all[r#""SlimeBoot" "ops" "lazyload""#]["spec"];
    assert_eq!(
        (&boot["namespace"], &boot["image"]["tag"], &boot["image"]["pullPolicy"]),
        (&"ops".into(), &"9".into(), &"Never".into())
    );
    let pod = &all[r#""Deployment" "ops" "slime-boot""#]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "docker.io/slimeio/slime-lazyload:9");
    assert_eq!(pod["containers"][0]["env"][0]["value"], "debug");
    assert_eq!(pod["tolerations"][0]["operator"], "Exists");
    // What the chart hands over is a SlimeBoot that can be installed.
    let text = all[r#""SlimeBoot" "ops" "lazyload""#].to_string();
    run_with_input(binary::lazyload(), &["render", "-f", "-"], &text).unwrap();
    let hooks = |objects: &BTreeMap<String, Value>| objects.keys().filter(|name| name.contains("Job")).count();
    let without = template(&helm, "ops", "{crds: {upgrade: false}, uninstall: {enabled: false}}", &[]).unwrap();
    assert_eq!((hooks(&few), hooks(&by_name(without))), (2, 0));
}

#[test]
fn a_wrong_value_is_refused_by_its_path() {
    let Some(helm) = helm("a_wrong_value_is_refused_by_its_path") else { return };
    for (values, path) in [
        ("logLevel: loud", "/logLevel"),
        ("slimeBoot: {enabled: true}", "/slimeBoot/spec"),
        ("slimeBoot: {enabled: true, spec: {module: []}}", "/slimeBoot/spec/module"),
        ("nonsense: 1", "nonsense"),
        ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
        ("uninstall: {timeoutSeconds: 1}", "/uninstall/timeoutSeconds"),
        ("podDisruptionBudget: {maxUnavailable: some}", "/podDisruptionBudget/maxUnavailable"),
    ] {
        let refused = template(&helm, "ops", values, &[]).unwrap_err().to_string();
        assert!(refused.contains(path), "{values}: {refused}");
    }
}
