//! Owns what an AuthorizationPolicy means to a caller: whether it names a workload, whether it may admit one, at which Services.
//! Never decides what is imported for it.
//! Next: `pattern` for how Istio matches identities, `operation` for what a rule is limited to; `fence::named` for what follows.

mod operation;
mod pattern;

use std::collections::BTreeSet;

use lazyload_api::security::{AuthorizationPolicySpec, PolicyCondition, PolicyRule, PolicySource};

use crate::types::{AuthorizationPolicy, Labels, Service};
use operation::Operation;
use pattern::Pattern;
pub use pattern::Peer;
pub(crate) use pattern::glob;

/// A policy that allows, as far as it is about workloads' identities.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Labels of the pods that it protects; empty for all.
    pub selector: Labels,
    /// Requests that fit one of them are allowed; none allows nothing.
    pub rules: Vec<Rule>,
    /// Namespaces of the workloads that it names, with `*` for any letters.
    pub callers: BTreeSet<String>,
}

impl Policy {
    /// `None` if it allows nothing at a sidecar: one that denies, asks somebody else, is only tried, or is a gateway's or a waypoint's.
    #[must_use]
    pub fn read(object: &AuthorizationPolicy) -> Option<Self> {
        let AuthorizationPolicySpec { selector, target_ref, target_refs, action, rules } = &object.spec;
        let allows = matches!(action.as_str(), "" | "ALLOW");
        if !allows || object.dry_run || target_ref.is_some() || !target_refs.is_empty() {
            return None;
        }
        let selector = selector.as_ref().map(|selector| selector.match_labels.clone()).unwrap_or_default();
        let rules: Vec<Rule> = rules.iter().map(|rule| Rule::read(rule, &object.id.namespace)).collect();
        let callers = rules.iter().flat_map(Rule::callers).collect();
        Some(Self { selector, rules, callers })
    }

    /// Whether it can name workloads of a namespace.
    #[must_use]
    pub fn may_name(&self, namespace: &str) -> bool {
        self.callers.iter().any(|pattern| glob(pattern, namespace))
    }
}

/// One rule. What is not about identities (tokens, addresses, paths) is taken to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Alternatives, each of which asks everything of a caller; none asks nothing.
    sources: Vec<Vec<Demand>>,
    conditions: Vec<Demand>,
    /// Alternatives; none means everything.
    operations: Vec<Operation>,
}

impl Rule {
    fn read(rule: &PolicyRule, own: &str) -> Self {
        Self {
            sources: rule.from.iter().map(|from| Demand::of_source(&from.source, own)).collect(),
            conditions: rule.when.iter().filter_map(|condition| Demand::of_condition(condition, own)).collect(),
            operations: rule.to.iter().map(|to| Operation::read(&to.operation)).collect(),
        }
    }

    fn callers(&self) -> impl Iterator<Item = String> {
        let demands = self.sources.iter().flatten().chain(&self.conditions);
        let named = demands.flat_map(|demand| &demand.one_of).filter(|pattern| pattern.is_specific());
        named.filter_map(Pattern::namespaces)
    }

    /// Whether it may allow a caller of this identity something.
    #[must_use]
    pub fn may_admit(&self, peer: &Peer<'_>) -> bool {
        let sources = self.sources.is_empty() || self.sources.iter().any(|source| all_fit(source, peer));
        sources && all_fit(&self.conditions, peer)
    }

    /// Whether it may allow a caller of this identity something, and says so by naming it: `*` is anybody.
    #[must_use]
    pub fn names(&self, peer: &Peer<'_>) -> bool {
        if !self.may_admit(peer) {
            return false;
        }
        let mut fitting = self.sources.iter().filter(|source| all_fit(source, peer)).flatten().chain(&self.conditions);
        fitting.any(|demand| demand.names(peer))
    }

    /// Whether it is about every host and port.
    #[must_use]
    pub fn is_about_all(&self) -> bool {
        self.operations.is_empty() || self.operations.iter().any(Operation::is_everything)
    }

    /// Whether calls of this Service, by one of its own names, may fit it.
    #[must_use]
    pub fn may_be_about(&self, service: &Service) -> bool {
        self.operations.is_empty() || self.operations.iter().any(|operation| operation.may_be(service))
    }
}

fn all_fit(demands: &[Demand], peer: &Peer<'_>) -> bool {
    demands.iter().all(|demand| demand.fits(peer))
}

/// What is asked of a caller's identity in one respect.
#[derive(Clone, Debug, PartialEq)]
struct Demand {
    /// One of these, if there are any.
    one_of: Vec<Pattern>,
    none_of: Vec<Pattern>,
}

impl Demand {
    fn of_source(source: &PolicySource, own: &str) -> Vec<Self> {
        let account = |text: &str| Pattern::account(text, own);
        let all = [
            Self::read(&source.principals, &source.not_principals, Pattern::principal),
            Self::read(&source.service_accounts, &source.not_service_accounts, account),
            Self::read(&source.namespaces, &source.not_namespaces, Pattern::namespace),
        ];
        all.into_iter().flatten().collect()
    }

