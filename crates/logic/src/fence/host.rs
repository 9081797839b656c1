//! Which hosts Istio takes in a Sidecar. One that its admission refuses would keep the whole Sidecar from being written, so it is left out.
//! Source: Istio 1.31, `pkg/config/validation` (`ValidateSidecar`) and `pkg/config/validation/agent` (`ValidateNamespaceSlashWildcardHostname`).

/// Longest name in DNS, without trailing dot; Istio takes 255.
const MAX_HOST: usize = 253;
/// Longest label in DNS.
const MAX_LABEL: usize = 63;

/// Why Istio would not take a host. Says what was expected; the caller names the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHost {
    /// Nothing is there.
    #[error("expected a host name, got nothing")]
    Empty,
    /// A name without a dot, and no Service of that name.
    #[error("expected a Service of that name in the fence's namespace, or a name with a dot in it")]
    Short,
    /// More than 253 bytes.
    #[error("expected a name of at most {MAX_HOST} bytes")]
    TooLong,
    /// An empty label, or a dot at the end.
    #[error("expected something before and after each dot")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("expected at most {MAX_LABEL} bytes between two dots")]
    LongLabel,
    /// Something else than letters, digits and hyphens, or a hyphen at an end.
    #[error("expected letters, digits and hyphens between the dots, with no hyphen beside a dot (Istio knows no '_')")]
    Letters,
    /// `*` elsewhere than as the whole first label.
    #[error("expected a * only as the whole first part, as in *.example.com")]
    Wildcard,
    /// A slash that does not make it `NAMESPACE/*`.
    #[error("expected a host alone, or NAMESPACE/* for every service of a namespace")]
    Slash,
    /// A last label of digits, such as that of an IP address.
    #[error("expected a name whose last part is not a number: an IP address is no host")]
    Number,
    /// Not a namespace's name before `/*`.
    #[error("expected the name of a namespace before /*, at most {MAX_LABEL} letters, digits and hyphens")]
    Namespace,
}

/// Checks an entry of a Sidecar's `hosts`: `NAMESPACE/HOST`, of which the one is `*` or the other may be.
///
/// # Errors
/// Istio's admission would refuse a Sidecar with this entry.
pub fn check_entry(entry: &str) -> Result<(), BadHost> {
    let (namespace, host) = entry.split_once('/').ok_or(BadHost::Slash)?;
    if namespace != "*" {
        check_namespace(namespace)?;
    }
    check_host(host)
}

/// Checks a dependency as a user writes it: a host, or `NAMESPACE/*`.
///
/// # Errors
/// Istio's admission would refuse a Sidecar with what follows from it.
pub fn check_dependency(dependency: &str) -> Result<(), BadHost> {
    match dependency.strip_suffix("/*") {
        Some("*") => Ok(()),
        Some(namespace) => check_namespace(namespace),
        None => check_host(dependency),
    }
}

/// Checks the host of a Sidecar's entry.
///
/// # Errors
/// Istio's admission would refuse a Sidecar with this host.
pub fn check_host(host: &str) -> Result<(), BadHost> {
    if host == "*" {
        return Ok(());
    }
    if host.is_empty() {
        return Err(BadHost::Empty);
    }
    if host.contains('/') {
        return Err(BadHost::Slash);
    }
    if host.len() > MAX_HOST {
        return Err(BadHost::TooLong);
    }
    let Some((first, rest)) = host.split_once('.') else {
        return check_label(host).and(Err(BadHost::Short));
    };
    if rest.contains('*') || first != "*" && first.contains('*') {
        return Err(BadHost::Wildcard);
    }
    if first != "*" {
        check_label(first)?;
    }
    rest.split('.').try_for_each(check_label)?;
    let last = rest.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHost::Number);
    }
    Ok(())
}

fn check_namespace(namespace: &str) -> Result<(), BadHost> {
    // Istio's own namespace, seen from the Sidecar.
    if namespace == "." { Ok(()) } else { check_label(namespace).map_err(|_| BadHost::Namespace) }
}

fn check_label(label: &str) -> Result<(), BadHost> {
    if label.is_empty() {
        return Err(BadHost::EmptyLabel);
    }
    let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits || label.starts_with('-') || label.ends_with('-') {
        return Err(BadHost::Letters);
    }
    if label.len() > MAX_LABEL { Err(BadHost::LongLabel) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Istio 1.31 was asked about each (`ValidateSidecar`); what it takes and we do not is marked.
    #[test]
    fn what_istios_admission_refuses_is_refused() {
        let long_label = "a".repeat(64);
        let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60), "e".repeat(20)].join(".");
        for (host, expected) in [
            ("a.b", Ok(())),
            ("*", Ok(())),
            ("*.example.com", Ok(())),
            ("*.com", Ok(())),
            ("A.B", Ok(())),
            ("1.example.com", Ok(())),
            ("xn--bcher-kva.example", Ok(())),
            ("", Err(BadHost::Empty)),
            ("details", Err(BadHost::Short)),
            ("my_svc.default", Err(BadHost::Letters)),
            ("a b.c", Err(BadHost::Letters)),
            ("-a.b", Err(BadHost::Letters)),
            ("a-.b", Err(BadHost::Letters)),
            ("a.b:80", Err(BadHost::Letters)),
            ("b\u{fc}cher.example", Err(BadHost::Letters)),
            ("a..b", Err(BadHost::EmptyLabel)),
            (".a.b", Err(BadHost::EmptyLabel)),
            // Istio takes a dot at the end, and finds no service by that name.
            ("a.b.", Err(BadHost::EmptyLabel)),
            ("*-a.b", Err(BadHost::Wildcard)),
            ("a*.b", Err(BadHost::Wildcard)),
            ("a.*.b", Err(BadHost::Wildcard)),
            ("10.0.0.1", Err(BadHost::Number)),
            ("*.1", Err(BadHost::Number)),
            ("test/a.b", Err(BadHost::Slash)),
            (&format!("{long_label}.b"), Err(BadHost::LongLabel)),
            // Istio takes 255 bytes.
            (&long[..254], Err(BadHost::TooLong)),
        ] {
            assert_eq!(check_host(host), expected, "{host}");
        }
    }

    #[test]
    fn a_namespace_entry_names_a_namespace() {
        for (dependency, expected) in [
            ("test/*", Ok(())),
            ("./*", Ok(())),
            ("*/*", Ok(())),
            ("a.b/*", Err(BadHost::Namespace)),
            ("/*", Err(BadHost::Namespace)),
            ("a_b/*", Err(BadHost::Namespace)),
            // To Istio this is "nothing of them"; here it would be an accident.
            ("~test/*", Err(BadHost::Namespace)),
            ("~/*", Err(BadHost::Namespace)),
            ("*/", Err(BadHost::Slash)),
            ("a/b/*", Err(BadHost::Namespace)),
        ] {
            assert_eq!(check_dependency(dependency), expected, "{dependency}");
        }
        assert_eq!(check_entry("*/a.b"), Ok(()));
        assert_eq!(check_entry("istio-system/*"), Ok(()));
        assert_eq!(check_entry("*/a_b.c"), Err(BadHost::Letters));
    }
}
