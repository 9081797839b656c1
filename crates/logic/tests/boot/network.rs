use std::collections::BTreeSet;
use std::path::Path;

use lazyload_logic::boot::read;
use serde_json::{Value, json};

use crate::given::objects;

/// What each golden SlimeBoot stands for, with network policies.
fn cases() -> Vec<(String, Vec<Value>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boot/golden");
    let cases = std::fs::read_dir(golden).unwrap().map(|case| {
        let path = case.unwrap().path();
        let text = String::from_utf8(std::fs::read(path.join("given.yaml")).unwrap()).unwrap();
        let mut boot: Value = serde_saphyr::from_str(&text).unwrap();
        let default = objects(&read(&serde_json::from_value(boot["spec"].clone()).unwrap()).unwrap());
        assert!(default.iter().all(|it| it["kind"] != "NetworkPolicy"), "not asked for: {}", path.display());
        boot["spec"]["networkPolicy"] = json!(true);
        let objects = objects(&read(&serde_json::from_value(boot["spec"].clone()).unwrap()).unwrap());
        (path.display().to_string(), objects)
    });
    cases.collect()
}

fn selects(policy: &Value, labels: &Value) -> bool {
    let wanted = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
    wanted.iter().all(|(key, value)| labels[key] == *value)
}

/// The ports that a rule lets in; nothing means all.
fn ports(rule: &Value) -> Option<BTreeSet<u64>> {
    rule["ports"].as_array().map(|ports| ports.iter().map(|port| port["port"].as_u64().unwrap()).collect())
}

/// Every port of a Deployment's pods, by name where it has one, those of probes included.
fn listening(deployment: &Value) -> Vec<(String, u64)> {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let named = container["ports"].as_array().unwrap().iter();
    let mut all: Vec<(String, u64)> = named
        .map(|port| (port["name"].as_str().unwrap_or_default().to_owned(), port["containerPort"].as_u64().unwrap()))
        .collect();
    all.extend(container["readinessProbe"]["httpGet"]["port"].as_u64().map(|port| ("probe".to_owned(), port)));
    all
}

#[test]
fn every_port_of_every_pod_is_let_in_by_the_one_policy_that_selects_it() {
    let mut seen = 0;
    for (case, objects) in cases() {
        let policies: Vec<&Value> = objects.iter().filter(|it| it["kind"] == "NetworkPolicy").collect();
        let by_access_log = objects.iter().any(|it| it["metadata"]["name"] == "global-sidecar-accesslog");
        let mut used = 0;
        for deployment in objects.iter().filter(|it| it["kind"] == "Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            let namespace = &deployment["metadata"]["namespace"];
            let of_it: Vec<_> = policies
                .iter()
                .filter(|policy| policy["metadata"]["namespace"] == *namespace && selects(policy, labels))
                .collect();
            assert_eq!(of_it.len(), 1, "{case}: {}", deployment["metadata"]["name"]);
            used += 1;
            let rules = of_it[0]["spec"]["ingress"].as_array().unwrap();
            for (name, port) in listening(deployment) {
                // A kubelet and a Prometheus are nobody whom a selector knows.
                let for_anybody = ["probe", "aux-port", "http-metrics"].contains(&name.as_str());
                let let_in = rules.iter().any(|rule| {
                    (rule["from"].is_null() || !for_anybody) && ports(rule).is_none_or(|ports| ports.contains(&port))
                });
                // Without global-sidecar the controller hears nobody but other controllers; with Prometheus it does not listen there.
                let closed = name == "log-source-port" && !by_access_log;
                assert!(let_in || closed, "{case}: {name} {port} of {}", deployment["metadata"]["name"]);
                seen += 1;
            }
        }
        assert_eq!(used, policies.len(), "{case}: a policy for nothing");
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn access_logs_come_from_global_sidecars_and_other_controllers_only() {
    for (case, objects) in cases() {
        let find = |kind: &str, name: &str| {
            let found = objects.iter().filter(|it| it["kind"] == kind && it["metadata"]["name"] == name);
            found.collect::<Vec<_>>()
        };
        let places: Vec<&Value> =
            find("Deployment", "global-sidecar").into_iter().map(|it| &it["metadata"]["namespace"]).collect();
        if find("EnvoyFilter", "global-sidecar-accesslog").is_empty() {
            continue;
        }
        let controller =
            objects.iter().find(|it| it["kind"] == "Deployment" && it["metadata"]["name"] != "global-sidecar");
        let controller = &controller.unwrap()["metadata"]["name"];
        let policy = find("NetworkPolicy", controller.as_str().unwrap())[0];
        let from = policy["spec"]["ingress"][1]["from"].as_array().unwrap();
        assert_eq!(from[0], json!({"podSelector": {"matchLabels": {"app": controller}}}), "{case}");
        let mut expected: Vec<Value> = places
            .iter()
            .map(|namespace| {
                json!({
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "podSelector": {"matchLabels": {"app": "global-sidecar"}},
                })
            })
            .collect();
        // Where callers tell what they call, every workload may.
        let told_by_callers = find("ClusterRole", &format!("{}.mesh-operator", controller.as_str().unwrap()))
            .iter()
            .any(|role| role["rules"].to_string().contains("envoyfilters"));
        expected.extend(told_by_callers.then(|| json!({"namespaceSelector": {}})));
        assert_eq!(from[1..], expected, "{case}");
    }
}
