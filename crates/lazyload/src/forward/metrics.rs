//! What a forwarder counts. Whatever each request does is a matter of atomics: no locks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lazyload_logic::route::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::failure::{Failure, Side};
use super::latency::Latency;

/// Everything counted by one forwarder.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    /// Counters of `requests`, at hand.
    http1: Results,
    http2: Results,
    refused: Family<ReasonLabels, Counter>,
    own_latency: Latency,
    pub(super) client_connections: Gauge,
    pub(super) upstream_connections: Gauge,
    pub(super) upstream_idle: Gauge,
    pub(super) upstream_connects: Counter<u64, AtomicU64>,
    pub(super) upstream_reused: Counter<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    result: &'static str,
}

/// Requests of one protocol.
#[derive(Debug)]
struct Results {
    answered: Counter,
    failed_client: Counter,
    failed_upstream: Counter,
    failed_ours: Counter,
}

impl Results {
    fn of(requests: &Family<RequestLabels, Counter>, protocol: &'static str) -> Self {
        let counter = |result| requests.get_or_create_owned(&RequestLabels { protocol, result });
        Self {
            answered: counter("answered"),
            failed_client: counter("failed_client"),
            failed_upstream: counter("failed_upstream"),
            failed_ours: counter("failed_ours"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::default();
        Self {
            http1: Results::of(&requests, "http1"),
            http2: Results::of(&requests, "http2"),
            requests,
            refused: Family::default(),
            own_latency: Latency::default(),
            client_connections: Gauge::default(),
            upstream_connections: Gauge::default(),
            upstream_idle: Gauge::default(),
            upstream_connects: Counter::default(),
            upstream_reused: Counter::default(),
        }
    }
}

impl Metrics {
    /// A request had its answer's head, the destination's or ours.
    pub(super) fn answered(&self, is_http1: bool, failure: Option<&Failure>) {
        let results = if is_http1 { &self.http1 } else { &self.http2 };
        let counter = match failure.map(Failure::side) {
            None => &results.answered,
            Some(Side::Client) => &results.failed_client,
            Some(Side::Upstream) => &results.failed_upstream,
            Some(Side::Ours) => &results.failed_ours,
        };
        counter.inc();
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        self.refused.get_or_create(&ReasonLabels { reason: refusal.name() }).inc();
    }

    /// A request head that is none, or too long.
    pub(super) fn malformed(&self) {
        self.refused.get_or_create(&ReasonLabels { reason: "malformed" }).inc();
    }

    pub(super) fn own_latency(&self, time: Duration) {
        self.own_latency.observe(time);
    }

    /// All of it in OpenMetrics' text format.
    ///
    /// # Errors
    /// The text cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        registry.register("lazyload_forward_requests", "Requests by protocol and result", self.requests.clone());
        registry.register("lazyload_forward_refused", "Requests refused, by reason", self.refused.clone());
        registry.register(
            "lazyload_forward_own_latency_seconds",
            "Time spent here on a request's head and its answer's",
            self.own_latency.clone(),
        );
        registry.register(
            "lazyload_forward_client_connections",
            "Connections of clients now",
            self.client_connections.clone(),
        );
        registry.register(
            "lazyload_forward_upstream_connections",
            "Connections to destinations now",
            self.upstream_connections.clone(),
        );
        registry.register(
            "lazyload_forward_upstream_idle",
            "Connections to destinations that are kept without a request",
            self.upstream_idle.clone(),
        );
        registry.register(
            "lazyload_forward_upstream_connects",
            "Connections made to destinations",
            self.upstream_connects.clone(),
        );
        registry.register(
            "lazyload_forward_upstream_reused",
            "Requests sent over a kept connection",
            self.upstream_reused.clone(),
        );
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Counts something as there until it is dropped.
#[derive(Debug)]
pub(super) struct Present(Gauge);

impl Present {
    pub(super) fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}
