//! HTTP/2 with prior knowledge: many streams on each connection, a further connection where those are full.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Either;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lazyload_logic::route::Dial;
use tokio::sync::Notify;

use super::connect::{Connector, Taken, TimedOut};
use super::held::{Places, StreamPlace};
use super::{Answered, Cause, Held, Upload, copy, may_be_sent_again};
use crate::forward::batched::Batched;
use crate::forward::body::Passing;
use crate::forward::failure::{Failure, chain};
use crate::forward::limits::Limits;

/// Sendings of one request: the first, one after a connection that was gone before anything was written, and one more.
const TRIES: usize = 3;

/// Kept connections, by destination.
pub(super) struct Http2 {
    connector: Connector,
    limits: Limits,
    destinations: Arc<Mutex<Destinations>>,
}

type Destinations = HashMap<Dial, Arc<Destination>>;

#[derive(Default)]
struct Destination {
    kept: Mutex<Vec<Kept>>,
    /// Somebody connects: who comes meanwhile waits and shares.
    is_connecting: AtomicBool,
    connected: Notify,
}

/// Connecting, or having failed to; dropped, it lets all who wait look again at once, since one after the other would be late.
struct Connecting<'a>(&'a Destination);

impl<'a> Connecting<'a> {
    fn begin(destination: &'a Destination) -> Option<Self> {
        // Made only if nobody else connects: its drop would say that nobody does.
        let is_first = !destination.is_connecting.swap(true, Ordering::AcqRel);
        is_first.then(|| Self(destination))
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.is_connecting.store(false, Ordering::Release);
        self.0.connected.notify_waiters();
    }
}

struct Kept {
    sender: SendRequest<Upload>,
    /// One strong reference here, one in each stream's place.
    places: Arc<Places>,
    /// A stream began since the last look at idleness.
    used: bool,
}

impl Http2 {
    pub(super) fn new(limits: &Limits, connector: Connector) -> Self {
        Self { connector, limits: *limits, destinations: Arc::default() }
    }

    /// A request that its destination says it did not touch (stream refused, or beyond a GOAWAY), or one without effects whose connection
    /// broke, is sent once more if it has no body.
    pub(super) async fn send(
        &self,
        dial: Dial,
        host: &HeaderValue,
        mut parts: Parts,
        body: Passing,
    ) -> Result<Answered, Failure> {
        parts.headers.remove(header::HOST);
        parts.uri = match request_uri(host, &parts.uri) {
            Ok(uri) => uri,
            Err(source) => return Err(Failure::Address { dial, source }),
        };
        let mut again = may_be_sent_again(&parts, &body).then(|| copy(&parts));
        let mut request = Request::from_parts(parts, Either::Left(body));
        for _ in 1..TRIES {
            let (mut sender, place) = self.place(&dial).await?;
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(Answered { response, held: Held::Stream(place) }),
                Err(error) => error,
            };
            request = match error.take_message() {
                Some(unsent) => unsent,
                None => match again.take() {
                    Some(copy) if is_of_connection(error.error()) => copy,
                    _ => return Err(Failure::exchange(dial, error.into_error())),
                },
            };
            tracing::debug!(%dial, "an HTTP/2 connection ended before the request; sending again");
        }
        let (mut sender, place) = self.place(&dial).await?;
        let sent = sender.send_request(request).await;
        sent.map(|response| Answered { response, held: Held::Stream(place) })
            .map_err(|error| Failure::exchange(dial, error))
    }

    /// A place for one stream, on a kept connection or on a new one.
    async fn place(&self, dial: &Dial) -> Result<(SendRequest<Upload>, StreamPlace), Failure> {
        let destination = lock(&self.destinations).entry(dial.clone()).or_default().clone();
        if let Some(found) = self.kept(&destination) {
            return Ok(found);
        }
        // Rare, and large: kept apart from what each request has room for.
        Box::pin(self.place_anew(dial, destination)).await
    }

    async fn place_anew(
        &self,
        dial: &Dial,
        destination: Arc<Destination>,
    ) -> Result<(SendRequest<Upload>, StreamPlace), Failure> {
        let giving_up = tokio::time::sleep(self.limits.connect);
        let mut giving_up = std::pin::pin!(giving_up);
        let connecting = loop {
            let mut connected = std::pin::pin!(destination.connected.notified());
            // Before looking: what happens after that is not missed.
            connected.as_mut().enable();
            if let Some(found) = self.kept(&destination) {
                return Ok(found);
            }
            if let Some(connecting) = Connecting::begin(&destination) {
                break connecting;
            }
            tokio::select! {
                () = connected => {}
                () = giving_up.as_mut() => {
                    return Err(Failure::connect(dial.clone(), TimedOut(self.limits.connect)));
                }
            }
        };
        let (sender, connection) = match self.connect(dial).await {
            Ok(connected) => connected,
            Err(cause) => {
                drop(connecting);
                drop(destination);
                forget(&self.destinations, dial, |_| false);
                return Err(Failure::connect(dial.clone(), cause));
            }
        };
        let places = Arc::new(Places { allowed: AtomicUsize::new(usize::MAX) });
        let place = StreamPlace(Arc::clone(&places));
        // Under the lock of the map: an empty destination is forgotten there.
        let mut destinations = lock(&self.destinations);
        let known = Arc::clone(destinations.entry(dial.clone()).or_insert_with(|| Arc::clone(&destination)));
        lock(&known.kept).push(Kept { sender: sender.clone(), places: Arc::clone(&places), used: true });
        drop(destinations);
        drop(connecting);
        tokio::spawn(keep(connection, places, dial.clone(), Arc::clone(&self.destinations), self.limits));
        Ok((sender, place))
    }

    fn kept(&self, destination: &Destination) -> Option<(SendRequest<Upload>, StreamPlace)> {
        let mut kept = lock(&destination.kept);
        kept.retain(|kept| !kept.sender.is_closed());
        let free = kept.iter_mut().find(|kept| {
            let most = kept.places.allowed.load(Ordering::Relaxed).min(self.limits.streams_per_upstream_connection);
            streams(&kept.places) < most
        })?;
        free.used = true;
        self.connector.metrics.upstream_reused.inc();
        Some((free.sender.clone(), StreamPlace(Arc::clone(&free.places))))
    }

    async fn connect(&self, dial: &Dial) -> Result<(SendRequest<Upload>, Driver), Cause> {
        let stream = self.connector.connect(dial, self.connector.room(dial).await?).await?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.limits.stream_window)
            .initial_connection_window_size(self.limits.connection_window)
            .max_header_list_size(self.limits.head_list_bytes())
            .max_send_buf_size(self.limits.send_buffer)
            .keep_alive_interval(self.limits.ping_every)
            .keep_alive_timeout(self.limits.ping_timeout);
        Ok(builder.handshake(TokioIo::new(stream.batched())).await?)
    }
}

