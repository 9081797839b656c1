//! Whether a Service gets a fence by itself: Service label, then Namespace label, then the default.
//! Source: seed "Auto mode", contract 2.3 and D15.
//! Next: `scope` for the namespaces in which there are automatic fences at all.

use lazyload_api::names;

use super::scope::{self, Unmanaged, is_system};
use crate::settings::Settings;
use crate::types::{Labels, Namespace, ObjectRef, Service};

/// What decides whether a Service has an automatic fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// `general.autoFence` is off.
    ByHand,
    /// It selects no pods.
    WithoutPods,
    /// Its namespace has no automatic fences.
    Unmanaged(Unmanaged),
    /// Its own label.
    ByService(bool),
    /// Its namespace belongs to Kubernetes, Istio or Lazyload, and it has no label of its own.
    System,
    /// Its Namespace was not heard of.
    WithoutNamespace,
    /// Its namespace's label.
    ByNamespace(bool),
    /// `general.defaultFence`.
    ByDefault(bool),
}

/// Decides whether a Service should have an automatic fence. Only the exact values `"true"` and `"false"` of labels count.
#[must_use]
pub fn decide(settings: &Settings, service: &Service, namespace: Option<&Namespace>) -> Decision {
    if !settings.auto_fence {
        return Decision::ByHand;
    }
    if service.selector.is_empty() {
        return Decision::WithoutPods;
    }
    if let Some(why) = scope::unmanaged(settings, &service.id.namespace, namespace) {
        return Decision::Unmanaged(why);
    }
    if let Some(decision) = label(&service.labels) {
        return Decision::ByService(decision);
    }
    if is_system(settings, &service.id.namespace) {
        return Decision::System;
    }
    // Without its Namespace there is nothing to decide on yet.
    let Some(namespace) = namespace else { return Decision::WithoutNamespace };
    label(&namespace.labels).map_or(Decision::ByDefault(settings.default_fence), Decision::ByNamespace)
}

impl Decision {
    /// Whether there should be a fence.
    #[must_use]
    pub fn is_enrolled(self) -> bool {
        matches!(self, Self::ByService(true) | Self::ByNamespace(true) | Self::ByDefault(true))
    }

    /// For people.
    #[must_use]
    pub fn sentence(self, service: &ObjectRef) -> String {
        let namespace = &service.namespace;
        let label = names::SERVICE_FENCED_LABEL;
        match self {
            Self::ByHand => "no automatic fence: general.autoFence is off; make a ServiceFence by hand".to_owned(),
            Self::WithoutPods => format!("no automatic fence: Service {service} has no selector, so no pods are known"),
            Self::Unmanaged(why) => format!("no automatic fence: namespace {namespace} {}", why.clause()),
            Self::ByService(decision) => {
                format!("{}: Service {service} has the label {label}={decision}", made(decision))
            }
            Self::System => format!(
                "no automatic fence: namespace {namespace} belongs to Kubernetes, Istio or Lazyload; label the Service {label}=true to have one"
            ),
            Self::WithoutNamespace => format!("no automatic fence: namespace {namespace} is not there"),
            Self::ByNamespace(decision) => {
                format!("{}: namespace {namespace} has the label {label}={decision}", made(decision))
            }
            Self::ByDefault(decision) => {
                format!("{}: general.defaultFence is {decision}, and no label says otherwise", made(decision))
            }
        }
    }
}

fn made(decision: bool) -> &'static str {
    if decision { "automatic" } else { "no automatic fence" }
}

/// Whether a fence was made by the controller, which alone may delete it.
#[must_use]
pub fn is_automatic(labels: &Labels) -> bool {
    labels.get(names::CREATED_BY_LABEL).is_some_and(|value| value == names::FENCE_CONTROLLER)
}

