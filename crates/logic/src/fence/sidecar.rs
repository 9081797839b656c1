//! The Sidecar that follows from a fence. Source: seed (as printed), contract 2.7.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::istio::{SidecarSpec, SidecarWorkloadSelector};
use lazyload_api::names;
use lazyload_api::service_fence::{Destinations, DomainStatus};

use super::completion::service_host;
use super::host::check_entry;
use super::switch::Form;
use crate::index::Index;
use crate::settings::{GlobalSidecarMode, Settings};
use crate::types::{Fence, Labels, ObjectRef};

/// The pods that a fence applies to; `None` while they are unknown (the Service is missing or has no selector), because an empty
/// selector would hit the whole namespace.
#[must_use]
pub fn workload_labels(settings: &Settings, fence: &Fence, index: &Index) -> Option<Labels> {
    let selector = fence.spec.workload_selector.as_ref();
    if let Some(selector) = selector.filter(|selector| !selector.labels.is_empty()) {
        return Some(selector.labels.clone());
    }
    if selector.is_some_and(|selector| selector.from_service) {
        let service = index.find_service(&fence.id)?;
        return Some(service.selector.clone()).filter(|labels| !labels.is_empty());
    }
    Some(Labels::from([(settings.service_label.clone(), fence.id.name.to_string())]))
}

/// The Sidecar's spec in one of its forms, for the workload; the port is the inert listener's.
#[must_use]
pub fn sidecar_spec(form: &Form<'_>, port: u16, workload: &Labels) -> SidecarSpec {
    SidecarSpec {
        egress: form.egress(port),
        workload_selector: Some(SidecarWorkloadSelector { labels: workload.clone() }),
        other: BTreeMap::new(),
    }
}

/// The hosts that the fence's workload needs routes for, as the Sidecar has them.
#[must_use]
pub fn desired_hosts(
    settings: &Settings,
    fence: &ObjectRef,
    domains: &BTreeMap<String, Destinations>,
) -> BTreeSet<String> {
    let mut hosts =
        BTreeSet::from([format!("{}/*", settings.istio_namespace), format!("{}/*", settings.slime_namespace)]);
    for stable in &settings.stable_hosts {
        hosts.insert(if stable.ends_with("/*") { stable.clone() } else { format!("*/{stable}") });
    }
    for (key, domain) in domains.iter().filter(|(_, domain)| domain.status != DomainStatus::Expire) {
        if key.ends_with("/*") {
            hosts.insert(key.clone());
        }
        hosts.extend(domain.hosts.iter().map(|host| format!("*/{host}")));
    }
    match settings.mode {
        GlobalSidecarMode::Namespace => {
            let own = ObjectRef::new(fence.namespace.clone(), names::GLOBAL_SIDECAR);
            hosts.insert(format!("*/{}", service_host(&own)));
        }
        GlobalSidecarMode::Cluster if settings.global_sidecar_namespace() != settings.slime_namespace => {
            let shared = ObjectRef::new(settings.global_sidecar_namespace(), names::GLOBAL_SIDECAR);
            hosts.insert(format!("*/{}", service_host(&shared)));
        }
        GlobalSidecarMode::Cluster => {}
    }
    // One that Istio's admission refuses would keep the whole Sidecar from being written; `validity` tells of it.
    hosts.into_iter().filter(|entry| check_entry(entry).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::{Context, resolve};

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn settings(entry: serde_json::Value) -> Settings {
        resolve(&entry, &Context::default()).unwrap().settings
    }

    fn hosts(settings: &Settings, domains: serde_json::Value) -> Vec<String> {
        let domains = serde_json::from_value(domains).unwrap();
        let id = ObjectRef::new("default", "a");
        desired_hosts(settings, &id, &domains).into_iter().collect()
    }

    #[test]
    fn a_fresh_fence_sees_istio_and_slime_namespaces_only() {
        assert_eq!(hosts(&settings(json!({})), json!({})), ["istio-system/*", "mesh-operator/*"]);
    }

    #[test]
    fn hosts_come_once_in_byte_order_and_expired_ones_stay_out() {
        let domains = json!({
            "b.x.y": {"hosts": ["b.x.y", "z.x.y"]}, "a.x.y": {"hosts": ["a.x.y", "z.x.y"]},
            "test/*": {}, "gone.x.y": {"hosts": ["gone.x.y"], "status": "EXPIRE"},
            "leaving.x.y": {"hosts": ["leaving.x.y"], "status": "EXPIREWAIT"},
        });
        assert_eq!(
            hosts(&settings(json!({"general": {"stableHost": ["s.x.y", "stable/*"]}})), domains),
            [
                "*/a.x.y",
                "*/b.x.y",
                "*/leaving.x.y",
                "*/s.x.y",
                "*/z.x.y",
                "istio-system/*",
                "mesh-operator/*",
                "stable/*",
                "test/*"
            ]
        );
    }

    #[test]
    fn a_short_name_stays_out_because_istio_would_refuse_the_whole_sidecar() {
        let domains = json!({"details": {"hosts": ["details"]}, "a.b": {"hosts": ["a.b"]}});
        assert_eq!(hosts(&settings(json!({})), domains), ["*/a.b", "istio-system/*", "mesh-operator/*"]);
    }

    #[test]
    fn the_global_sidecar_is_seen_wherever_it_lives() {
        let namespaced = settings(json!({"general": {"globalSidecarMode": "namespace"}}));
        assert_eq!(hosts(&namespaced, json!({}))[0], "*/global-sidecar.default.svc.cluster.local");
        let elsewhere = settings(json!({"general": {"clusterGsNamespace": "gs"}}));
        assert_eq!(hosts(&elsewhere, json!({}))[0], "*/global-sidecar.gs.svc.cluster.local");
    }
}
