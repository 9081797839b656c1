//! What an answer holds of its connection until its body has passed.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::pool::Lease;

/// Dropping it makes room for another exchange.
#[derive(Debug)]
pub(in crate::forward) enum Held {
    /// All of a connection of HTTP/1.1.
    Connection(#[expect(dead_code, reason = "held for its drop")] Lease),
    /// A stream's place in a connection of HTTP/2.
    Stream(#[expect(dead_code, reason = "held for its drop")] StreamPlace),
}

/// Places for streams on one shared connection; as many are taken as there are [`StreamPlace`]s.
#[derive(Debug)]
pub(in crate::forward) struct Places {
    /// How many streams the destination allows, as far as it has said.
    pub(super) allowed: AtomicUsize,
}

/// A stream's place.
#[derive(Debug)]
pub(in crate::forward) struct StreamPlace(
    #[expect(dead_code, reason = "counted by its existence")] pub(super) Arc<Places>,
);
