//! Accepts connections on one listener and serves HTTP/1.1 on each.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::failure::chain;
use super::{Forwarder, Shared};

/// Pause after a failed accept: the process is out of file descriptors, and only time helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => self.spawn_connection(stream, port, &stop),
                Err(error) => {
                    tracing::warn!(port, %error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Closing the listener resets who waits in its queue: take them in first.
        while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
            self.spawn_connection(stream, port, &stop);
        }
    }

    fn spawn_connection(self: &Arc<Self>, stream: TcpStream, port: u16, stop: &CancellationToken) {
        self.tasks.spawn(Arc::clone(self).connection(stream, port, stop.clone()));
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, port: u16, stop: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(port, %error, "failed to set TCP_NODELAY");
        }
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.request_head)
            .max_header_size(self.limits.request_head_bytes)
            .auto_date_header(false);
        let limit = self.limits.drain_in_flight;
        let service = service_fn(|request| {
            let shared = Arc::clone(&self);
            async move { Ok::<_, Infallible>(shared.answer(port, request).await) }
        });
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        // In this order: a request that has arrived is read before the end is noticed.
        let served = tokio::select! {
            biased;
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(limit, connection).await {
                    Ok(served) => served,
                    Err(_) => {
                        tracing::warn!(port, "connection cut at the drain deadline");
                        return;
                    }
                }
            }
        };
        if let Err(error) = served {
            let reasons: Vec<String> = chain(&error).map(ToString::to_string).collect();
            tracing::debug!(port, reason = reasons.join(": "), "connection ended early");
        }
    }
}
