//! One line for each request when all of it is over, if that is wanted: with the fields of Envoy's default access log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, Request, Uri, Version, header};
use lazyload_logic::route::Dial;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is told of one request. Whoever still has to do with the request holds it; the last to drop it writes the line.
#[derive(Debug)]
pub(super) struct Entry {
    began: Instant,
    method: Method,
    target: Uri,
    protocol: Version,
    host: Option<HeaderValue>,
    forwarded_for: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    outcome: OnceLock<Outcome>,
    received: AtomicU64,
    sent: AtomicU64,
    /// All of the answer has been taken off our hands.
    is_whole: AtomicBool,
    /// The destination broke off within its answer.
    is_cut: AtomicBool,
}

#[derive(Debug)]
struct Outcome {
    status: u16,
    upstream: Option<Dial>,
    /// What the destination took for the head of its answer.
    upstream_time: Option<Duration>,
    failure: Option<&'static str>,
}

impl Entry {
    pub(super) fn of<B>(request: &Request<B>) -> Arc<Self> {
        let value = |name: &HeaderName| request.headers().get(name).cloned();
        Arc::new(Self {
            began: Instant::now(),
            method: request.method().clone(),
            target: request.uri().clone(),
            protocol: request.version(),
            host: value(&header::HOST),
            forwarded_for: value(&FORWARDED_FOR),
            user_agent: value(&header::USER_AGENT),
            request_id: value(&REQUEST_ID),
            outcome: OnceLock::new(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            is_whole: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
        })
    }

    /// The destination has answered.
    pub(super) fn answered(&self, status: u16, upstream: Dial, upstream_time: Duration) {
        let (upstream, upstream_time) = (Some(upstream), Some(upstream_time));
        let _first_counts = self.outcome.set(Outcome { status, upstream, upstream_time, failure: None });
    }

    /// We have, in its place, with a body of so many bytes.
    pub(super) fn failed(&self, status: u16, flag: &'static str, upstream: Option<Dial>, bytes: u64) {
        let _first_counts = self.outcome.set(Outcome { status, upstream, upstream_time: None, failure: Some(flag) });
        self.sent(bytes);
        self.whole();
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn whole(&self) {
        self.is_whole.store(true, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// Envoy's words for what went wrong.
    fn flags(&self) -> &'static str {
        match self.outcome.get() {
            Some(Outcome { failure: Some(flag), .. }) => flag,
            _ if self.is_cut.load(Ordering::Relaxed) => "UC",
            Some(_) if self.is_whole.load(Ordering::Relaxed) => "-",
            _ => "DC",
        }
    }

    fn authority(&self) -> &str {
        self.target.authority().map_or_else(|| text(self.host.as_ref()), http::uri::Authority::as_str)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let outcome = self.outcome.get();
        let upstream_time = outcome.and_then(|outcome| outcome.upstream_time);
        tracing::info!(
            target: "lazyload::access",
            method = self.method.as_str(),
            path = self.target.path_and_query().map_or("-", http::uri::PathAndQuery::as_str),
            protocol = ?self.protocol,
            status = outcome.map_or(0, |outcome| outcome.status),
            flags = self.flags(),
            received = self.received.load(Ordering::Relaxed),
            sent = self.sent.load(Ordering::Relaxed),
            duration_ms = milliseconds(self.began.elapsed()),
            upstream_ms = upstream_time.map_or(-1.0, milliseconds),
            forwarded_for = text(self.forwarded_for.as_ref()),
            user_agent = text(self.user_agent.as_ref()),
            request_id = text(self.request_id.as_ref()),
            authority = self.authority(),
            upstream = outcome.and_then(|outcome| outcome.upstream.as_ref()).map_or_else(|| "-".to_owned(), Dial::to_string),
            "request"
        );
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or("-")
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