type Driver = Connection<TokioIo<Batched<Taken>>, Upload, TokioExecutor>;

/// Runs a connection until it ends, or until it had no stream for the idle time.
async fn keep(
    connection: Driver,
    places: Arc<Places>,
    dial: Dial,
    destinations: Arc<Mutex<Destinations>>,
    limits: Limits,
) {
    let mut connection = std::pin::pin!(connection);
    // Whenever a request passes by, what the destination allows is noted for the next.
    let mut running = std::pin::pin!(std::future::poll_fn(|context| {
        let polled: Poll<hyper::Result<()>> = connection.as_mut().poll(context);
        places.allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
        polled
    }));
    let mut look = tokio::time::interval(limits.pool_idle);
    look.tick().await;
    loop {
        tokio::select! {
            ended = running.as_mut() => {
                if let Err(error) = ended {
                    let reasons: Vec<String> = chain(&error).map(ToString::to_string).collect();
                    tracing::debug!(%dial, reason = reasons.join(": "), "an HTTP/2 connection ended");
                }
                forget(&destinations, &dial, |kept| Arc::ptr_eq(&kept.places, &places) || kept.sender.is_closed());
                return;
            }
            _ = look.tick() => {
                let idle = |kept: &mut Kept| {
                    let is_this = Arc::ptr_eq(&kept.places, &places);
                    is_this && !std::mem::take(&mut kept.used) && streams(&places) == 0
                };
                if forget(&destinations, &dial, idle) {
                    return;
                }
            }
        }
    }
}

/// Whether one was forgotten. A destination without connections goes too, unless somebody is just connecting.
fn forget(destinations: &Mutex<Destinations>, dial: &Dial, mut which: impl FnMut(&mut Kept) -> bool) -> bool {
    let mut destinations = lock(destinations);
    let Some(destination) = destinations.get(dial) else { return false };
    let (forgotten, is_empty) = {
        let mut kept = lock(&destination.kept);
        let before = kept.len();
        kept.retain_mut(|kept| !which(kept));
        (kept.len() < before, kept.is_empty())
    };
    if is_empty && Arc::strong_count(destination) == 1 {
        destinations.remove(dial);
    }
    forgotten
}

/// Streams that have a place: all references but the list's and the driver's.
fn streams(places: &Arc<Places>) -> usize {
    Arc::strong_count(places).saturating_sub(2)
}

/// The host as authority: `dial` is the connection's, and does not show.
fn request_uri(host: &HeaderValue, requested: &Uri) -> Result<Uri, http::Error> {
    let path = requested.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let scheme = requested.scheme().cloned().unwrap_or(Scheme::HTTP);
    Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build()
}

/// The connection failed, or refused the stream; not: the destination reset this stream for a reason of its own.
fn is_of_connection(error: &hyper::Error) -> bool {
    let http2 = chain(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    http2.is_none_or(|error| error.is_io() || error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// What it guards is whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
