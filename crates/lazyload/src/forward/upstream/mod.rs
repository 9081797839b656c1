//! Owns connections to destinations: kept by destination and protocol, bounded, and a second try where it can do no harm.
//! Never decides where to dial.
//! Next: `http1` with `pool`, and `http2`, one for each protocol; `connect`, what both dial with.

mod connect;
mod held;
mod http1;
mod http2;
mod pool;
mod resolve;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::Body;
use http_body_util::Either;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use lazyload_logic::route::Dial;

pub(super) use connect::{Busy, TimedOut};
pub(super) use held::Held;
pub(super) use resolve::ResolveError;

use super::body::Passing;
use super::failure::Failure;
use super::limits::Limits;
use super::metrics::Metrics;
use connect::Connector;

/// What is sent: the client's body, or nothing (the second try of a request without one).
pub(super) type Upload = Either<Passing, Empty<Bytes>>;

/// Why a request got no answer, as the client libraries say it.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The head of an answer; the body is on its way.
pub(super) struct Answered {
    /// The answer.
    pub(super) response: Response<Incoming>,
    /// To be held as long as the body flows.
    pub(super) held: Held,
}

/// Connections to all destinations.
pub(super) struct Upstream {
    http1: http1::Http1,
    http2: http2::Http2,
}

impl Upstream {
    /// `checks` names' addresses: some are never dialled.
    pub(super) fn new(limits: &Limits, checks: bool, metrics: Arc<Metrics>) -> Self {
        let connector = Connector::new(limits, checks, Arc::clone(&metrics));
        Self {
            http1: http1::Http1::new(limits, connector.clone(), metrics),
            http2: http2::Http2::new(limits, connector),
        }
    }

    /// Sends the request to `dial`, addressed to `host`, in the protocol of `parts.version`. Returns when the head of the answer is here.
    ///
    /// A request that was not written at all is always sent again. One that was written, and whose connection or stream ended without an
    /// answer, is sent once more if that can do no harm: see `http1` and `http2`.
    pub(super) async fn send(
        &self,
        dial: Dial,
        host: &HeaderValue,
        parts: Parts,
        body: Passing,
    ) -> Result<Answered, Failure> {
        if parts.version == Version::HTTP_2 {
            self.http2.send(dial, host, parts, body).await
        } else {
            self.http1.send(dial, host, parts, body).await
        }
    }
}

/// Whether sending it twice is as good as once, and whether it can be: nothing of the body is kept.
fn may_be_sent_again(parts: &Parts, body: &Passing) -> bool {
    let is_idempotent = parts.method.is_idempotent() || parts.method == Method::TRACE;
    is_idempotent && body.is_end_stream() && !parts.headers.contains_key(http::header::UPGRADE)
}

fn copy(parts: &Parts) -> Request<Upload> {
    let mut request = Request::new(Either::Right(Empty::new()));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    request
}
