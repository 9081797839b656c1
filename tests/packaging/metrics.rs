//! The metrics that are documented, and so those that alerts and dashboards ask for, are those of the code, with the same labels.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::program::promtool;
use crate::support::process::run;
use crate::support::repository;

/// Where metrics are registered.
const REGISTRIES: [&str; 3] = [
    "crates/lazyload/src/admin/metrics.rs",
    "crates/lazyload/src/admin/prometheus.rs",
    "crates/lazyload/src/forward/metrics.rs",
];
/// What Grafana shows.
const DASHBOARDS: [&str; 3] = ["dashboard.json", "dashboard-fallback.json", "dashboard-fences.json"];
/// Labels that Prometheus adds, and the one of histograms.
const ADDED: [&str; 3] = ["namespace", "pod", "le"];

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The tables of one chapter of the reference: names with their labels.
fn documented(chapter: &str) -> BTreeMap<String, BTreeSet<String>> {
    let reference = read("docs/reference/metrics.md");
    let (_, text) = reference.split_once(&format!("\n## {chapter}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let first_cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let names =
        first_cells.flat_map(|cell| cell.split(", ")).filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
    let parsed = names.map(|name| {
        let (name, labels) = name.strip_suffix('}').and_then(|name| name.split_once('{')).unwrap_or((name, ""));
        (name.to_owned(), labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect())
    });
    parsed.collect()
}

fn all_documented() -> BTreeMap<String, BTreeSet<String>> {
    let (stable, unstable) = (documented("Stable"), documented("Unstable"));
    assert!(stable.len() > 10 && unstable.len() > 30, "{stable:?} {unstable:?}");
    assert!(stable.keys().all(|name| !unstable.contains_key(name)), "a metric is stable or not");
    stable.into_iter().chain(unstable).collect()
}

/// As it is registered: a counter is shown with an ending that is not written there.
fn registered(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

#[test]
fn the_metrics_that_are_told_and_those_that_are_documented_are_the_same() {
    let mut told = BTreeSet::new();
    for file in REGISTRIES {
        let code = read(file);
        let code = code.split("mod tests {").next().unwrap();
        let texts = code.split('"').skip(1).step_by(2);
        let is_name = |text: &&str| {
            text.starts_with("lazyload_") && text.chars().all(|char| char.is_ascii_lowercase() || char == '_')
        };
        told.extend(texts.filter(is_name).map(str::to_owned));
    }
    let documented: BTreeSet<String> = all_documented().keys().map(|name| registered(name).to_owned()).collect();
    assert_eq!(told.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "told, and not documented");
    assert_eq!(documented.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "documented, and not told");
}

/// Each metric in a query with the labels that it is narrowed down or grouped by.
fn asked(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let starts = query.match_indices("lazyload_").map(|(at, _)| at);
    let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    let grouped: BTreeSet<String> = grouped.flat_map(|labels| labels.split(", ")).map(str::to_owned).collect();
    starts
        .map(|at| {
            let rest = &query[at..];
            let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
            let labels = selector.split(',').filter_map(|matcher| matcher.split(['=', '!']).next());
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned);
            (name.to_owned(), labels.chain(grouped.iter().cloned()).collect())
        })
        .collect()
}

fn queries_of_dashboards() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    let mut identities = BTreeSet::new();
    for file in DASHBOARDS {
        let dashboard: Value = serde_json::from_str(&read(&format!("charts/lazyload/files/{file}"))).unwrap();
        assert!(
            identities.insert(dashboard["uid"].as_str().unwrap().to_owned()),
            "Grafana keeps one of two of the same"
        );
        let panels = dashboard["panels"].as_array().unwrap();
        assert!(panels.len() > 5, "{file}");
        for panel in panels {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                queries.push((format!("{file}: {title}"), target["expr"].as_str().unwrap().to_owned()));
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = variable["query"].as_str().unwrap();
            if let Some(metric) = query.strip_prefix("label_values(").and_then(|rest| rest.split(',').next()) {
                queries.push((format!("{file}: its namespaces"), metric.to_owned()));
            }
        }
    }
    queries
}

fn queries_of_alerts() -> Vec<(String, String)> {
    let alerts: Value = serde_saphyr::from_str(&read("charts/lazyload/files/alerts.yaml")).unwrap();
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    rules
        .iter()
        .map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn alerts_and_dashboards_ask_only_for_what_exists() {
    let documented = all_documented();
    let queries: Vec<_> = queries_of_alerts().into_iter().chain(queries_of_dashboards()).collect();
    assert!(queries.len() > 60, "{}", queries.len());
    for (place, query) in queries {
        let asked = asked(&query);
        assert!(!asked.is_empty(), "{place}: {query}");
        for (name, labels) in asked {
            let known = documented.get(name.strip_suffix("_bucket").unwrap_or(&name));
            let known = known.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
            let unknown: Vec<_> =
                labels.iter().filter(|label| !known.contains(*label) && !ADDED.contains(&label.as_str())).collect();
            assert!(unknown.is_empty(), "{place}: {name} has no label {unknown:?}");
        }
    }
}

#[test]
fn prometheus_understands_every_query_of_a_dashboard() {
    let Some(promtool) = promtool("prometheus_understands_every_query_of_a_dashboard") else { return };
    let mut rules = "groups:\n- name: dashboards\n  rules:\n".to_owned();
    for (number, (_, query)) in queries_of_dashboards().iter().enumerate() {
        // As Grafana fills them in.
        let query = query.replace("$namespace", "mesh-operator").replace("$__rate_interval", "2m");
        rules += &format!("  - record: query_{number}\n    expr: {}\n", Value::from(query));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dashboards.yaml");
    std::fs::write(&file, rules).unwrap();
    run(promtool, &["check".to_owned(), "rules".to_owned(), file.display().to_string()]).unwrap();
}
