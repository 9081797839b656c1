//! The little HTTP that the simulation needs: small bodies, one connection for each request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Longest wait for an answer: a simulated mesh must not hang.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted (no file descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest body; the apps send far less.
const MAX_BODY: usize = 1024 * 1024;

/// A request that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("failed to connect from {source_address} to {target}")]
    Connect {
        /// Who.
        source_address: IpAddr,
        /// Where to.
        target: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A connection, but no answer.
    #[error("failed to get an answer from {target}: {reason}")]
    Exchange {
        /// Where from.
        target: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// An answer, and the address that it was asked from.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Our end of the connection.
    pub local: Option<SocketAddr>,
}

/// Sends a request from this address and reads the whole answer.
///
/// # Errors
/// There was none.
pub async fn fetch(source: IpAddr, target: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
    let late = |_| HttpError::Exchange { target, reason: format!("nothing within {} s", TIMEOUT.as_secs()) };
    tokio::time::timeout(TIMEOUT, exchange(source, target, request)).await.map_err(late)?
}

async fn exchange(source: IpAddr, target: SocketAddr, request: Request<Full<Bytes>>) -> Result<Answer, HttpError> {
    let failed = |reason: String| HttpError::Exchange { target, reason };
    let connected = connect(source, target).await;
    let stream = connected.map_err(|error| HttpError::Connect { source_address: source, target, source: error })?;
    let local = stream.local_addr().ok();
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a simulated connection broke");
        }
    });
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    let (parts, body) = response.into_parts();
    let body = read(body).await.map_err(failed)?;
    Ok(Answer { status: parts.status, headers: parts.headers, body, local })
}

/// Connects with this source address: the other end sees who called.
pub async fn connect(source: IpAddr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if source.is_ipv4() == target.is_ipv4() {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

/// Reads a whole body.
pub async fn read(body: Incoming) -> Result<Bytes, String> {
    Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| error.to_string())
}

/// One text as an answer.
pub fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

/// Serves requests with `handle`, which is given the address that each came from.
pub async fn serve<H, F>(listener: TcpListener, shutdown: CancellationToken, handle: H)
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let handle = Arc::new(handle);
    accept(listener, shutdown, move |stream, peer| {
        let handle = handle.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handle(peer, request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a simulated connection broke");
            }
        }
    })
    .await;
}

/// Accepts connections until the shutdown, which ends the accepted ones too.
pub async fn accept<H, F>(listener: TcpListener, shutdown: CancellationToken, handle: H)
where
    H: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(shutdown.clone().run_until_cancelled_owned(handle(stream, peer)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
