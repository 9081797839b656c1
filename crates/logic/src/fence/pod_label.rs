//! Fences for each value of a pod label. Source: contract 2.4, B41.

use lazyload_api::names;
use lazyload_api::service_fence::{ServiceFenceSpec, WorkloadSelector};

use crate::checksum::checksum;
use crate::settings::PodLabel;
use crate::types::{Fence, Labels, ObjectRef, Pod};

/// What the names of such fences end with; no Service can be named like that.
const SUFFIX: &str = ".workload.identity";

/// The fence of a pod, and the value of the label; `None` without the label, for pods without an address of their own, which make no
/// calls that could be put down to them, and for a global-sidecar, which must see everything.
#[must_use]
pub fn fence_of(pod_label: &PodLabel, pod: &Pod) -> Option<(ObjectRef, String)> {
    let value = pod.labels.get(&pod_label.key).filter(|value| !value.is_empty())?;
    let is_global_sidecar = pod.labels.get("app").is_some_and(|app| app == names::GLOBAL_SIDECAR);
    if pod.addresses.is_empty() || is_global_sidecar {
        return None;
    }
    Some((ObjectRef::new(pod.id.namespace.clone(), name(&pod_label.alias, value)), value.clone()))
}

/// Whether a name is one of such a fence.
#[must_use]
pub fn is_name(id: &ObjectRef) -> bool {
    id.name.ends_with(SUFFIX)
}

/// Whether a fence is what is made for this label: another key or alias may have made it before.
#[must_use]
pub fn is_made_for(pod_label: &PodLabel, fence: &Fence) -> bool {
    let labels = fence.spec.workload_selector.as_ref().map(|selector| &selector.labels);
    labels
        .and_then(|labels| labels.get(&pod_label.key))
        .is_some_and(|value| *name(&pod_label.alias, value) == *fence.id.name)
}

/// The spec of the fence for one value.
#[must_use]
pub fn spec(pod_label: &PodLabel, value: &str) -> ServiceFenceSpec {
    let labels = Labels::from([(pod_label.key.clone(), value.to_owned())]);
    ServiceFenceSpec {
        enable: true,
        workload_selector: Some(WorkloadSelector { labels, from_service: false }),
        ..ServiceFenceSpec::default()
    }
}

/// `ALIAS-VALUE.workload.identity`. A value that cannot be part of an object's name (upper case, `_`, a `.` beside another sign) is
/// written in lower case with `-` instead, and with a checksum of the value, so that two values never share a fence.
fn name(alias: &str, value: &str) -> String {
    let is_label = |part: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !part.is_empty() && part.chars().all(fits) && !part.starts_with('-') && !part.ends_with('-')
    };
    if value.split('.').all(is_label) {
        return format!("{alias}-{value}{SUFFIX}");
    }
    let readable = value.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let readable = readable.trim_matches('-');
    format!("{alias}-{readable}-{}{SUFFIX}", checksum(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_for_a_fence_unless_it_has_no_value_no_address_or_is_a_global_sidecar() {
        let setting = PodLabel { key: "app".into(), alias: "app".into() };
        let asks = |value: &str, address: Option<&str>| {
            let labels = Labels::from([("app".into(), value.into())]);
            let addresses = address.map(|address| address.parse().unwrap()).into_iter().collect();
            let account = "default".into();
            let pod = Pod { id: ObjectRef::new("default", "p"), labels, account, addresses, created: 0 };
            fence_of(&setting, &pod).map(|(id, value)| (id.to_string(), value))
        };
        let expected = ("default/app-web.workload.identity".to_owned(), "web".to_owned());
        assert_eq!(asks("web", Some("10.0.0.1")), Some(expected));
        assert_eq!(asks("web", None), None);
        assert_eq!(asks("", Some("10.0.0.1")), None);
        assert_eq!(asks("global-sidecar", Some("10.0.0.1")), None);
    }

    #[test]
    fn a_value_becomes_a_name_that_no_other_value_has() {
        assert_eq!(name("app", "reviews"), "app-reviews.workload.identity");
        assert_eq!(name("app", "v1.2"), "app-v1.2.workload.identity");
        assert_eq!(name("team", "Re_views"), "team-re-views-330bb8cc582b8e89.workload.identity");
        let names = ["Re_views", "re_views", "re-views", "re..views", "re.-views"].map(|value| name("app", value));
        for (position, name) in names.iter().enumerate() {
            assert!(!names[..position].contains(name), "{name}");
            assert!(
                name.split('.').all(|part| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-')),
                "{name}"
            );
        }
    }
}