    /// `None` if it is about something else than the caller's identity.
    fn of_condition(condition: &PolicyCondition, own: &str) -> Option<Self> {
        let PolicyCondition { key, values, not_values } = condition;
        match key.as_str() {
            "source.principal" => Self::read(values, not_values, Pattern::principal),
            "source.serviceAccount" => Self::read(values, not_values, |text| Pattern::account(text, own)),
            "source.namespace" => Self::read(values, not_values, Pattern::namespace),
            _ => None,
        }
    }

    /// `None` if nothing is asked.
    fn read(one_of: &[String], none_of: &[String], pattern: impl Fn(&str) -> Pattern) -> Option<Self> {
        let patterns = |texts: &[String]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
        let is_nothing = one_of.is_empty() && none_of.is_empty();
        (!is_nothing).then(|| Self { one_of: patterns(one_of), none_of: patterns(none_of) })
    }

    fn fits(&self, peer: &Peer<'_>) -> bool {
        let fits = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.fits(peer));
        (self.one_of.is_empty() || fits(&self.one_of)) && !fits(&self.none_of)
    }

    fn names(&self, peer: &Peer<'_>) -> bool {
        self.one_of.iter().any(|pattern| pattern.is_specific() && pattern.fits(peer))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::types::ObjectRef;

    fn policy(spec: Value) -> Option<Policy> {
        Policy::read(&AuthorizationPolicy {
            id: ObjectRef::new("shop", "p"),
            labels: Labels::new(),
            dry_run: false,
            spec: serde_json::from_value(spec).unwrap(),
        })
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
    fn rule(rule: Value) -> Rule {
        policy(json!({"rules": [rule]})).unwrap().rules.remove(0)
    }

    const A: Peer<'_> = Peer { namespace: "default", account: "a" };
    const B: Peer<'_> = Peer { namespace: "default", account: "b" };

    #[test]
    fn only_what_allows_at_a_sidecar_is_read() {
        let rules = json!([{"from": [{"source": {"namespaces": ["default"]}}]}]);
        for action in ["DENY", "AUDIT", "CUSTOM"] {
            assert_eq!(policy(json!({"action": action, "rules": rules})), None);
        }
        assert_eq!(policy(json!({"targetRef": {"kind": "Gateway", "name": "g"}, "rules": rules})), None);
        assert_eq!(policy(json!({"targetRefs": [{"kind": "Service", "name": "s"}], "rules": rules})), None);
        assert!(policy(json!({"action": "ALLOW", "rules": rules})).unwrap().may_name("default"));
        let nothing = policy(json!({})).unwrap();
        assert!(nothing.rules.is_empty() && !nothing.may_name("default"), "allow-nothing names nobody");
    }

    #[test]
    fn everything_that_is_asked_of_a_source_must_fit_and_one_source_is_enough() {
        let either = rule(json!({"from": [
            {"source": {"principals": ["*"], "namespaces": ["default"], "notPrincipals": ["cluster.local/ns/default/sa/b"]}},
            {"source": {"serviceAccounts": ["shop-worker", "other/c"]}},
        ]}));
        assert!(either.names(&A) && !either.names(&B));
        assert!(either.names(&Peer { namespace: "shop", account: "shop-worker" }));
        assert!(either.names(&Peer { namespace: "other", account: "c" }));
        assert!(!either.may_admit(&Peer { namespace: "other", account: "shop-worker" }));
    }

    #[test]
    fn conditions_name_callers_and_take_them_away() {
        let when = |key: &str, values: Value, not: Value| {
            rule(
                json!({"from": [{"source": {"principals": ["*"]}}], "when": [{"key": key, "values": values, "notValues": not}]}),
            )
        };
        assert!(when("source.principal", json!(["td/ns/default/sa/a"]), json!([])).names(&A));
        assert!(when("source.serviceAccount", json!(["default/a"]), json!([])).names(&A));
        let of_namespace = when("source.namespace", json!(["default"]), json!([]));
        assert!(of_namespace.names(&A) && of_namespace.names(&B));
        let without = when("source.namespace", json!([]), json!(["default"]));
        assert!(!without.may_admit(&A));
        let other = when("request.headers[x]", json!(["y"]), json!([]));
        assert!(other.may_admit(&A) && !other.names(&A));
    }

    #[test]
    fn anybody_is_admitted_and_nobody_named_where_no_identity_is_asked_for() {
        for anybody in [
            json!({}),
            json!({"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}),
            json!({"from": [{"source": {"requestPrincipals": ["*"]}}]}),
            json!({"from": [{"source": {"principals": ["*"]}}]}),
            json!({"from": [{"source": {"namespaces": ["*"]}}]}),
            json!({"from": [{"source": {"principals": ["cluster.local/*"]}}]}),
            json!({"from": [{"source": {"notNamespaces": ["other"]}}]}),
        ] {
            let rule = rule(anybody);
            assert!(rule.may_admit(&A) && !rule.names(&A), "{rule:?}");
        }
    }

    #[test]
    fn which_namespaces_are_named_is_known_without_a_look_at_any_workload() {
        let found = policy(json!({"rules": [{"from": [{"source": {
            "principals": ["cluster.local/ns/a/sa/x", "cluster.local/ns/b-*", "*/sa/y", "*", "broken"],
            "serviceAccounts": ["z", "c/z"], "namespaces": ["d*e", "*"],
        }}]}]}));
        let expected = ["*", "a", "b-*", "c", "d*e", "shop"];
        assert!(found.unwrap().callers.iter().eq(expected.iter()));
    }
}
