//! What the access-log server counts; read by the metrics page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lazyload_logic::observation::Skipped;

use super::busy::Busy;
use super::door::Refused;
use super::on_the_way::OnTheWay;

/// Everything counted since the start. `entries` = `absorbed` + the skipped ones + those told by the passed and overflown pairs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Messages received.
    pub(crate) messages: AtomicU64,
    /// Messages of which at least a part was not readable, so that entries may be lost.
    pub(crate) messages_malformed: AtomicU64,
    /// Entries received.
    pub(crate) entries: AtomicU64,
    /// Entries of a pair that was passed on a moment ago.
    pub(crate) absorbed: AtomicU64,
    /// Pairs passed on.
    pub(crate) passed: AtomicU64,
    /// Pairs not passed on because the receiver was behind; their next entry is passed on.
    pub(crate) overflow: AtomicU64,
    /// Times that a stream had too many pairs to remember for the whole period; they were passed on again early.
    pub(crate) forgotten_early: AtomicU64,
    /// Streams open now.
    pub(crate) streams_open: AtomicU64,
    /// Streams refused because too many were open.
    pub(crate) streams_refused: AtomicU64,
    /// Streams that ended with an error (peer gone, message too large).
    pub(crate) streams_broken: AtomicU64,
    /// Pairs told on to the other replicas.
    pub(crate) relay_told: AtomicU64,
    /// Pairs passed on that another replica told.
    pub(crate) relay_heard: AtomicU64,
    /// Streams to other replicas that are open now.
    pub(crate) relay_links: AtomicU64,
    /// Streams that claimed to be another replica's, from an address that is none's.
    pub(crate) relay_refused: AtomicU64,
    /// Streams open now that came over mutual TLS.
    pub(crate) streams_secured: AtomicU64,
    refused: [AtomicU64; Refused::ALL.len()],
    skipped: [AtomicU64; Skipped::ALL.len()],
    /// How often each pair was seen.
    pub(crate) busy: Arc<Busy>,
    /// How often each pair was told by its caller's own proxy: none of it passes the global-sidecar.
    pub(crate) busy_callers: Arc<Busy>,
    /// How long new pairs were on their way here.
    pub(crate) on_the_way: OnTheWay,
}

impl Counters {
    /// Connections that were closed before they said anything, for this reason.
    #[must_use]
    pub(crate) fn refused(&self, reason: Refused) -> u64 {
        self.refused.get(reason.index()).map_or(0, |count| count.load(Relaxed))
    }

    /// One more such connection.
    pub(super) fn refuse(&self, reason: Refused) {
        if let Some(count) = self.refused.get(reason.index()) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Entries that told nothing, for this reason.
    #[must_use]
    pub(crate) fn skipped(&self, reason: Skipped) -> u64 {
        self.skipped.get(reason.index()).map_or(0, |count| count.load(Relaxed))
    }

    /// Adds what one message gave.
    pub(super) fn add(&self, tally: &Tally) {
        self.messages.fetch_add(1, Relaxed);
        self.messages_malformed.fetch_add(tally.malformed.into(), Relaxed);
        for (counter, amount) in [
            (&self.entries, tally.entries),
            (&self.absorbed, tally.absorbed),
            (&self.passed, tally.passed),
            (&self.overflow, tally.overflow),
            (&self.forgotten_early, tally.forgotten_early),
        ] {
            add(counter, amount);
        }
        for (counter, amount) in self.skipped.iter().zip(tally.skipped) {
            add(counter, amount);
        }
    }

    /// Adds what one message of another replica gave: its entries were counted there.
    pub(super) fn add_heard(&self, tally: &Tally) {
        self.messages_malformed.fetch_add(tally.malformed.into(), Relaxed);
        for (counter, amount) in [
            (&self.relay_heard, tally.passed),
            (&self.overflow, tally.overflow),
            (&self.forgotten_early, tally.forgotten_early),
        ] {
            add(counter, amount);
        }
    }

    /// Counts a stream as open until the guard is dropped.
    pub(super) fn stream(self: &Arc<Self>, secured: bool) -> OpenStream {
        self.streams_open.fetch_add(1, Relaxed);
        self.streams_secured.fetch_add(secured.into(), Relaxed);
        OpenStream { counters: self.clone(), secured }
    }
}

/// A write to shared memory only where there is something to write.
fn add(counter: &AtomicU64, amount: u64) {
    if amount > 0 {
        counter.fetch_add(amount, Relaxed);
    }
}

/// What one message gave; added to the shared counters once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) malformed: bool,
    pub(super) entries: u64,
    pub(super) absorbed: u64,
    pub(super) passed: u64,
    pub(super) overflow: u64,
    pub(super) forgotten_early: u64,
    skipped: [u64; Skipped::ALL.len()],
}

impl Tally {
    /// One entry told nothing.
    pub(super) fn skip(&mut self, reason: Skipped) {
        if let Some(count) = self.skipped.get_mut(reason.index()) {
            *count += 1;
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub(super) struct OpenStream {
    counters: Arc<Counters>,
    secured: bool,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.counters.streams_open.fetch_sub(1, Relaxed);
        self.counters.streams_secured.fetch_sub(self.secured.into(), Relaxed);
    }
}
