//! Requests that are not forwarded. Every refusal is the client's side to mend.

use lazyload_api::names::ORIG_DEST_HEADER;

use super::dial::Dial;

/// Why a request is not forwarded, in words for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// CONNECT asks for a tunnel to anywhere. Redirected HTTP never needs it.
    #[error("method CONNECT is not implemented here")]
    Connect,
    /// Neither Host nor an absolute-form target.
    #[error("header Host is missing or empty")]
    MissingHost,
    /// A header that decides the route is there more than once (for Host, RFC 9112 section 3.2 demands a refusal).
    #[error("header {header} is given {count} times: expected once")]
    Several {
        /// Its name.
        header: &'static str,
        /// How often.
        count: usize,
    },
    /// A header that decides the route is not text.
    #[error("header {header} has bytes other than visible ASCII")]
    NotText {
        /// Its name.
        header: &'static str,
    },
    /// The body's end is told twice (RFC 9112 section 6.1): others might see it elsewhere than we.
    #[error("headers Transfer-Encoding and Content-Length are both given: expected one of them")]
    TwoLengths,
    /// A transfer coding that would be lost on the way (RFC 9112 section 6.1: 501).
    #[error("header Transfer-Encoding is {value:?}: expected chunked alone, once")]
    TransferCoding {
        /// As written.
        value: String,
    },
    /// Slime-Orig-Dest is no address.
    #[error("header {ORIG_DEST_HEADER} is {value:?}: expected IP:PORT, [IPv6]:PORT or an IP alone")]
    OriginalDestination {
        /// As written.
        value: String,
    },
    /// Host is to be dialled and cannot be.
    #[error("header Host is {value:?}: expected HOST or HOST:PORT, since {ORIG_DEST_HEADER} is absent")]
    Host {
        /// As written, or as completed.
        value: String,
    },
    /// A header of ours on a connection that the pod's proxy did not make: anybody may have written it.
    #[error("header {header} is believed only from the proxy of this pod")]
    NotFromProxy {
        /// Its name.
        header: &'static str,
    },
    /// An address that no call leads to honestly.
    #[error("destination {dial} is {what}, which is never dialled from here")]
    Forbidden {
        /// The destination.
        dial: Dial,
        /// What it is.
        what: &'static str,
    },
    /// A port whose calls are not redirected to the global-sidecar.
    #[error(
        "destination {dial} is on a port that is not redirected to the global-sidecar: expected one of wormholePort"
    )]
    Port {
        /// The destination.
        dial: Dial,
    },
    /// The request came back.
    #[error("host {host:?} leads back to the global-sidecar, and {ORIG_DEST_HEADER} does not tell where else to go")]
    Loop {
        /// The host that was dialled.
        host: String,
    },
}

impl Refusal {
    /// A name for counting.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::MissingHost => "host_missing",
            Self::Several { .. } => "header_repeated",
            Self::NotText { .. } => "header_not_text",
            Self::TwoLengths => "two_lengths",
            Self::TransferCoding { .. } => "transfer_coding",
            Self::OriginalDestination { .. } => "original_destination_malformed",
            Self::Host { .. } => "host_malformed",
            Self::NotFromProxy { .. } => "not_from_proxy",
            Self::Forbidden { .. } => "destination_forbidden",
            Self::Port { .. } => "port_not_redirected",
            Self::Loop { .. } => "loop",
        }
    }

    /// The HTTP status: 501 for CONNECT, since 405 would have to list what the destination allows, and for transfer codings; 508 for a loop;
    /// 421 for what may not come, or go, this way; else 400.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Connect | Self::TransferCoding { .. } => 501,
            Self::NotFromProxy { .. } | Self::Forbidden { .. } | Self::Port { .. } => 421,
            Self::Loop { .. } => 508,
            _ => 400,
        }
    }
}
