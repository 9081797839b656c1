//! The access-log server that the global-sidecars' proxies send to. gRPC, one long stream for each of Envoy's
//! worker threads; the answer comes when the stream ends, as Envoy expects none.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lazyload_logic::observation::Call;
use lazyload_logic::trust::Peer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::codec::RawCodec;
use super::counters::Counters;
use super::door::{Door, Met, connections};
use super::intake::{From, Intake, ReceiverGone};
use super::places::Places;
use super::relay::{RELAYED, Relay};
use super::seen::Limits;
use super::{METHOD, SERVICE};

/// Largest message, in bytes; a larger one ends its stream. Envoy sends 16 KiB unless told otherwise.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Largest header list, in bytes.
const MAX_HEADERS: u32 = 16 * 1024;
/// Streams on one connection; Envoy opens one for each log and worker.
const MAX_STREAMS_PER_CONNECTION: u32 = 16;
/// Streams in plaintext; bounds memory to about a gigabyte even if every one is an attacker's.
const MAX_STREAMS: usize = 1024;
/// Streams of those that are believed by their certificate.
const MAX_SECURED_STREAMS: usize = 4096;
/// Streams of one address: an attacker leaves room for the others.
const MAX_STREAMS_OF_ONE: usize = 256;
/// How often a silent peer is asked whether it is there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent for so long tells what it has counted.
const REST: Duration = Duration::from_secs(2);
/// How long peers may take to close their connections at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Access logs cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObserveError {
    /// The listener has no address.
    #[error("failed to read the address of the access-log listener")]
    Address {
        /// Why.
        source: io::Error,
    },
    /// The server ended.
    #[error("failed to serve access logs on {address}")]
    Serve {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// Serves access logs until `shutdown`; what they tell goes to `calls`, one batch for each message that tells something new.
/// A full channel costs no entry for good: what did not fit is counted and passed on when it is seen again. Where there are other replicas
/// they are told too, and they alone may tell what is not told on. The door says who may tell anything.
///
/// # Errors
/// The listener does not work.
pub(crate) async fn serve(
    listener: TcpListener,
    door: Door,
    calls: mpsc::Sender<Vec<Call>>,
    counters: Arc<Counters>,
    relay: Option<Relay>,
    shutdown: CancellationToken,
) -> Result<(), ObserveError> {
    serve_within(Limits::default(), listener, door, calls, counters, relay, shutdown).await
}

/// [`serve`] with other bounds of what a stream remembers.
pub(super) async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    door: Door,
    calls: mpsc::Sender<Vec<Call>>,
    counters: Arc<Counters>,
    relay: Option<Relay>,
    shutdown: CancellationToken,
) -> Result<(), ObserveError> {
    let address = listener.local_addr().map_err(|source| ObserveError::Address { source })?;
    let (places, secured) = (Arc::new(Semaphore::new(MAX_STREAMS)), Arc::new(Semaphore::new(MAX_SECURED_STREAMS)));
    let of_one = Places::new(MAX_STREAMS_OF_ONE);
    let incoming = connections(listener, door, counters.clone());
    let service =
        AccessLogService { calls, counters, relay, limits, places, secured, of_one, shutdown: shutdown.clone() };
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tracing::info!(%address, "receiving access logs");
    tokio::select! {
        result = served => result.map_err(|source| ObserveError::Serve { address, source }),
        () = drained => Ok(()),
    }
}

/// The service; each call of its method makes a stream of its own.
#[derive(Clone, Debug)]
struct AccessLogService {
    calls: mpsc::Sender<Vec<Call>>,
    counters: Arc<Counters>,
    relay: Option<Relay>,
    limits: Limits,
    places: Arc<Semaphore>,
    secured: Arc<Semaphore>,
    of_one: Places,
    shutdown: CancellationToken,
}

impl NamedService for AccessLogService {
    const NAME: &'static str = SERVICE;
}

impl Service<http::Request<Body>> for AccessLogService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != METHOD {
            return Box::pin(async { Ok(Status::unimplemented("only StreamAccessLogs").into_http()) });
        }
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(MAX_MESSAGE);
            Ok(grpc.client_streaming(service, request).await)
        })
    }
}

impl ClientStreamingService<Bytes> for AccessLogService {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let met = request.extensions().get::<Met>().cloned();
            let from = service.origin(&request, met.as_ref())?;
            service.read(request.into_inner(), from, met).await
        })
    }
}

impl AccessLogService {
    /// Whose a stream is. Who says that it is another replica's must be at the address of one, and a certificate must say the same.
    fn origin(&self, request: &Request<Streaming<Bytes>>, met: Option<&Met>) -> Result<From, Status> {
        let peer = met.and_then(|met| met.peer);
        let relayed = request.metadata().contains_key(RELAYED);
        if !relayed && peer != Some(Peer::Replica) {
            return Ok(From::Proxy(self.relay.clone()));
        }
        let address = met.map(|met| met.address);
        let is_replica = self.relay.as_ref().is_some_and(|relay| relay.is_peer(address));
        if relayed && is_replica && !matches!(peer, Some(Peer::GlobalSidecar(_) | Peer::Workload)) {
            return Ok(From::Replica);
        }
        self.counters.relay_refused.fetch_add(1, Relaxed);
        tracing::debug!(?address, "a stream claims to be another replica's, and is none's");
        Err(Status::permission_denied("not a replica, as far as is known here"))
    }

    /// The life of a stream.
    async fn read(
        self,
        mut messages: Streaming<Bytes>,
        from: From,
        met: Option<Met>,
    ) -> Result<Response<Bytes>, Status> {
        let secured = met.as_ref().is_some_and(|met| met.peer.is_some());
        let of_all = if secured { &self.secured } else { &self.places };
        let of_one = met.as_ref().and_then(|met| self.of_one.take(met.address));
        let (Ok(_of_all), Some(_of_one)) = (of_all.try_acquire(), of_one) else {
            self.counters.streams_refused.fetch_add(1, Relaxed);
            return Err(Status::resource_exhausted("too many access-log streams"));
        };
        // Streams of proxies alone are counted: whether there is any is worth an alert.
        let _open = matches!(from, From::Proxy(_)).then(|| self.counters.stream(secured));
        let intake = Intake::new(self.calls, self.counters.clone(), self.limits, Instant::now());
        let mut intake = intake.of(from).met(met);
        loop {
            let message = tokio::select! {
                message = messages.message() => message,
                () = self.shutdown.cancelled() => break,
                () = tokio::time::sleep(REST) => {
                    intake.rest(Instant::now());
                    continue;
                }
            };
            let message = message.inspect_err(|status| {
                self.counters.streams_broken.fetch_add(1, Relaxed);
                tracing::debug!(%status, "an access-log stream broke");
            })?;
            let Some(message) = message else { break };
            if let Err(ReceiverGone) = intake.take(&message, Instant::now()) {
                return Err(Status::unavailable("the controller is shutting down"));
            }
            // A flood has many messages ready: others, and what writes, have their turn in between.
            tokio::task::yield_now().await;
        }
        Ok(Response::new(Bytes::new()))
    }
}
