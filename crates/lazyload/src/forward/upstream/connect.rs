//! Connections to upstreams, which remember whether they have answered before.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use lazyload_logic::route::Dial;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Cause;

/// Resolving and connecting took too long.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(in crate::forward) struct TimedOut(Duration);

/// Whether a connection has answered before: then its failure may mean no more than that it was stale.
#[derive(Clone, Debug, Default)]
pub(super) struct HasAnswered(Arc<AtomicBool>);

impl HasAnswered {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Resolves and connects, all within one limit.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { tcp, limit }
    }

    pub(super) async fn connect(&self, dial: &Dial) -> Result<Stream, Cause> {
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(dial.to_string()).path_and_query("/").build()?;
        let mut connector = self.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        connector.call(uri).await
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Cause>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connecting = self.tcp.call(destination);
        let limit = self.limit;
        Box::pin(async move {
            let tcp = tokio::time::timeout(limit, connecting).await.map_err(|_| TimedOut(limit))??;
            Ok(Stream { tcp, has_answered: HasAnswered::default() })
        })
    }
}

/// A TCP connection with its memory.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TokioIo<TcpStream>,
    has_answered: HasAnswered,
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
