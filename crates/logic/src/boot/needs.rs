//! The rights that a process needs, one by one, and what does not work without each: what it asks the API server for when it starts. Made
//! from the same lists as the roles that give them.

use serde_json::Value;

use super::{controller, election, install};
use crate::settings::Settings;

/// One right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Such as `list`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Such as `servicefences`.
    pub resource: String,
    /// Such as `status`; empty for the resource itself.
    pub subresource: String,
    /// Where; `None` means in all namespaces.
    pub namespace: Option<String>,
    /// On one object only.
    pub name: Option<String>,
}

impl Need {
    /// `list servicefences.microservice.slime.io/status in namespace x`.
    #[must_use]
    pub fn described(&self) -> String {
        let Self { verb, group, resource, subresource, namespace, name } = self;
        let mut text = format!("{verb} {resource}");
        for (before, part) in [(".", group), ("/", subresource)] {
            if !part.is_empty() {
                text.extend([before, part]);
            }
        }
        if let Some(name) = name {
            text.extend([" named ", name]);
        }
        match namespace {
            Some(namespace) => text.extend([" in namespace ", namespace]),
            None => text.push_str(" in all namespaces"),
        }
        text
    }

    /// What does not work without it.
    #[must_use]
    pub fn without(&self) -> &'static str {
        let writes = !matches!(self.verb.as_str(), "get" | "list" | "watch");
        match (self.resource.as_str(), self.subresource.as_str()) {
            ("servicefences", "status") => "nothing that is learned is kept",
            ("servicefences", "finalizers") => "some clusters refuse Sidecars of fences",
            ("servicefences", _) if writes => "no fence is made or deleted by itself",
            ("servicefences", _) => "no fence is served",
            ("sidecars", _) if writes => "no Sidecar is changed",
            ("sidecars", _) => "nothing is written, because what is there is not known",
            ("services" | "namespaces" | "pods" | "endpointslices", _) if !writes => {
                "nothing is written, because the cluster is not known"
            }
            ("pods", _) => "the leader's pod has no label",
            ("serviceentries", _) => "hosts of ServiceEntries are not known",
            ("virtualservices" | "grpcroutes" | "httproutes", _) => "what is behind routed hosts is not known",
            ("authorizationpolicies", _) => "nothing is written, because it is not known which policies name a caller",
            ("events", _) => "there are no Events",
            ("envoyfilters", _) => {
                "callers' proxies do not tell what they call (the controller), SlimeBoots are not installed fully (the operator)"
            }
            ("leases", _) => "no replica leads, so nothing is written",
            ("slimeboots", "status") => "no SlimeBoot says what became of it",
            ("slimeboots", _) => "no SlimeBoot is served",
            _ => "SlimeBoots are not installed, changed or removed fully",
        }
    }
}

/// What the controller needs that runs in a namespace.
#[must_use]
pub fn controller_needs(settings: &Settings, namespace: &str) -> Vec<Need> {
    let mut needs = needs(&controller::rules(settings), None);
    if let Some(lease) = &settings.lease {
        needs.extend(self::needs(&election::rules(Some(lease)), Some(namespace)));
    }
    needs
}

/// What the operator needs.
#[must_use]
pub fn operator_needs() -> Vec<Need> {
    needs(&install::rules(), None)
}

fn needs(rules: &[Value], namespace: Option<&str>) -> Vec<Need> {
    let mut needs = Vec::new();
    for rule in rules {
        let texts = |key: &str| rule.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for (group, resource) in texts("apiGroups").flat_map(|group| texts("resources").map(move |it| (group, it))) {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            for verb in texts("verbs") {
                let need = Need {
                    verb: verb.to_owned(),
                    group: group.to_owned(),
                    resource: resource.to_owned(),
                    subresource: subresource.to_owned(),
                    namespace: namespace.map(str::to_owned),
                    name: texts("resourceNames").next().map(str::to_owned),
                };
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_a_lease() -> Settings {
        let entry = serde_json::json!({"global": {"misc": {"enableLeaderElection": "on"}}});
        crate::settings::resolve(&entry, &crate::settings::Context::default()).unwrap().settings
    }

    #[test]
    fn a_need_is_told_as_a_user_would_ask_for_it() {
        let told: Vec<String> = operator_needs().iter().map(Need::described).collect();
        assert!(told.contains(&"patch slimeboots.config.netease.com/status in all namespaces".to_owned()), "{told:?}");
        assert!(told.contains(&"list services in all namespaces".to_owned()), "{told:?}");
        let settings = with_a_lease();
        let told: Vec<String> = controller_needs(&settings, "ops").iter().map(Need::described).collect();
        let lease = "update leases.coordination.k8s.io named lazyload in namespace ops".to_owned();
        assert!(
            told.contains(&lease) && told.contains(&"create leases.coordination.k8s.io in namespace ops".to_owned())
        );
    }

    #[test]
    fn each_need_says_what_does_not_work_without_it() {
        let installs = "SlimeBoots are not installed, changed or removed fully";
        let settings = with_a_lease();
        for need in controller_needs(&settings, "ops") {
            assert_ne!(need.without(), installs, "{}", need.described());
        }
    }
}
