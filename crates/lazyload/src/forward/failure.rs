//! When there is no answer to pass on: who failed, why, and the answer that says so.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{Either, Full};
use lazyload_api::names::FAILURE_HEADER;
use lazyload_logic::route::{self, Dial, Refusal};

use super::exchange::Answer;
use super::upstream::{Busy, Cause, ResolveError, TimedOut};

/// Who failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// What came is no request head, or too long a one: mostly the HTTP library has decided so, and on the status.
    #[error("{}", unreadable(*.0))]
    Unreadable(StatusCode),
    /// The request body broke off, or was malformed.
    #[error("failed to read the request body")]
    RequestBody(#[source] Cause),
    /// No connection.
    #[error("failed to connect to {dial}")]
    Connect { dial: Dial, source: Cause },
    /// A connection, but no answer.
    #[error("failed to get an answer from {dial}")]
    Exchange { dial: Dial, source: Cause },
    /// 101 without having been asked to switch protocols.
    #[error("{dial} switched protocols unasked")]
    SwitchedUnasked { dial: Dial },
    /// A host or destination that the client library cannot express.
    #[error("failed to address {dial}")]
    Address { dial: Dial, source: http::Error },
}

impl Failure {
    /// There is no connection.
    pub(super) fn connect(dial: Dial, source: impl Into<Cause>) -> Self {
        Self::Connect { dial, source: source.into() }
    }

    /// There is a connection: tells a broken request body and a broken exchange apart.
    pub(super) fn exchange(dial: Dial, source: impl Into<Cause>) -> Self {
        let source = source.into();
        let is_ours_to_send = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_user)
        };
        if chain(source.as_ref()).any(is_ours_to_send) {
            Self::RequestBody(source)
        } else {
            Self::Exchange { dial, source }
        }
    }

    /// Why there is no connection decides who failed.
    fn connecting(source: &Cause) -> (Side, StatusCode) {
        let cause = |is: fn(&(dyn std::error::Error + 'static)) -> bool| chain(source.as_ref()).any(is);
        let unresolved = chain(source.as_ref()).find_map(<dyn std::error::Error>::downcast_ref::<ResolveError>);
        match unresolved {
            Some(ResolveError::NoSuchHost { .. }) => (Side::Client, StatusCode::NOT_FOUND),
            Some(ResolveError::Forbidden { .. }) => (Side::Client, StatusCode::MISDIRECTED_REQUEST),
            _ if cause(<dyn std::error::Error>::is::<Busy>) => (Side::Ours, StatusCode::SERVICE_UNAVAILABLE),
            _ if cause(<dyn std::error::Error>::is::<TimedOut>) => (Side::Upstream, StatusCode::GATEWAY_TIMEOUT),
            _ => (Side::Upstream, StatusCode::BAD_GATEWAY),
        }
    }

    pub(super) fn side(&self) -> Side {
        match self {
            Self::Refused(_) | Self::Unreadable(_) | Self::RequestBody(_) | Self::Address { .. } => Side::Client,
            Self::Connect { source, .. } => Self::connecting(source).0,
            Self::Exchange { .. } | Self::SwitchedUnasked { .. } => Side::Upstream,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Unreadable(status) => *status,
            Self::RequestBody(_) | Self::Address { .. } => StatusCode::BAD_REQUEST,
            Self::Connect { source, .. } => Self::connecting(source).1,
            Self::Exchange { .. } | Self::SwitchedUnasked { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// Where it was to go, as far as that was known.
    pub(super) fn dial(&self) -> Option<&Dial> {
        match self {
            Self::Connect { dial, .. }
            | Self::Exchange { dial, .. }
            | Self::SwitchedUnasked { dial }
            | Self::Address { dial, .. } => Some(dial),
            Self::Refused(_) | Self::Unreadable(_) | Self::RequestBody(_) => None,
        }
    }

    /// Envoy's word for it in access logs.
    pub(super) fn flag(&self) -> &'static str {
        match self {
            Self::Refused(_) | Self::Address { .. } => "NR",
            Self::Unreadable(_) | Self::RequestBody(_) => "DPE",
            Self::Connect { source, .. } => match Self::connecting(source) {
                (Side::Client, _) => "NR",
                (Side::Ours, _) => "UO",
                (Side::Upstream, _) => "UF",
            },
            Self::Exchange { .. } => "UC",
            Self::SwitchedUnasked { .. } => "UPE",
        }
    }

    /// The whole chain in one line.
    pub(super) fn reason(&self) -> String {
        let parts: Vec<String> = chain(self).map(ToString::to_string).collect();
        parts.join(": ")
    }

    /// What the answer's body says.
    pub(super) fn text(&self) -> String {
        format!("lazyload global-sidecar: {} side: {}\n", self.side().as_str(), self.reason())
    }

    /// What the answer's header says.
    pub(super) fn header(&self) -> String {
        let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        format!("{}; {}", self.side().as_str(), self.reason()).chars().map(visible).collect()
    }

    /// The answer in place of the destination's; gRPC clients expect a status of their own, in headers alone.
    pub(super) fn into_answer(self, is_grpc: bool) -> Response<Answer> {
        let (text, value) = (self.text(), self.header());
        let body = if is_grpc { Bytes::new() } else { Bytes::from(text.clone()) };
        let kind = if is_grpc { "application/grpc" } else { "text/plain; charset=utf-8" };
        let mut answer = Response::new(Either::Right(Full::new(body)));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if is_grpc {
            let status = route::grpc_status(self.status().as_u16());
            answer.headers_mut().insert("grpc-status", HeaderValue::from(status));
            if let Ok(message) = HeaderValue::from_str(&route::grpc_message(text.trim_end())) {
                answer.headers_mut().insert("grpc-message", message);
            }
        } else {
            *answer.status_mut() = self.status();
        }
        if let Ok(value) = HeaderValue::from_str(&value) {
            answer.headers_mut().insert(FAILURE_HEADER, value);
        }
        answer
    }
}

fn unreadable(status: StatusCode) -> &'static str {
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request head is too large",
        StatusCode::URI_TOO_LONG => "the request target is too long",
        _ => "the request head is malformed",
    }
}

/// An error and its sources.
pub(super) fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_no_connection_decides_the_status_and_the_side() {
        let dial = || Dial::Name { host: "a".into(), port: 80 };
        let name = || "a".to_owned();
        let failed = |error: Cause| {
            let failure = Failure::connect(dial(), error);
            (failure.status().as_u16(), failure.side())
        };
        let io = || std::io::Error::other("any");
        assert_eq!(failed(Box::new(ResolveError::NoSuchHost { name: name(), source: None })), (404, Side::Client));
        assert_eq!(failed(Box::new(ResolveError::Forbidden { name: name(), what: "x" })), (421, Side::Client));
        assert_eq!(failed(Box::new(ResolveError::Failed { name: name(), source: io() })), (502, Side::Upstream));
        assert_eq!(failed(Box::new(io())), (502, Side::Upstream));
    }
}
