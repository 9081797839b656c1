//! Sends a request to where the route says: over a kept connection where there is one, and once more if that one was stale.

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::{Either, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lazyload_logic::route::Dial;

use super::connect::{Connector, HasAnswered};
use super::failure::Failure;
use super::limits::Limits;

type Upload = Either<Incoming, Empty<Bytes>>;

/// Connections to all destinations, kept by destination.
pub(super) struct Upstream {
    pooled: Client<Connector, Upload>,
    /// Never uses a connection twice; for the retry.
    fresh: Client<Connector, Upload>,
}

impl Upstream {
    pub(super) fn new(limits: &Limits) -> Self {
        let connector = Connector::new(limits.connect);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.set_host(false).timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.pool_idle_timeout(limits.pool_idle).pool_max_idle_per_host(limits.pool_per_destination);
        let pooled = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, fresh }
    }

    /// Sends the request to `dial` and returns when the head of the answer is here.
    ///
    /// A request that was not written at all is always sent again, by the client library. One that was written into a connection which had
    /// answered before and now closed without an answer is sent once more if that can do no harm: an idempotent method, no body, no upgrade.
    pub(super) async fn send(
        &self,
        dial: Dial,
        mut parts: Parts,
        body: Incoming,
    ) -> Result<Response<Incoming>, Failure> {
        parts.uri = match upstream_uri(&dial, &parts.uri) {
            Ok(uri) => uri,
            Err(source) => return Err(Failure::Address { dial, source }),
        };
        let again = may_be_sent_again(&parts, &body).then(|| copy(&parts));
        let error = match self.pooled.request(Request::from_parts(parts, Either::Left(body))).await {
            Ok(response) => {
                if let Some(connection) = response.extensions().get::<HasAnswered>() {
                    connection.set();
                }
                return Ok(response);
            }
            Err(error) => error,
        };
        match again {
            Some(request) if was_stale(&error) => {
                tracing::debug!(%dial, "a kept connection was closed by its upstream; sending again");
                self.fresh.request(request).await.map_err(|error| Failure::of(dial, error))
            }
            _ => Err(Failure::of(dial, error)),
        }
    }
}

/// The destination as authority, path and query as the client wrote them.
fn upstream_uri(dial: &Dial, requested: &Uri) -> Result<Uri, http::Error> {
    let path = requested.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().scheme(Scheme::HTTP).authority(dial.to_string()).path_and_query(path).build()
}

fn may_be_sent_again(parts: &Parts, body: &Incoming) -> bool {
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

fn was_stale(error: &Error) -> bool {
    let mut extensions = http::Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extensions);
    }
    !error.is_connect() && extensions.get::<HasAnswered>().is_some_and(HasAnswered::get)
}
