//! When there is no answer to pass on: who failed, why, and the answer that says so.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use lazyload_api::names::FAILURE_HEADER;
use lazyload_logic::route::{Dial, Refusal};

use super::connect::TimedOut;
use super::exchange::Answer;

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The request.
    Client,
    /// The destination.
    Upstream,
    /// This process.
    Ours,
}

impl Side {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Ours => "ours",
        }
    }
}

/// Why a request has no answer of its destination.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The request head does not lead anywhere.
    #[error("request refused")]
    Refused(#[source] Refusal),
    /// The request body broke off, or was malformed.
    #[error("failed to read the request body")]
    RequestBody(#[source] hyper_util::client::legacy::Error),
    /// No connection.
    #[error("failed to connect to {dial}")]
    Connect { dial: Dial, source: hyper_util::client::legacy::Error },
    /// A connection, but no answer.
    #[error("failed to get an answer from {dial}")]
    Exchange { dial: Dial, source: hyper_util::client::legacy::Error },
    /// 101 without having been asked to switch protocols.
    #[error("{dial} switched protocols unasked")]
    SwitchedUnasked { dial: Dial },
    /// A destination that the client library cannot express.
    #[error("failed to address {dial}")]
    Address { dial: Dial, source: http::Error },
}

impl Failure {
    /// Tells a failed connect, a broken request body and a broken exchange apart.
    pub(super) fn of(dial: Dial, source: hyper_util::client::legacy::Error) -> Self {
        let is_ours_to_send = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
        };
        if source.is_connect() {
            Self::Connect { dial, source }
        } else if chain(&source).any(is_ours_to_send) {
            Self::RequestBody(source)
        } else {
            Self::Exchange { dial, source }
        }
    }

    pub(super) fn side(&self) -> Side {
        match self {
            Self::Refused(_) | Self::RequestBody(_) => Side::Client,
            Self::Connect { .. } | Self::Exchange { .. } | Self::SwitchedUnasked { .. } => Side::Upstream,
            Self::Address { .. } => Side::Ours,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Connect { source, .. } if chain(source).any(<dyn std::error::Error>::is::<TimedOut>) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            _ => match self.side() {
                Side::Client => StatusCode::BAD_REQUEST,
                Side::Upstream => StatusCode::BAD_GATEWAY,
                Side::Ours => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    /// The whole chain in one line, without the client library's own labels.
    pub(super) fn reason(&self) -> String {
        let parts: Vec<String> = chain(self)
            .filter(|cause| !cause.is::<hyper_util::client::legacy::Error>())
            .map(ToString::to_string)
            .collect();
        parts.join(": ")
    }

    /// The answer in place of the destination's.
    pub(super) fn into_answer(self) -> Response<Answer> {
        let reason = self.reason();
        let text = format!("lazyload global-sidecar: {} side: {reason}\n", self.side().as_str());
        let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let value: String = format!("{}; {reason}", self.side().as_str()).chars().map(visible).collect();
        let mut answer = Response::new(Either::Right(Full::new(Bytes::from(text))));
        *answer.status_mut() = self.status();
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(FAILURE_HEADER, value);
        }
        answer
    }
}

/// An error and its sources.
pub(super) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
