//! What may be granted at all, in whichever way lazyload is installed.

use serde_json::Value;

use super::program::helm;
use crate::apiserver::cluster::documents;
use crate::support::process::run;
use crate::support::{binary, repository};

/// What is printed, and by what.
fn printed() -> Vec<(String, Vec<Value>)> {
    let mut printed =
        vec![("install-yaml".to_owned(), documents(&run(binary::lazyload(), &["install-yaml"]).unwrap()))];
    let golden = repository().join("crates/logic/tests/boot/golden");
    for case in std::fs::read_dir(golden).unwrap() {
        let given = case.unwrap().path().join("given.yaml").display().to_string();
        let rendered = run(binary::lazyload(), &["render", "-f", &given]).unwrap();
        printed.push((given, documents(&rendered)));
    }
    if let Some(helm) = helm("rights") {
        let chart = repository().join("charts/lazyload").display().to_string();
        printed.push(("chart".to_owned(), documents(&run(helm, &["template", "lazyload", &chart]).unwrap())));
    }
    printed
}

fn texts<'a>(rule: &'a Value, key: &str) -> Vec<&'a str> {
    rule[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// What is wrong with a rule.
fn excess(rule: &Value) -> Vec<&str> {
    let mut excess = Vec::new();
    for key in ["apiGroups", "resources", "verbs", "nonResourceURLs", "resourceNames"] {
        excess.extend(texts(rule, key).into_iter().filter(|text| text.contains('*')));
    }
    excess.extend(texts(rule, "nonResourceURLs"));
    excess.extend(texts(rule, "resources").into_iter().filter(|it| it.starts_with("secrets") || it.contains("/exec")));
    excess.extend(texts(rule, "verbs").into_iter().filter(|verb| ["bind", "escalate", "impersonate"].contains(verb)));
    excess
}

#[test]
fn no_role_has_a_wildcard_or_reads_secrets_or_hands_on_more_than_it_has() {
    let mut roles = 0;
    for (source, objects) in printed() {
        for role in objects.iter().filter(|it| it["kind"] == "Role" || it["kind"] == "ClusterRole") {
            roles += 1;
            assert!(role["aggregationRule"].is_null(), "{source}: {role}");
            for rule in role["rules"].as_array().unwrap() {
                assert_eq!(excess(rule), Vec::<&str>::new(), "{source}: {}: {rule}", role["metadata"]["name"]);
            }
        }
    }
    assert!(roles > 20, "{roles}");
}

#[test]
fn each_binding_gives_a_role_of_ours_to_one_account_of_ours() {
    let mut bindings = 0;
    for (source, objects) in printed() {
        let there =
            |kind: &str, name: &Value| objects.iter().any(|it| it["kind"] == kind && it["metadata"]["name"] == *name);
        for binding in objects.iter().filter(|it| it["kind"].as_str().unwrap().ends_with("RoleBinding")) {
            bindings += 1;
            let role = &binding["roleRef"];
            assert!(there(role["kind"].as_str().unwrap(), &role["name"]), "{source}: {binding}");
            let subjects = binding["subjects"].as_array().unwrap();
            assert_eq!(subjects.len(), 1, "{source}: {binding}");
            assert_eq!(subjects[0]["kind"], "ServiceAccount", "{source}: {binding}");
            // There the account is the user's: serviceAccount.create is false.
            let users_own = source.contains("names_and_namespaces_are_the_users");
            assert!(users_own || there("ServiceAccount", &subjects[0]["name"]), "{source}: {binding}");
        }
    }
    assert!(bindings > 20, "{bindings}");
}
