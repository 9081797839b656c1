//! One line of an access log that a proxy of the mesh printed, in Istio's default text form or in its JSON form.

use std::net::{IpAddr, SocketAddr};

use super::cluster::direction;
use super::{Call, Skipped, authority, json_log, text_log};

/// What matters of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Who called: the address that the proxy was called from. In the log of a caller's own proxy that is the caller itself.
    pub caller: IpAddr,
    /// The requested `:authority`, as logged; `-` where there was none.
    pub authority: String,
    /// Envoy's name of the cluster that answered; `-` where there was none.
    pub upstream_cluster: String,
    /// When the request began, as logged.
    pub at: Option<String>,
}

/// A line that is no access-log line, or not one of these forms.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Another text than Istio's default format gives.
    #[error("failed to read a text log line: expected {expected} as field {field}, found {found:?}")]
    Text {
        /// Number of the field in Istio's default format, from 1.
        field: usize,
        /// What belongs there.
        expected: &'static str,
        /// What is there, at most 60 characters.
        found: String,
    },
    /// No JSON, or values of wrong types.
    #[error("failed to read a JSON log line")]
    Json {
        /// Why.
        source: serde_json::Error,
    },
    /// JSON, but of something else.
    #[error("failed to read a JSON log line: expected {expected} as {key:?}, found {found:?}")]
    JsonValue {
        /// The key.
        key: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What is there, at most 60 characters.
        found: String,
    },
}

/// Reads a line in either form.
///
/// # Errors
/// Says which field is not as expected.
pub fn parse_line(line: &str) -> Result<LogLine, LineError> {
    let line = line.trim();
    if line.starts_with('{') { json_log::parse(line) } else { text_log::parse(line) }
}

/// The call that a line tells of.
///
/// Lines of any proxy count, whatever the direction: each has the caller's address and the requested host. A request that
/// two proxies logged is told twice, by the same pair.
///
/// # Errors
/// The reason why the line tells nothing.
pub fn call_of(line: &LogLine) -> Result<Call, Skipped> {
    if direction(&line.upstream_cluster).is_none() {
        return Err(Skipped::NotRouted);
    }
    let host = authority::parse(&line.authority)?;
    Ok(Call { caller: line.caller, peer: None, authority: host.into_string(), count: 1 })
}

/// An address as Envoy prints it: `IP:PORT`, or an IP alone.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip = match text.parse::<SocketAddr>() {
        Ok(socket) => socket.ip(),
        Err(_) => text.parse().ok()?,
    };
    Some(ip.to_canonical())
}

/// The beginning of a text, short enough for a message.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
