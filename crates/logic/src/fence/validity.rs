//! What cannot be used of what the user wrote: each is left out, named in the condition `SpecValid`, and stops nothing else.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::service_fence::{Destinations, ServiceFenceSpec, Strategy};

use super::completion::complete_known;
use super::host::{BadHost, check_dependency, check_host};
use crate::index::Index;
use crate::types::ObjectRef;

/// Problems listed in full; of the rest only the number is told.
const LISTED: usize = 20;

/// What cannot be used of a fence's spec, one sentence each.
#[must_use]
pub fn spec_problems(id: &ObjectRef, spec: &ServiceFenceSpec, index: &Index) -> Vec<String> {
    let mut problems = Vec::new();
    for (host, strategy) in &spec.host {
        if let Err(bad) = check_dependency(&complete_known(host, &id.namespace, index)) {
            problems.push(format!("spec.host {host:?}: {bad}; it is left out"));
        } else if let Some(half) = strategy.as_ref().and_then(half_written) {
            problems.push(format!("spec.host {host:?}: {half}; until then it never expires"));
        }
    }
    for (position, namespace) in spec.namespace_selector.iter().enumerate() {
        if check_dependency(&format!("{namespace}/*")).is_err() {
            let expected = BadHost::Namespace;
            problems.push(format!("spec.namespaceSelector[{position}] {namespace:?}: {expected}; it is left out"));
        }
    }
    for (position, selector) in spec.label_selector.iter().enumerate() {
        if selector.selector.is_empty() {
            problems.push(format!(
                "spec.labelSelector[{position}].selector: expected at least one label, got none; it selects nothing"
            ));
        }
    }
    let selector = spec.workload_selector.as_ref();
    for (key, value) in selector.into_iter().flat_map(|selector| &selector.labels) {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            problems.push(format!(
                "spec.workloadSelector.labels {key:?}: expected a label without *, got {value:?}; Istio refuses the Sidecar for it"
            ));
        }
    }
    if selector.is_some_and(|selector| selector.from_service && !selector.labels.is_empty()) {
        problems.push(
            "spec.workloadSelector: expected labels or fromService, got both; fromService has no effect".to_owned(),
        );
    }
    let more = problems.len().saturating_sub(LISTED);
    if more > 0 {
        problems.truncate(LISTED);
        problems.push(format!("and {more} more"));
    }
    problems
}

/// What cannot be used of the settings' hosts, one sentence each.
#[must_use]
pub fn setting_problems(stable_hosts: &[String]) -> Vec<String> {
    let checked = stable_hosts.iter().enumerate().map(|(position, host)| (position, host, check_dependency(host)));
    let bad = checked.filter_map(|(position, host, checked)| {
        let bad = checked.err()?;
        Some(format!("general.stableHost[{position}] {host:?}: {bad}; it is left out"))
    });
    bad.collect()
}

/// What is missing of a strategy that was begun; `None` if it is complete, or not there at all.
fn half_written(strategy: &Strategy) -> Option<&'static str> {
    if strategy.stable.is_some() {
        return None;
    }
    if let Some(deadline) = &strategy.deadline {
        return deadline.expire.is_none().then_some("deadline: expected expire.seconds, got nothing");
    }
    let auto = strategy.auto.as_ref()?;
    if auto.duration.is_none() {
        return Some("auto: expected duration.seconds, got nothing");
    }
    strategy.recently_called.is_none().then_some("auto: expected RecentlyCalled.seconds beside it, got nothing")
}

/// Takes out of dependencies what Istio would refuse. Returns one sentence for each host that is neither in the spec, which tells of its
/// own, nor learned: an alias, or a destination of a route.
pub fn leave_out(
    domains: &mut BTreeMap<String, Destinations>,
    is_told_elsewhere: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut bad: BTreeSet<String> = BTreeSet::new();
    domains.retain(|dependency, destinations| {
        destinations.hosts.retain(|host| {
            let fits = check_host(host).is_ok();
            if !fits {
                bad.insert(host.clone());
            }
            fits
        });
        check_dependency(dependency).is_ok()
    });
    let told = bad.into_iter().filter(|host| !is_told_elsewhere(host));
    let sentence = |host: String| {
        let expected = check_host(&host).err()?;
        Some(format!("{host:?}, of an alias or a route: {expected}; it is left out"))
    };
    told.filter_map(sentence).take(LISTED).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(spec: serde_json::Value) -> Vec<String> {
        let spec = serde_json::from_value(spec).unwrap();
        spec_problems(&ObjectRef::new("default", "a"), &spec, &Index::default())
    }

    #[test]
    fn what_the_seed_prints_has_no_problem() {
        for spec in [
            json!({"enable": true}),
            json!({"enable": true, "host": {"reviews.default.svc.cluster.local": {"stable": null}, "test/*": {}}}),
            json!({"enable": true, "host": {"details.default.svc.cluster.local": {"stable": {}}}}),
            json!({"enable": true, "labelSelector": [{"selector": {"app": "details"}}]}),
            json!({"enable": true, "workloadSelector": {"fromService": true}}),
            json!({"host": {"a.b": {"auto": {"duration": {"seconds": 1}}, "RecentlyCalled": {"seconds": 1}}}}),
        ] {
            assert_eq!(problems(spec), Vec::<String>::new());
        }
    }

    #[test]
    fn each_problem_names_the_field_what_was_expected_and_what_becomes_of_it() {
        let found = problems(json!({
            "host": {"my_svc.default": {}, "details": {}, "half.b": {"deadline": {}}, "auto.b": {"auto": {}},
                "old.b": {"auto": {"duration": {"seconds": 1}}}},
            "namespaceSelector": ["ok", "a.b"], "labelSelector": [{"selector": {}}],
            "workloadSelector": {"labels": {"app": "a*"}, "fromService": true},
        }));
        let starts = [
            "spec.host \"auto.b\": auto: expected duration.seconds",
            "spec.host \"details\": expected a Service of that name",
            "spec.host \"half.b\": deadline: expected expire.seconds",
            "spec.host \"my_svc.default\": expected letters, digits and hyphens",
            "spec.host \"old.b\": auto: expected RecentlyCalled.seconds",
            "spec.namespaceSelector[1] \"a.b\": expected the name of a namespace",
            "spec.labelSelector[0].selector: expected at least one label",
            "spec.workloadSelector.labels \"app\": expected a label without *",
            "spec.workloadSelector: expected labels or fromService, got both",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}");
        }
    }

    #[test]
    fn a_thousand_problems_are_a_short_text() {
        let host: BTreeMap<String, serde_json::Value> = (0..1000).map(|n| (format!("bad_{n}.x"), json!({}))).collect();
        let found = problems(json!({"host": host}));
        assert_eq!(found.len(), LISTED + 1);
        assert_eq!(found[LISTED], "and 980 more");
    }
}
