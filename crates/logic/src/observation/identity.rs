//! Who a caller is by its certificate: Istio's SPIFFE identity, `spiffe://TRUST/ns/NAMESPACE/sa/ACCOUNT`.

/// Longest namespace: a DNS label.
const MAX_NAMESPACE: usize = 63;
/// Longest service account: a DNS name.
const MAX_ACCOUNT: usize = 253;

/// A service account of a namespace; borrowed (`Identity<&str>`) or owned (`Identity<Box<str>>`), with the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity<T> {
    /// The namespace.
    pub namespace: T,
    /// The service account; empty where the namespace alone is known.
    pub account: T,
}

impl<'a> Identity<&'a str> {
    /// Somebody of a namespace, whatever the account.
    #[must_use]
    pub fn of_namespace(namespace: &'a str) -> Self {
        Self { namespace, account: "" }
    }
}

impl Identity<&str> {
    /// The same, owned.
    #[must_use]
    pub fn to_owned(&self) -> Identity<Box<str>> {
        Identity { namespace: self.namespace.into(), account: self.account.into() }
    }
}

impl<T: AsRef<str>> Identity<T> {
    /// Whether it is that account of that namespace.
    #[must_use]
    pub fn is(&self, namespace: &str, account: &str) -> bool {
        self.namespace.as_ref() == namespace && self.account.as_ref() == account
    }

    /// Whether the account is known, and not the namespace alone.
    #[must_use]
    pub fn names_account(&self) -> bool {
        !self.account.as_ref().is_empty()
    }

    /// Whether a pod of that namespace and account may be whom this names.
    #[must_use]
    pub fn agrees(&self, namespace: &str, account: &str) -> bool {
        self.namespace.as_ref() == namespace && (!self.names_account() || self.account.as_ref() == account)
    }
}

/// Reads a SPIFFE URI of Istio's form. The trust domain is not compared: the proxy that was called has checked the certificate
/// against those that the mesh trusts.
#[must_use]
pub fn parse(uri: &str) -> Option<Identity<&str>> {
    let mut parts = uri.strip_prefix("spiffe://")?.split('/');
    let (trust, ns, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let (sa, account) = (parts.next()?, parts.next()?);
    let readable = !trust.is_empty()
        && ns == "ns"
        && sa == "sa"
        && parts.next().is_none()
        && is_name(namespace, MAX_NAMESPACE)
        && is_name(account, MAX_ACCOUNT);
    readable.then_some(Identity { namespace, account })
}

fn is_name(name: &str, longest: usize) -> bool {
    !name.is_empty()
        && name.len() <= longest
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn namespace_and_account_are_read_whatever_the_trust_domain() {
        for trust in ["cluster.local", "td-2", "old.example.com", "cluster.local:8443"] {
            let uri = format!("spiffe://{trust}/ns/default/sa/bookinfo-productpage");
            let identity = parse(&uri).unwrap();
            assert!(identity.is("default", "bookinfo-productpage"), "{uri}");
            assert!(!identity.is("default", "default") && !identity.is("test", "bookinfo-productpage"));
        }
        assert!(parse("spiffe://a/ns/default/sa/build.robot").is_some(), "an account may have dots");
    }

    #[test]
    fn a_namespace_alone_agrees_with_each_of_its_accounts() {
        let (web, any) = (Identity { namespace: "shop", account: "web" }, Identity::of_namespace("shop"));
        assert!(web.agrees("shop", "web") && !web.agrees("shop", "db") && !web.agrees("bank", "web"));
        assert!(any.agrees("shop", "web") && any.agrees("shop", "db") && !any.agrees("bank", "web"));
        assert!(web.names_account() && !any.names_account());
    }

    #[test]
    fn another_form_is_no_identity_of_istio() {
        let long = format!("spiffe://a/ns/{}/sa/b", "n".repeat(64));
        for uri in [
            "",
            "spiffe://",
            "spiffe:///ns/a/sa/b",
            "spiffe://cluster.local",
            "spiffe://cluster.local/workload/web",
            "spiffe://cluster.local/ns/a/sa",
            "spiffe://cluster.local/ns/a/sa/",
            "spiffe://cluster.local/ns//sa/b",
            "spiffe://cluster.local/ns/a/sa/b/",
            "spiffe://cluster.local/ns/a/sa/b/c",
            "spiffe://cluster.local/sa/b/ns/a",
            "spiffe://cluster.local/ns/a/sa/B",
            "spiffe://cluster.local/ns/a%2f/sa/b",
            "https://cluster.local/ns/a/sa/b",
            "SPIFFE://cluster.local/ns/a/sa/b",
            &long,
        ] {
            assert_eq!(parse(uri), None, "{uri:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_makes_up_the_uri(uri in "(spiffe://)?[a-z.:]{0,6}(/(ns|sa|[a-zA-Z.%-]{0,5})){0,6}|\\PC{0,40}") {
            if let Some(Identity { namespace, account }) = parse(&uri) {
                let path = format!("/ns/{namespace}/sa/{account}");
                prop_assert!(uri.starts_with("spiffe://") && uri.ends_with(&path));
                prop_assert_eq!(uri.matches('/').count(), 6);
            }
        }

        #[test]
        fn every_namespace_and_account_is_read(namespace in "[a-z0-9-]{1,63}", account in "[a-z0-9.-]{1,253}") {
            let uri = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
            prop_assert!(parse(&uri).is_some_and(|identity| identity.is(&namespace, &account)));
        }
    }
}