/// What a label `slime.io/serviceFenced` decides.
pub(crate) fn label(labels: &Labels) -> Option<bool> {
    match labels.get(names::SERVICE_FENCED_LABEL).map(String::as_str) {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::{Context, resolve};
    use crate::types::ObjectRef;

    fn settings(auto_fence: bool, default_fence: bool) -> Settings {
        let entry = json!({"general": {"autoFence": auto_fence, "defaultFence": default_fence}});
        resolve(&entry, &Context::default()).unwrap().settings
    }

    fn labels(value: Option<&str>) -> Labels {
        value.map(|value| (names::SERVICE_FENCED_LABEL.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn enrolled(settings: &Settings, service: Option<&str>, namespace: Option<&str>) -> bool {
        let service = Service {
            id: ObjectRef::new("testns", "svc1"),
            labels: labels(service),
            selector: Labels::from([("app".into(), "svc1".into())]),
            ..Service::default()
        };
        let namespace = Namespace { name: "testns".into(), labels: labels(namespace) };
        decide(settings, &service, Some(&namespace)).is_enrolled()
    }

    #[test]
    fn service_beats_namespace_beats_default() {
        for default_fence in [true, false] {
            let settings = settings(true, default_fence);
            assert!(!enrolled(&settings, Some("false"), Some("true")));
            assert!(enrolled(&settings, Some("true"), Some("false")));
            assert!(!enrolled(&settings, None, Some("false")));
            assert!(enrolled(&settings, None, Some("true")));
            assert_eq!(enrolled(&settings, None, None), default_fence);
        }
    }

    #[test]
    fn other_values_leave_the_decision_to_the_next_level() {
        let settings = settings(true, true);
        for value in ["", "maybe", "True"] {
            assert!(!enrolled(&settings, Some(value), Some("false")), "{value}");
            assert!(enrolled(&settings, Some(value), Some(value)), "{value}");
        }
    }

    #[test]
    fn a_namespace_that_is_listed_black_or_not_white_has_no_automatic_fence_whatever_a_label_says() {
        for (list, expected) in [
            (json!({"blackNamespaceList": "other,testns"}), false),
            (json!({"blackNamespaceList": "other"}), true),
            (json!({"whiteNamespaceList": "other"}), false),
            (json!({"whiteNamespaceList": "testns"}), true),
        ] {
            let mut general = list.clone();
            general["autoFence"] = json!(true);
            let settings = resolve(&json!({"general": general}), &Context::default()).unwrap().settings;
            assert_eq!(enrolled(&settings, Some("true"), None), expected, "{list}");
        }
    }

    #[test]
    fn a_namespace_that_no_management_selector_selects_has_no_automatic_fence_whatever_a_label_says() {
        let general = json!({"autoFence": true, "defaultFence": true, "managementSelectors": [
            {"matchLabels": {"team": "a"}},
            {"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]},
        ]});
        let settings = resolve(&json!({"general": general}), &Context::default()).unwrap().settings;
        let service = Service {
            id: ObjectRef::new("testns", "svc1"),
            labels: labels(Some("true")),
            selector: Labels::from([("app".into(), "svc1".into())]),
            ..Service::default()
        };
        for (team, expected) in [("a", true), ("b", true), ("c", false)] {
            let namespace = Namespace { name: "testns".into(), labels: Labels::from([("team".into(), team.into())]) };
            assert_eq!(decide(&settings, &service, Some(&namespace)).is_enrolled(), expected, "{team}");
        }
        assert!(!decide(&settings, &service, None).is_enrolled(), "a namespace that was not heard of");
    }

    #[test]
    fn in_namespace_mode_only_listed_namespaces_have_automatic_fences() {
        let general =
            json!({"autoFence": true, "defaultFence": true, "globalSidecarMode": "namespace", "namespace": ["testns"]});
        let listed = resolve(&json!({"general": general}), &Context::default()).unwrap().settings;
        assert!(enrolled(&listed, None, None));
        let mut other = listed;
        other.namespaces = vec!["other".into()];
        for service in [None, Some("true")] {
            assert!(!enrolled(&other, service, Some("true")), "its fallback would not exist");
        }
    }

    #[test]
    fn in_manual_mode_labels_do_nothing() {
        assert!(!enrolled(&settings(false, true), Some("true"), Some("true")));
    }

    #[test]
    fn a_service_without_selector_is_never_fenced() {
        let service =
            Service { id: ObjectRef::new("testns", "svc1"), labels: labels(Some("true")), ..Service::default() };
        assert!(!decide(&settings(true, true), &service, None).is_enrolled());
    }

    #[test]
    fn system_namespaces_are_left_out_unless_a_service_asks() {
        let settings = settings(true, true);
        for name in ["istio-system", "mesh-operator", "kube-system"] {
            let namespace = Namespace { name: name.into(), labels: Labels::new() };
            let mut service = Service {
                id: ObjectRef::new(name, "svc1"),
                labels: Labels::new(),
                selector: Labels::from([("app".into(), "svc1".into())]),
                ..Service::default()
            };
            assert!(!decide(&settings, &service, Some(&namespace)).is_enrolled(), "{name}");
            service.labels = labels(Some("true"));
            assert!(decide(&settings, &service, Some(&namespace)).is_enrolled(), "{name}");
        }
    }
}
