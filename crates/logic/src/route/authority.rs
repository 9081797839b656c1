//! `host[:port]` as it stands in Host, in an absolute-form target and in Slime-Orig-Dest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host and perhaps a port, borrowed from what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port; absent and empty are the same (RFC 3986 section 3.2.3).
    pub port: Option<u16>,
}

/// The host part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address, IPv6 with or without brackets.
    Ip(IpAddr),
    /// A name.
    Name(&'a str),
}

impl<'a> Authority<'a> {
    /// Reads `name`, `name:port`, `v4`, `v4:port`, `[v6]`, `[v6]:port` and bare `v6`; port 0 is none of them.
    #[must_use]
    pub fn parse(written: &'a str) -> Option<Self> {
        if let Ok(address) = written.parse::<Ipv6Addr>() {
            return Some(Self { host: Host::Ip(address.into()), port: None });
        }
        let (host, port) = match written.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = if rest.is_empty() { "" } else { rest.strip_prefix(':')? };
                (Host::Ip(address.into()), port)
            }
            None => {
                let (host, port) = written.split_once(':').unwrap_or((written, ""));
                (Host::parse(host)?, port)
            }
        };
        let port = if port.is_empty() { None } else { Some(parse_port(port)?) };
        Some(Self { host, port })
    }
}

impl<'a> Host<'a> {
    fn parse(written: &'a str) -> Option<Self> {
        if let Ok(address) = written.parse::<Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (!written.is_empty() && written.bytes().all(in_name)).then_some(Self::Name(written))
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let digits_only = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&port| digits_only && port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read() {
        let v4 = Host::Ip(Ipv4Addr::new(10, 0, 0, 1).into());
        let v6 = Host::Ip(Ipv6Addr::LOCALHOST.into());
        for (written, host, port) in [
            ("reviews", Host::Name("reviews"), None),
            ("reviews:", Host::Name("reviews"), None),
            ("reviews.default:9080", Host::Name("reviews.default"), Some(9080)),
            ("10.0.0.1", v4, None),
            ("10.0.0.1:80", v4, Some(80)),
            ("::1", v6, None),
            ("[::1]", v6, None),
            ("[::1]:9080", v6, Some(9080)),
        ] {
            assert_eq!(Authority::parse(written), Some(Authority { host, port }), "{written}");
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        for written in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a:+80",
            "a:b",
            "a:80:80",
            "[::1",
            "[::1]80",
            "[10.0.0.1]",
            "a b",
            "a/b",
            "a@b",
            "ä",
        ] {
            assert_eq!(Authority::parse(written), None, "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(written in ".*") {
            let _ = Authority::parse(&written);
        }

        #[test]
        fn a_name_and_port_come_back_as_written(name in "[a-z][a-z0-9.-]{0,60}", port in 1u16..) {
            let written = format!("{name}:{port}");
            prop_assert_eq!(Authority::parse(&written), Some(Authority { host: Host::Name(&name), port: Some(port) }));
        }

        #[test]
        fn an_address_comes_back_as_written(ip: IpAddr, port in 1u16..) {
            let written = std::net::SocketAddr::new(ip, port).to_string();
            prop_assert_eq!(Authority::parse(&written), Some(Authority { host: Host::Ip(ip), port: Some(port) }));
        }
    }
}
