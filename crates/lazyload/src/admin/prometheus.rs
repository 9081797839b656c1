//! The conversation with Prometheus on the metrics page.

use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::metrics::{ReasonLabels, clamped, gauge};
use crate::observe::prometheus::PrometheusCounters;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandlerLabels {
    handler: String,
}

pub(super) fn register(counters: &PrometheusCounters, registry: &mut Registry) {
    let queries = Family::<OutcomeLabels, Gauge>::default();
    for (outcome, count) in counters.queries() {
        queries.get_or_create(&OutcomeLabels { outcome }).set(clamped(count));
    }
    registry.register("lazyload_prometheus_queries", "Queries by what became of them", queries);
    let skipped = Family::<ReasonLabels, Gauge>::default();
    for (reason, count) in counters.skipped() {
        skipped.get_or_create(&ReasonLabels { reason }).set(clamped(count));
    }
    registry.register("lazyload_prometheus_skipped", "Series that were no evidence, by reason", skipped);
    for (name, help, value) in [
        ("lazyload_prometheus_warnings", "Answers with remarks of Prometheus", &counters.warnings),
        ("lazyload_prometheus_fences", "Fences of the last full round", &counters.fences),
        (
            "lazyload_prometheus_complete_seconds",
            "When the last full round without a failure ended",
            &counters.last_complete,
        ),
    ] {
        registry.register(name, help, gauge(value.load(Relaxed)));
    }
    let families: [(&str, &str, Family<HandlerLabels, Gauge>); 3] = [
        ("lazyload_prometheus_handler_queries", "Queries of the last full round", Family::default()),
        ("lazyload_prometheus_handler_failed", "Failed queries of the last full round", Family::default()),
        ("lazyload_prometheus_handler_hosts", "Hosts told in the last full round", Family::default()),
    ];
    for (name, state) in counters.handlers() {
        let labels = HandlerLabels { handler: name.to_string() };
        for ((_, _, family), value) in families.iter().zip([state.queries, state.failed, state.hosts]) {
            family.get_or_create(&labels).set(clamped(value));
        }
    }
    for (name, help, family) in families {
        registry.register(name, help, family);
    }
}
