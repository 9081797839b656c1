//! Connections to upstreams: bounded and counted.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use lazyload_logic::route::Dial;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

use super::Cause;
use super::resolve::Resolver;
use crate::forward::batched::Batched;
use crate::forward::gather;
use crate::forward::limits::Limits;
use crate::forward::metrics::{Metrics, Present};

/// Destinations without a connection are forgotten when so many are remembered.
const DESTINATIONS: usize = 1024;

/// Resolving and connecting took too long.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(in crate::forward) struct TimedOut(pub(super) Duration);

/// There is no room for another connection.
#[derive(Debug, thiserror::Error)]
#[error("no room for a connection within {0:?}: too many are in use")]
pub(in crate::forward) struct Busy(Duration);

/// Room for one connection: to its destination, and at all.
pub(super) type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// Resolves and connects, all within one limit.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    limit: Duration,
    places: Arc<Semaphore>,
    by_destination: Arc<Mutex<HashMap<Dial, Weak<Semaphore>>>>,
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

    /// Waits for room for a connection.
    pub(super) async fn room(&self, dial: &Dial) -> Result<Places, Cause> {
        let (own, all) = (self.places_of(dial), Arc::clone(&self.places));
        let room = async { Ok::<_, Cause>((own.acquire_owned().await?, all.acquire_owned().await?)) };
        tokio::time::timeout(self.limit, room).await.map_err(|_| Busy(self.limit))?
    }

    /// Resolves and connects.
    pub(super) async fn connect(&self, dial: &Dial, places: Places) -> Result<Stream, Cause> {
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(dial.to_string()).path_and_query("/").build()?;
        let mut tcp = self.tcp.clone();
        let connecting = async {
            std::future::poll_fn(|context| tcp.poll_ready(context)).await?;
            tcp.call(uri).await
        };
        let tcp = tokio::time::timeout(self.limit, connecting).await.map_err(|_| TimedOut(self.limit))??;
        self.metrics.upstream_connects.inc();
        let taken = Taken { _places: places, _present: Present::on(&self.metrics.upstream_connections) };
        Ok(Stream { tcp: tcp.into_inner(), taken })
    }

    fn places_of(&self, dial: &Dial) -> Arc<Semaphore> {
        let mut all = self.by_destination.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(dial).and_then(Weak::upgrade) {
            return known;
        }
        if all.len() >= DESTINATIONS {
            all.retain(|_, places| places.strong_count() > 0);
        }
        let places = Arc::new(Semaphore::new(self.per_destination));
        all.insert(dial.clone(), Arc::downgrade(&places));
        places
    }
}

/// What a connection takes while it lasts.
#[derive(Debug)]
pub(super) struct Taken {
    _places: Places,
    _present: Present,
}

/// A TCP connection with what it takes.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    taken: Taken,
}

impl Stream {
    /// For HTTP/2.
    pub(super) fn batched(self) -> Batched<Taken> {
        Batched::new(self.tcp, self.taken)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
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
        gather::poll_write(&mut self.get_mut().tcp, cx, bufs)
    }
}
