//! How Istio matches who a caller is. Source: Istio 1.31, `pilot/pkg/security/authz/model/generator.go` and `matcher`.
//!
//! The trust domain is not compared (docs/adr/0015): Istio puts those of the mesh in the place of the one that is written.

/// Who a caller is by its certificate. An empty account is one that is not known: only its namespace can be matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub account: &'a str,
}

impl Peer<'_> {
    /// The identity without trust domain.
    fn path(&self) -> String {
        format!("ns/{}/sa/{}", self.namespace, self.account)
    }
}

/// What begins the identity after the trust domain.
const NAMESPACE: &str = "ns/";

/// One value that identities are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Whoever has a certificate.
    Anybody,
    /// An identity without trust domain.
    Exact(String),
    /// What an identity without trust domain begins with; empty where only trust domains are told apart.
    Prefix(String),
    /// What an identity ends with, maybe with trust domain.
    Suffix(String),
    /// A service account.
    Account { namespace: String, account: String },
    /// Namespaces, with `*` for any letters.
    Namespaces(String),
}

impl Pattern {
    /// `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, with `*` at one end.
    pub(super) fn principal(text: &str) -> Self {
        let without_trust = |text: &str| text.split_once('/').map_or("", |(_, rest)| rest).to_owned();
        if text == "*" {
            Self::Anybody
        } else if let Some(suffix) = text.strip_prefix('*') {
            Self::Suffix(suffix.to_owned())
        } else if let Some(prefix) = text.strip_suffix('*') {
            Self::Prefix(without_trust(prefix))
        } else {
            Self::Exact(without_trust(text))
        }
    }

    /// `NAMESPACE/ACCOUNT`, or `ACCOUNT` of the namespace `own`.
    pub(super) fn account(text: &str, own: &str) -> Self {
        let (namespace, account) = text.split_once('/').unwrap_or((own, text));
        Self::Account { namespace: namespace.to_owned(), account: account.to_owned() }
    }

    pub(super) fn namespace(text: &str) -> Self {
        if text == "*" { Self::Anybody } else { Self::Namespaces(text.to_owned()) }
    }

    pub(super) fn fits(&self, peer: &Peer<'_>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Exact(path) => !peer.account.is_empty() && *path == peer.path(),
            Self::Prefix(prefix) => peer.path().starts_with(prefix),
            Self::Suffix(suffix) => {
                let path = format!("/{}", peer.path());
                !peer.account.is_empty() && (path.ends_with(suffix) || suffix.ends_with(&path))
            }
            Self::Account { namespace, account } => namespace == peer.namespace && account == peer.account,
            Self::Namespaces(pattern) => glob(pattern, peer.namespace),
        }
    }

    /// Whether it tells some workloads of the mesh from others.
    pub(super) fn is_specific(&self) -> bool {
        match self {
            Self::Anybody => false,
            Self::Prefix(prefix) => prefix.len() > NAMESPACE.len(),
            Self::Namespaces(pattern) => pattern.bytes().any(|byte| byte != b'*'),
            Self::Exact(_) | Self::Suffix(_) | Self::Account { .. } => true,
        }
    }

    /// The namespaces of those whom it can fit, with `*` for any letters; `None` if it fits nobody.
    pub(super) fn namespaces(&self) -> Option<String> {
        let after = |path: &str| path.strip_prefix(NAMESPACE).map(str::to_owned);
        match self {
            Self::Anybody => Some("*".to_owned()),
            Self::Exact(path) => after(path)?.split_once('/').map(|(namespace, _)| namespace.to_owned()),
            Self::Prefix(prefix) if NAMESPACE.starts_with(prefix) => Some("*".to_owned()),
            Self::Prefix(prefix) => {
                let rest = after(prefix)?;
                Some(rest.split_once('/').map_or_else(|| format!("{rest}*"), |(namespace, _)| namespace.to_owned()))
            }
            Self::Suffix(suffix) => {
                let named = suffix.split_once("/ns/").and_then(|(_, rest)| rest.split_once('/'));
                Some(named.map_or("*", |(namespace, _)| namespace).to_owned())
            }
            Self::Account { namespace, .. } => Some(namespace.clone()),
            Self::Namespaces(pattern) => Some(pattern.clone()),
        }
    }
}

/// Whether a text is of a pattern in which each `*` stands for any letters.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &Pattern, namespace: &str, account: &str) -> bool {
        pattern.fits(&Peer { namespace, account })
    }

    #[test]
    fn principals_are_matched_as_by_istio_but_for_the_trust_domain() {
        for (text, a, other_account, other_namespace) in [
            ("cluster.local/ns/default/sa/a", true, false, false),
            ("td2/ns/default/sa/a", true, false, false),
            ("*", true, true, true),
            ("cluster*", true, true, true),
            ("cluster.local/ns/*", true, true, true),
            ("cluster.local/ns/def*", true, true, false),
            ("cluster.local/ns/default/*", true, true, false),
            ("cluster.local/ns/default/sa/a*", true, false, false),
            ("*/sa/a", true, false, true),
            ("*default/sa/a", true, false, false),
            ("*local/ns/default/sa/a", true, false, false),
            ("cluster.local/ns/default/sa/", false, false, false),
            ("ns/default/sa/a", false, false, false),
            ("spiffe://cluster.local/ns/default/sa/a", false, false, false),
            ("", false, false, false),
        ] {
            let pattern = Pattern::principal(text);
            let found = (fits(&pattern, "default", "a"), fits(&pattern, "default", "b"), fits(&pattern, "test", "a"));
            assert_eq!(found, (a, other_account, other_namespace), "{text}");
        }
    }

    #[test]
    fn of_a_workload_whose_account_is_not_known_only_the_namespace_counts() {
        for (pattern, expected) in [
            (Pattern::namespace("default"), true),
            (Pattern::principal("cluster.local/ns/default/*"), true),
            (Pattern::principal("cluster.local/ns/default/sa/*"), true),
            (Pattern::principal("cluster.local/ns/default/sa/a"), false),
            (Pattern::principal("*/sa/a"), false),
            (Pattern::account("default/a", "x"), false),
        ] {
            assert_eq!(fits(&pattern, "default", ""), expected, "{pattern:?}");
        }
    }

    #[test]
    fn an_account_without_namespace_is_of_the_policys_own() {
        assert!(fits(&Pattern::account("a", "shop"), "shop", "a"));
        assert!(!fits(&Pattern::account("a", "shop"), "default", "a"));
        assert!(fits(&Pattern::account("default/a", "shop"), "default", "a"));
    }

    #[test]
    fn a_star_in_a_namespace_stands_for_any_letters_anywhere() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abde", false),
            ("*", "", true),
            ("a*a", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
