//! Accepts connections on one listener and serves on each what its client speaks: HTTP/1 or HTTP/2 with prior knowledge.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::StatusCode;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::batched::Batched;
use super::downstream::{Downstream, Protocol, detect};
use super::exchange::Client;
use super::failure::{Failure, chain};
use super::guard::Ends;
use super::metrics::Present;
use super::{Forwarder, Shared};

/// Pause after a failed accept: the process is out of file descriptors, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams that a client may have reset before they were looked at. Envoy puts the calls of many on one connection; more is an attack.
const RESETS_PENDING: usize = 1024;

impl Forwarder {
    /// Serves a listener until the drain.
    pub fn serve(&self, listener: TcpListener) {
        let accepting = Arc::clone(&self.shared).accept(listener, self.shared.stop.child_token());
        self.shared.tasks.spawn(accepting);
    }
}

impl Shared {
    /// Accepts until `stop`, which also ends the connections, each after its current answer.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let port = match listener.local_addr() {
            Ok(address) => address.port(),
            Err(error) => {
                tracing::error!(%error, "failed to learn the address of a listener");
                return;
            }
        };
        // Each connection inherits it.
        if let Err(error) = SockRef::from(&listener).set_tcp_nodelay(true) {
            tracing::warn!(port, %error, "failed to set TCP_NODELAY");
        }
        loop {
            let accepting = async {
                let place = Arc::clone(&self.client_places).acquire_owned().await;
                (listener.accept().await, place.ok())
            };
            let (accepted, place) = tokio::select! {
                accepted = accepting => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok(accepted) => self.spawn_connection(accepted, port, &stop, place),
                Err(error) => {
                    tracing::warn!(port, %error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Closing the listener resets who waits in its queue: take them in first.
        while let Some(Ok(accepted)) = listener.accept().now_or_never() {
            self.spawn_connection(accepted, port, &stop, None);
        }
    }

    fn spawn_connection(
        self: &Arc<Self>,
        (stream, peer): (TcpStream, SocketAddr),
        port: u16,
        stop: &CancellationToken,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let (shared, stop) = (Arc::clone(self), stop.clone());
        let present = Present::on(&self.metrics.client_connections);
        let serve = move |stream| async move {
            shared.connection(stream, peer, port, stop).await;
            drop((present, place));
        };
        let Some(elsewhere) = self.loops.next() else {
            self.tasks.spawn(serve(stream));
            return;
        };
        let moved = stream.into_std();
        let serving = async move {
            match moved.and_then(TcpStream::from_std) {
                Ok(stream) => serve(stream).await,
                Err(error) => tracing::warn!(port, %error, "failed to move a connection to its event loop"),
            }
        };
        self.tasks.spawn_on(serving, elsewhere);
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr, port: u16, stop: CancellationToken) {
        let Ok(own) = stream.local_addr() else { return };
        let client = Client::new(port, Ends { peer: peer.ip(), own: own.ip() });
        // In this order: bytes that have arrived are read before the end is noticed.
        let detected = tokio::select! {
            biased;
            detected = detect(&mut stream, &self.limits) => detected,
            () = stop.cancelled() => return,
        };
        let (protocol, first) = match detected {
            Ok(Some(detected)) => detected,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(port, %error, "connection ended before a request");
                return;
            }
        };
        let served = match protocol {
            Protocol::Http1 => self.http1(stream, first, client, stop).await,
            // The larger of the two by far.
            Protocol::Http2 => Box::pin(self.http2(stream, first, client, stop)).await,
        };
        match served {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let reasons: Vec<String> = chain(&error).map(ToString::to_string).collect();
                if error.is_parse() {
                    self.metrics.malformed();
                    let too_large = error.is_parse_too_large();
                    let status =
                        if too_large { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::BAD_REQUEST };
                    self.failures.tell(&Failure::Unreadable(status), port);
                }
                tracing::debug!(port, reason = reasons.join(": "), "connection ended early");
            }
            None => tracing::warn!(port, "connection cut at the drain deadline"),
        }
    }

    async fn http1(
        self: &Arc<Self>,
        stream: TcpStream,
        first: bytes::Bytes,
        client: Client,
        stop: CancellationToken,
    ) -> Option<hyper::Result<()>> {
        let stream = Downstream::new(stream, first, Arc::clone(&client.exchanges), &self.limits);
        let mut http = http1::Builder::new();
        http.header_read_timeout(None)
            .max_header_size(self.limits.request_head_bytes)
            .max_buf_size(self.limits.buffer)
            .auto_date_header(false);
        let service = service_fn(|request| {
            let (shared, client) = (Arc::clone(self), client.clone());
            async move { Ok::<_, Infallible>(shared.answer(&client, request).await) }
        });
        let connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        let limit = self.limits.drain_in_flight;
        until(connection, stop.cancelled(), http1::UpgradeableConnection::graceful_shutdown, limit).await
    }

    async fn http2(
        self: &Arc<Self>,
        stream: TcpStream,
        first: bytes::Bytes,
        client: Client,
        stop: CancellationToken,
    ) -> Option<hyper::Result<()>> {
        // Who comes during the grace is served; who was there before is told to go elsewhere at once (GOAWAY).
        let came_late = self.draining.is_cancelled();
        let go = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.draining.cancelled(), if !came_late => {}
            }
        };
        let limits = &self.limits;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .initial_stream_window_size(limits.stream_window)
            .initial_connection_window_size(limits.connection_window)
            .max_concurrent_streams(limits.streams_per_client_connection)
            .max_header_list_size(limits.head_list_bytes())
            .max_send_buf_size(limits.send_buffer)
            .max_pending_accept_reset_streams(RESETS_PENDING)
            .keep_alive_interval(limits.ping_every)
            .keep_alive_timeout(limits.ping_timeout)
            .auto_date_header(false);
        let service = service_fn(|request| {
            let (shared, client) = (Arc::clone(self), client.clone());
            async move { Ok::<_, Infallible>(shared.answer(&client, request).await) }
        });
        let stream = TokioIo::new(Batched::new(stream, ()).after(&first));
        let connection = pin!(http.serve_connection(stream, service));
        let limit = limits.drain_grace + limits.drain_in_flight;
        until(connection, go, http2::Connection::graceful_shutdown, limit).await
    }
}

/// Runs a connection; from `stop` on gracefully, for `limit` at most. Nothing if that did not suffice.
async fn until<C: Future>(
    mut connection: Pin<&mut C>,
    stop: impl Future<Output = ()>,
    end_gracefully: impl FnOnce(Pin<&mut C>),
    limit: Duration,
) -> Option<C::Output> {
    // In this order: a request that has arrived is read before the end is noticed.
    tokio::select! {
        biased;
        served = connection.as_mut() => return Some(served),
        () = stop => end_gracefully(connection.as_mut()),
    }
    tokio::time::timeout(limit, connection).await.ok()
}
