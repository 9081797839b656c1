//! Connections to upstreams: bounded, counted, and they remember whether they have answered before.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use lazyload_logic::route::Dial;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::Cause;
use super::resolve::Resolver;
use crate::forward::limits::Limits;
use crate::forward::metrics::{Metrics, Present};

/// Destinations without a connection are forgotten when so many are remembered.
const DESTINATIONS: usize = 1024;

/// Resolving and connecting took too long.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(in crate::forward) struct TimedOut(Duration);

/// There is no room for another connection.
#[derive(Debug, thiserror::Error)]
#[error("no room for a connection within {0:?}: too many are in use")]
pub(in crate::forward) struct Busy(Duration);

/// Whether a connection has answered before: then its failure may mean no more than that it was stale.
#[derive(Clone, Debug, Default)]
pub(super) struct HasAnswered(Arc<AtomicBool>);

impl HasAnswered {
    /// Whether it had before.
    pub(super) fn set(&self) -> bool {
        self.0.swap(true, Ordering::Relaxed)
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Resolves and connects, all within one limit.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    limit: Duration,
    places: Arc<Semaphore>,
    by_destination: Arc<Mutex<HashMap<String, Weak<Semaphore>>>>,
    per_destination: usize,
    pub(super) metrics: Arc<Metrics>,
}

impl Connector {
    /// `checks` names' addresses: some are never dialled.
    pub(super) fn new(limits: &Limits, checks: bool, metrics: Arc<Metrics>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver { checks });
        tcp.set_nodelay(true);
        Self {
            tcp,
            limit: limits.connect,
            places: Arc::new(Semaphore::new(limits.upstream_connections)),
            by_destination: Arc::default(),
            per_destination: limits.upstream_connections_per_destination,
            metrics,
        }
    }

    pub(super) async fn connect(&self, dial: &Dial) -> Result<Stream, Cause> {
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(dial.to_string()).path_and_query("/").build()?;
        self.clone().call(uri).await
    }

    fn places_of(&self, destination: &Uri) -> Arc<Semaphore> {
        let name = destination.authority().map_or("", http::uri::Authority::as_str);
        let mut all = self.by_destination.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return known;
        }
        if all.len() >= DESTINATIONS {
            all.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.per_destination));
        all.insert(name.to_owned(), Arc::downgrade(&places));
        places
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Cause>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let (own, all) = (self.places_of(&destination), Arc::clone(&self.places));
        let mut tcp = self.tcp.clone();
        let (limit, metrics) = (self.limit, Arc::clone(&self.metrics));
        Box::pin(async move {
            let room = async { Ok::<_, Cause>((own.acquire_owned().await?, all.acquire_owned().await?)) };
            let places = tokio::time::timeout(limit, room).await.map_err(|_| Busy(limit))??;
            let connecting = async {
                std::future::poll_fn(|context| tcp.poll_ready(context)).await?;
                tcp.call(destination).await
            };
            let tcp = tokio::time::timeout(limit, connecting).await.map_err(|_| TimedOut(limit))??;
            metrics.upstream_connects.inc();
            let present = Present::on(&metrics.upstream_connections);
            Ok(Stream { tcp, has_answered: HasAnswered::default(), _places: places, _present: present })
        })
    }
}

/// A TCP connection with its memory and its place.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TokioIo<TcpStream>,
    has_answered: HasAnswered,
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _present: Present,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.has_answered.clone())
    }
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }
}
