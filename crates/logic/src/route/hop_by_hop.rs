//! Which headers concern one connection only and end here (RFC 9110 section 7.6.1). Names are in lower case.
//!
//! `Trailer` stays, since it announces what follows the body; Proxy-Authorization and Proxy-Authenticate stay, since a fallback that the
//! caller never asked for must not swallow them.

/// Whether a header is never passed on. `te` and `upgrade` may be set anew, see [`kept_te`] and [`wanted_upgrade`].
#[must_use]
pub fn ends_here(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" | "http2-settings"
    )
}

/// Whether a header is no trailer: what [`ends_here`], and what trailers must not change any more (RFC 9110 section 6.5.1).
#[must_use]
pub fn is_no_trailer(name: &str) -> bool {
    ends_here(name) || matches!(name, "content-length" | "host" | "trailer")
}

/// What no Connection header may remove: framing and addressing of the message itself.
const PROTECTED: [&str; 4] = ["content-length", "content-type", "host", "trailer"];

/// Headers that a Connection value names besides its options, all to be removed.
pub fn listed_in_connection(value: &str) -> impl Iterator<Item = &str> {
    let is_protected = |name: &&str| PROTECTED.iter().any(|kept| kept.eq_ignore_ascii_case(name));
    tokens(value).filter(move |name| !is_protected(name))
}

/// The TE to pass on: only `trailers` is not about the connection alone.
#[must_use]
pub fn kept_te(value: &str) -> Option<&'static str> {
    tokens(value).any(|coding| coding.eq_ignore_ascii_case("trailers")).then_some("trailers")
}

/// The protocol that a message asks to switch to: Connection must name Upgrade. A switch to HTTP/2 is ignored, as the RFC allows: what
/// follows would be requests, and those are forwarded one by one.
#[must_use]
pub fn wanted_upgrade<'a>(connection: &str, upgrade: &'a str) -> Option<&'a str> {
    let asked = tokens(connection).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let is_http2 = tokens(upgrade).any(|protocol| protocol.eq_ignore_ascii_case("h2c"));
    (asked && !is_http2 && !upgrade.trim().is_empty()).then_some(upgrade)
}

fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_headers_to_remove_but_not_those_that_frame_the_message() {
        let listed: Vec<_> = listed_in_connection("close, X-Hop,, Host ,Content-Length").collect();
        assert_eq!(listed, ["close", "X-Hop"]);
    }

    #[test]
    fn only_trailers_survives_of_te() {
        assert_eq!(kept_te("gzip, Trailers"), Some("trailers"));
        assert_eq!(kept_te("gzip"), None);
    }

    #[test]
    fn an_upgrade_needs_connection_and_is_not_http2() {
        assert_eq!(wanted_upgrade("keep-alive, Upgrade", "websocket"), Some("websocket"));
        assert_eq!(wanted_upgrade("keep-alive", "websocket"), None);
        assert_eq!(wanted_upgrade("Upgrade, HTTP2-Settings", "h2c"), None);
    }
}
