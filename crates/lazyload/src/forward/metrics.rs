//! What a forwarder counts.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lazyload_logic::route::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::failure::Failure;

/// Upper ends of the classes of our own latency, in seconds.
const CLASSES: [f64; 12] = [10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 20e-3, 100e-3, 1.0];

/// Everything counted by one forwarder.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    own_latency: Histogram,
    pub(super) client_connections: Gauge,
    pub(super) upstream_connections: Gauge,
    pub(super) upstream_connects: Counter<u64, AtomicU64>,
    pub(super) upstream_reused: Counter<u64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            refused: Family::default(),
            own_latency: Histogram::new(CLASSES),
            client_connections: Gauge::default(),
            upstream_connections: Gauge::default(),
            upstream_connects: Counter::default(),
            upstream_reused: Counter::default(),
        }
    }
}

impl Metrics {
    /// A request had its answer's head, the destination's or ours.
    pub(super) fn answered(&self, protocol: &'static str, failure: Option<&Failure>) {
        let result = failure.map_or("answered", |failure| failure.side().result());
        self.requests.get_or_create(&RequestLabels { protocol, result }).inc();
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        self.refused.get_or_create(&ReasonLabels { reason: refusal.name() }).inc();
    }

    /// A request head that is none; the HTTP library has answered it.
    pub(super) fn malformed(&self) {
        self.refused.get_or_create(&ReasonLabels { reason: "malformed" }).inc();
    }

    pub(super) fn own_latency(&self, time: Duration) {
        self.own_latency.observe(time.as_secs_f64());
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
