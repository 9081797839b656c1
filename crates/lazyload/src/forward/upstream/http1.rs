//! HTTP/1.1: one exchange at a time on each connection, and once more if a kept one was stale.

use std::sync::Arc;

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lazyload_logic::route::Dial;

use super::connect::{Connector, HasAnswered};
use super::{Upload, copy, may_be_sent_again};
use crate::forward::body::Passing;
use crate::forward::failure::Failure;
use crate::forward::limits::Limits;
use crate::forward::metrics::Metrics;

/// Kept connections, by destination.
pub(super) struct Http1 {
    pooled: Client<Connector, Upload>,
    /// Never uses a connection twice; for the retry.
    fresh: Client<Connector, Upload>,
    metrics: Arc<Metrics>,
}

impl Http1 {
    pub(super) fn new(limits: &Limits, connector: Connector, metrics: Arc<Metrics>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.set_host(false).timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.pool_idle_timeout(limits.pool_idle).pool_max_idle_per_host(limits.pool_per_destination);
        let pooled = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Self { pooled, fresh, metrics }
    }

    /// A request that was written into a connection which had answered before and now closed without an answer is sent once more if that
    /// can do no harm: an idempotent method, no body, no upgrade.
    pub(super) async fn send(
        &self,
        dial: Dial,
        host: &HeaderValue,
        mut parts: Parts,
        body: Passing,
    ) -> Result<Response<Incoming>, Failure> {
        parts.headers.insert(header::HOST, host.clone());
        parts.uri = match upstream_uri(&dial, &parts.uri) {
            Ok(uri) => uri,
            Err(source) => return Err(Failure::Address { dial, source }),
        };
        let again = may_be_sent_again(&parts, &body).then(|| copy(&parts));
        let error = match self.pooled.request(Request::from_parts(parts, Either::Left(body))).await {
            Ok(response) => {
                if let Some(connection) = response.extensions().get::<HasAnswered>()
                    && connection.set()
                {
                    self.metrics.upstream_reused.inc();
                }
                return Ok(response);
            }
            Err(error) => error,
        };
        match again {
            Some(request) if was_stale(&error) => {
                tracing::debug!(%dial, "a kept connection was closed by its upstream; sending again");
                self.fresh.request(request).await.map_err(|error| failure(dial, error))
            }
            _ => Err(failure(dial, error)),
        }
    }
}

/// The destination as authority, path and query as the client wrote them.
fn upstream_uri(dial: &Dial, requested: &Uri) -> Result<Uri, http::Error> {
    let path = requested.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::builder().scheme(Scheme::HTTP).authority(dial.to_string()).path_and_query(path).build()
}

fn was_stale(error: &Error) -> bool {
    let mut extensions = http::Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut extensions);
    }
    !error.is_connect() && extensions.get::<HasAnswered>().is_some_and(HasAnswered::get)
}

fn failure(dial: Dial, error: Error) -> Failure {
    if error.is_connect() { Failure::connect(dial, error) } else { Failure::exchange(dial, error) }
}
