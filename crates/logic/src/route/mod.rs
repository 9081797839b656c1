//! Owns the decisions about one request at the global-sidecar: where to dial, what Host to send, which headers end here.
//! Never sees a socket: a request head as text goes in, a [`Route`] or a [`Refusal`] comes out.
//! Next: `forward` in the binary reads the head and carries the route out.

mod authority;
mod dial;
mod framing;
mod grpc;
mod hop_by_hop;
mod reach;
mod refusal;

use std::borrow::Cow;

pub use authority::{Authority, Host};
pub use dial::Dial;
pub use framing::has_content_length;
pub use grpc::{grpc_message, grpc_status, is_grpc};
pub use hop_by_hop::{ends_here, is_no_trailer, kept_te, listed_in_connection, wanted_upgrade};
pub use reach::{admit, never_dialled};
pub use refusal::Refusal;

/// Port to dial when neither the original destination nor Host names one.
const DEFAULT_PORT: u16 = 80;

/// What the decision needs of a request, as written.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    /// The method is CONNECT.
    pub is_connect: bool,
    /// Authority of an absolute-form request target; it outranks Host (RFC 9112 section 3.2.2).
    pub target_authority: Option<&'a str>,
    /// The Host header.
    pub host: Option<&'a str>,
    /// The Slime-Orig-Dest header; empty is as good as absent.
    pub original_destination: Option<&'a str>,
    /// The Slime-Source-Ns header; empty is as good as absent.
    pub source_namespace: Option<&'a str>,
    /// A forwarder has dialled by Host already, see [`lazyload_api::names::DIALLED_BY_HOST_HEADER`].
    pub dialled_by_host: bool,
    /// Port on which the request came.
    pub listener_port: u16,
}

/// Where a request goes and how it is addressed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Where to connect to.
    pub dial: Dial,
    /// The Host to send.
    pub host: Cow<'a, str>,
    /// The destination comes from Host, not from Slime-Orig-Dest.
    pub by_host: bool,
}

/// Decides where a request goes.
///
/// A Host without a dot is completed with the caller's namespace where `service_exists(namespace, name)`. A Host that cannot be read is
/// passed on as it is, as long as Slime-Orig-Dest tells where to dial. With `prefer_listener_port` a request without Slime-Orig-Dest is
/// dialled on the port on which it came, whatever port Host names.
///
/// # Errors
/// The request names no usable destination, would tunnel, or would come back to a forwarder for ever.
pub fn route<'a>(
    head: &RequestHead<'a>,
    prefer_listener_port: bool,
    service_exists: impl Fn(&str, &str) -> bool,
) -> Result<Route<'a>, Refusal> {
    if head.is_connect {
        return Err(Refusal::Connect);
    }
    let written = head.target_authority.map(without_user_info).or(head.host).unwrap_or_default();
    if written.is_empty() {
        return Err(Refusal::MissingHost);
    }
    let host = completed(written, head.source_namespace, service_exists);
    if let Some(value) = head.original_destination.filter(|value| !value.is_empty()) {
        let dial = Dial::original(value, head.listener_port);
        let dial = dial.ok_or_else(|| Refusal::OriginalDestination { value: value.to_owned() })?;
        return Ok(Route { dial, host, by_host: false });
    }
    if head.dialled_by_host {
        return Err(Refusal::Loop { host: host.into_owned() });
    }
    let Some(authority) = Authority::parse(&host) else {
        return Err(Refusal::Host { value: host.into_owned() });
    };
    let port = if prefer_listener_port { head.listener_port } else { authority.port.unwrap_or(DEFAULT_PORT) };
    Ok(Route { dial: Dial::to(authority.host, port), host, by_host: true })
}

/// Userinfo has no place in Host (RFC 9110 section 4.2.4).
fn without_user_info(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// `name[:port]` -> `name.namespace[:port]`, if that is a Service of the caller's namespace.
fn completed<'a>(
    written: &'a str,
    namespace: Option<&str>,
    service_exists: impl Fn(&str, &str) -> bool,
) -> Cow<'a, str> {
    let complete = || {
        let namespace = namespace.filter(|namespace| is_label(namespace))?;
        let Some(Host::Name(name)) = Authority::parse(written).map(|authority| authority.host) else { return None };
        if name.contains('.') {
            return None;
        }
        let known = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            service_exists(namespace, &name.to_ascii_lowercase())
        } else {
            service_exists(namespace, name)
        };
        let port = written.strip_prefix(name)?;
        known.then(|| format!("{name}.{namespace}{port}"))
    };
    complete().map_or(Cow::Borrowed(written), Cow::Owned)
}

/// A Kubernetes namespace is one DNS label; Envoy writes `-` for an environment variable that it does not have.
fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests;
