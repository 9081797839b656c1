//! The host in a request's `:authority` or `Host`. A client writes it, so anything can be in it.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Skipped;

/// Longest name in DNS, without trailing dot.
const MAX_HOST: usize = 253;
/// Longest label in DNS.
const MAX_LABEL: usize = 63;

/// A host name: lower case, no port, no trailing dot, 1 to 253 bytes, labels of 1 to 63 letters, digits, `-` and `_`,
/// not beginning or ending with `-`; never an IP address. It may be short (`details`, `details.default`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host<'a>(Cow<'a, str>);

impl Host<'_> {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_owned()
    }

    /// Whether Istio takes the name as a host of a Sidecar: its admission check knows no underscore.
    #[must_use]
    pub fn is_dns_1123(&self) -> bool {
        !self.0.contains('_')
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the host from an authority (`details:9080`, `Details.default.`, `[::1]:80`); allocates only to lower the case.
///
/// # Errors
/// There is no host, it is an IP address, or it cannot be a host name.
pub fn parse(authority: &str) -> Result<Host<'_>, Skipped> {
    let authority = authority.trim_matches([' ', '\t']);
    if authority.is_empty() || authority == "-" {
        return Err(Skipped::NoAuthority);
    }
    if authority.starts_with('[') {
        return Err(bracketed(authority));
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err(Skipped::AuthorityIsAddress);
    }
    let host = match authority.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return Err(Skipped::AuthorityMalformed),
        None => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() {
        return Err(Skipped::NoAuthority);
    }
    if is_address(host) {
        return Err(Skipped::AuthorityIsAddress);
    }
    if host.len() > MAX_HOST || !host.split('.').all(is_label) {
        return Err(Skipped::AuthorityMalformed);
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Host(Cow::Owned(host.to_ascii_lowercase())));
    }
    Ok(Host(Cow::Borrowed(host)))
}

/// What an authority in brackets is: `[::1]` and `[::1]:80` are addresses, the rest is nonsense.
fn bracketed(authority: &str) -> Skipped {
    let parts = authority.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let Some((address, port)) = parts else { return Skipped::AuthorityMalformed };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    // A zone (`fe80::1%eth0`) names an interface of the client's machine.
    let address = address.split_once('%').map_or(address, |(address, _zone)| address);
    if port_fits && address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        Skipped::AuthorityIsAddress
    } else {
        Skipped::AuthorityMalformed
    }
}

/// A port may be empty (RFC 3986, 3.2.3).
fn is_port(port: &str) -> bool {
    port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// IPv4 in four parts, and what resolvers take for IPv4 too: `127.1`, `2130706433`, `0x7f.0.0.1`.
fn is_address(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || host.split('.').all(is_number)
}

fn is_number(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(authority: &str) -> String {
        parse(authority).unwrap_or_else(|skipped| panic!("{authority:?}: {}", skipped.name())).into_string()
    }

    #[test]
    fn the_host_is_without_port_in_lower_case_and_without_trailing_dot() {
        assert_eq!(host("details:9080"), "details");
        assert_eq!(host("details"), "details");
        assert_eq!(host("details:"), "details");
        assert_eq!(host("Details.Default.SVC.cluster.local.:9080"), "details.default.svc.cluster.local");
        assert_eq!(host("www.example.com."), "www.example.com");
        assert_eq!(host(" details "), "details");
        assert_eq!(host("my_service.default"), "my_service.default");
        assert_eq!(host("details.123"), "details.123", "a namespace may be a number");
        assert_eq!(host("1.example.com"), "1.example.com");
    }

    #[test]
    fn no_allocation_unless_the_case_changes() {
        assert!(matches!(parse("details.default:9080"), Ok(Host(Cow::Borrowed("details.default")))));
    }

    #[test]
    fn istio_knows_no_underscore() {
        assert!(parse("details.default").unwrap().is_dns_1123());
        assert!(!parse("my_service.default").unwrap().is_dns_1123());
    }

    #[test]
    fn no_host_is_told_apart_from_a_bad_one() {
        for authority in ["", " ", "-", ":80", ".", ".:80"] {
            assert_eq!(parse(authority), Err(Skipped::NoAuthority), "{authority:?}");
        }
    }

    #[test]
    fn an_address_is_no_host() {
        let addresses = [
            "10.1.2.3",
            "10.1.2.3:80",
            "10.1.2.3.",
            "::1",
            "fe80::1",
            "2001:db8::80",
            "[::1]",
            "[::1]:80",
            "[::1]:",
            "[fe80::1%eth0]:80",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0x7f000001",
            "1.2.3.4.5",
            "256.256.256.256",
        ];
        for authority in addresses {
            assert_eq!(parse(authority), Err(Skipped::AuthorityIsAddress), "{authority:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_host_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["a"; 128].join(".");
        let bad = [
            "details:http",
            "details:99999",
            "details:+80",
            "details:80:80",
            "user@details",
            "details..default",
            "..",
            ".a",
            "a..",
            "-a",
            "a-",
            "a.-b",
            "de tails",
            "details/0",
            "http://details",
            "*",
            "*.example.com",
            "bücher.example",
            "a\0b",
            "[::1",
            "[details]:80",
            "[::1]x",
            "[10.1.2.3]",
            "fe80::1%eth0",
            "a,b",
            &long_label,
            &long_name,
        ];
        for authority in bad {
            assert_eq!(parse(authority), Err(Skipped::AuthorityMalformed), "{authority:?}");
        }
    }

    #[test]
    fn the_longest_names_of_dns_are_taken() {
        let label = "a".repeat(63);
        let name = [label.as_str(), &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(name.len(), 253);
        assert_eq!(host(&format!("{name}.:80")), name);
        assert_eq!(parse(&format!("{name}a")), Err(Skipped::AuthorityMalformed));
    }

    proptest! {
        #[test]
        fn a_host_is_always_valid_and_reading_it_again_changes_nothing(text in "[a-zA-Z0-9._:\\[\\]@* -]{0,40}|\\PC{0,40}") {
            if let Ok(host) = parse(&text) {
                let name = host.as_str();
                prop_assert!(!name.is_empty() && name.len() <= MAX_HOST);
                prop_assert!(name.split('.').all(is_label), "{name:?}");
                prop_assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
                prop_assert!(name.parse::<IpAddr>().is_err());
                let again = parse(name);
                prop_assert_eq!(again.as_ref().map(Host::as_str), Ok(name));
            }
        }

        #[test]
        fn every_service_name_with_any_port_is_its_own_host(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]{1,9}){0,4}", port: u16) {
            prop_assert_eq!(host(&format!("{name}:{port}")), name.clone());
            prop_assert_eq!(host(&name.to_uppercase()), name);
        }
    }
}
