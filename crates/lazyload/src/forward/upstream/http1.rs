//! HTTP/1.1: one exchange at a time on each connection, and once more if a kept one was stale.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Either;
use hyper::client::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use lazyload_logic::route::Dial;

use super::connect::{Connector, Places, Stream};
use super::pool::{Destination, Lease, Pool};
use super::{Answered, Cause, Held, Upload, copy, may_be_sent_again};
use crate::forward::body::Passing;
use crate::forward::failure::{Failure, chain};
use crate::forward::limits::Limits;
use crate::forward::metrics::Metrics;

/// All connections to destinations that speak HTTP/1.1.
pub(super) struct Http1 {
    connector: Connector,
    builder: Builder,
    pool: Arc<Pool>,
    sweep_every: Duration,
    is_swept: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Http1 {
    pub(super) fn new(limits: &Limits, connector: Connector, metrics: Arc<Metrics>) -> Self {
        let mut builder = Builder::new();
        builder.max_buf_size(limits.buffer);
        Self {
            connector,
            builder,
            pool: Arc::new(Pool::new(limits, Arc::clone(&metrics))),
            sweep_every: limits.pool_idle / 2,
            is_swept: AtomicBool::default(),
            metrics,
        }
    }

    /// A request that was written into a connection which had answered before and now closed without an answer is sent once more, over a
    /// new connection, if that can do no harm: an idempotent method, no body, no upgrade. One that was not written at all is sent anew.
    pub(super) async fn send(
        &self,
        dial: Dial,
        host: &HeaderValue,
        mut parts: Parts,
        body: Passing,
    ) -> Result<Answered, Failure> {
        parts.headers.insert(header::HOST, host.clone());
        parts.uri = origin_form(parts.uri);
        let mut again = may_be_sent_again(&parts, &body).then(|| copy(&parts));
        let mut request = Request::from_parts(parts, Either::Left(body));
        let destination = self.pool.destination(&dial);
        let mut lease = self.lease(&destination, &dial).await?;
        loop {
            let mut error = match lease.send(request).await {
                Ok(response) => {
                    if lease.is_reused {
                        self.metrics.upstream_reused.inc();
                    }
                    return Ok(Answered { response, held: Held::Connection(lease) });
                }
                Err(error) => error,
            };
            if !lease.is_reused {
                return Err(Failure::exchange(dial, error.into_error()));
            }
            (request, lease) = match (error.take_message(), again.take()) {
                (Some(unsent), copy) => {
                    again = copy;
                    (unsent, self.lease(&destination, &dial).await?)
                }
                (None, Some(copy)) => {
                    let anew = async { self.connect(&destination, &dial, self.room(&dial).await?).await };
                    (copy, Box::pin(anew).await?)
                }
                (None, None) => return Err(Failure::exchange(dial, error.into_error())),
            };
            tracing::debug!(%dial, "a kept connection was closed by its upstream; sending again");
        }
    }

    /// A kept connection, or a new one. Where there is no room for a new one, the next that returns.
    async fn lease(&self, destination: &Arc<Destination>, dial: &Dial) -> Result<Lease, Failure> {
        if let Some(lease) = destination.take() {
            return Ok(lease);
        }
        let leasing = async {
            let room = tokio::select! {
                biased;
                room = self.room(dial) => room?,
                lease = destination.returned() => return Ok(lease),
            };
            self.connect(destination, dial, room).await
        };
        // Rare, and large: kept apart from what each request has room for.
        Box::pin(leasing).await
    }

    async fn room(&self, dial: &Dial) -> Result<Places, Failure> {
        self.connector.room(dial).await.map_err(|cause| Failure::connect(dial.clone(), cause))
    }

    async fn connect(&self, destination: &Arc<Destination>, dial: &Dial, room: Places) -> Result<Lease, Failure> {
        let connecting = async {
            let stream = self.connector.connect(dial, room).await?;
            Ok::<_, Cause>(self.builder.handshake(TokioIo::new(stream)).await?)
        };
        let (sender, connection) = connecting.await.map_err(|cause| Failure::connect(dial.clone(), cause))?;
        tokio::spawn(drive(connection, Arc::clone(destination), dial.clone()));
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            tokio::spawn(sweep(Arc::downgrade(&self.pool), self.sweep_every));
        }
        Ok(destination.lease(sender))
    }
}

/// Runs a connection to its end.
async fn drive(connection: Connection<TokioIo<Stream>, Upload>, destination: Arc<Destination>, dial: Dial) {
    if let Err(error) = connection.with_upgrades().await {
        let reasons: Vec<String> = chain(&error).map(ToString::to_string).collect();
        tracing::debug!(%dial, reason = reasons.join(": "), "an HTTP/1.1 connection ended");
    }
    destination.sweep();
}

/// Sweeps for as long as the pool lives.
async fn sweep(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.sweep();
    }
}

/// Path and query as the client wrote them.
fn origin_form(requested: Uri) -> Uri {
    if requested.authority().is_none() && requested.path_and_query().is_some() {
        return requested;
    }
    requested.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}
