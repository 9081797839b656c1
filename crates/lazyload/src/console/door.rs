//! Who is let in, and what a browser may do with what it gets. The console has no password: who reaches its listener may look. What must not happen
//! is that a page from elsewhere looks through the browser of somebody who does.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::server::Console;

/// What a browser may load and do: what comes from here, and nothing written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Refuses what must not come in, and puts the headers on every answer.
pub(super) async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let mut response = match refusal(&request, &console.hosts) {
        Some((status, why)) => (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], why).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn refusal(request: &Request, hosts: &[String]) -> Option<(StatusCode, String)> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "The console only shows: GET.\n".to_owned()));
    }
    let mut named = request.headers().get_all(header::HOST).iter();
    let host = named.next().and_then(|host| host.to_str().ok()).filter(|_| named.next().is_none());
    if host.is_some_and(|host| is_ours(host, hosts)) {
        return None;
    }
    let told = "This console is not known by the name that you asked for, and a page from elsewhere could hide behind it. Ask for \
                http://localhost:PORT/, or for an address; other names are listed in the setting global.misc.console-hosts.\n";
    Some((StatusCode::MISDIRECTED_REQUEST, told.to_owned()))
}

/// Whether a `Host` header names this console. A page from elsewhere whose name was bound to our address afterwards (DNS rebinding) asks by its own name,
/// never by an address.
fn is_ours(host: &str, hosts: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(address, _)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_listed_names_are_ours_and_nothing_else() {
        let listed = ["api.example".to_owned()];
        for ours in
            ["127.0.0.1:8083", "127.0.0.1", "[::1]:8083", "localhost:1", "LOCALHOST", "10.0.0.7:80", "API.example:6443"]
        {
            assert!(is_ours(ours, &listed), "{ours}");
        }
        for foreign in [
            "evil.example:8083",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8083",
            "",
            "[::1",
            ":8083",
            "[evil]:1",
        ] {
            assert!(!is_ours(foreign, &listed), "{foreign}");
        }
    }
}
