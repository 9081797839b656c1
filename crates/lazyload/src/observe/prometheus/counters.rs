//! What is counted of the conversation with Prometheus; read by the metrics page.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use lazyload_logic::prometheus::{Found, SKIP_REASONS};

use super::Failure;

/// Everything counted since the start, and each handler's present state.
#[derive(Debug, Default)]
pub(crate) struct PrometheusCounters {
    answered: AtomicU64,
    failed: [AtomicU64; Failure::NAMES.len()],
    /// Answers with remarks of Prometheus.
    pub(crate) warnings: AtomicU64,
    skipped: [AtomicU64; SKIP_REASONS.len()],
    /// Fences asked about in the last full round.
    pub(crate) fences: AtomicU64,
    /// When the last full round without any failure ended, in Unix seconds.
    pub(crate) last_complete: AtomicU64,
    handlers: Mutex<BTreeMap<Arc<str>, Handler>>,
}

/// The last full round of one handler.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Handler {
    /// Queries sent.
    pub(crate) queries: u64,
    /// Queries without an answer.
    pub(crate) failed: u64,
    /// Hosts of fences told, all fences together.
    pub(crate) hosts: u64,
}

impl PrometheusCounters {
    pub(super) fn answered(&self, found: &Found) {
        self.answered.fetch_add(1, Relaxed);
        self.warnings.fetch_add(u64::from(!found.warnings.is_empty()), Relaxed);
        for (counter, count) in self.skipped.iter().zip(found.skipped) {
            counter.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        if let Some(counter) = self.failed.get(failure.index()) {
            counter.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn handler(&self, name: &Arc<str>, handler: Handler) {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), handler);
    }

    /// Queries by what became of them.
    pub(crate) fn queries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let failed = Failure::NAMES.into_iter().zip(self.failed.iter().map(|count| count.load(Relaxed)));
        std::iter::once(("answered", self.answered.load(Relaxed))).chain(failed)
    }

    /// Series that were no evidence, by reason.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        SKIP_REASONS.into_iter().zip(self.skipped.iter().map(|count| count.load(Relaxed)))
    }

    /// The last full round of each handler.
    pub(crate) fn handlers(&self) -> BTreeMap<Arc<str>, Handler> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
