//! Requests that are not forwarded. Every refusal is the client's side to mend.

use lazyload_api::names::ORIG_DEST_HEADER;

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
    /// The request came back.
    #[error("host {host:?} leads back to the global-sidecar, and {ORIG_DEST_HEADER} does not tell where else to go")]
    Loop {
        /// The host that was dialled.
        host: String,
    },
}

impl Refusal {
    /// The HTTP status: 501 for CONNECT, since 405 would have to list what the destination allows, and for transfer codings; 508 for a loop;
    /// else 400.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Connect | Self::TransferCoding { .. } => 501,
            Self::Loop { .. } => 508,
            _ => 400,
        }
    }
}
