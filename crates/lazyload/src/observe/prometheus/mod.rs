//! Owns the conversation with Prometheus: when it is asked, how, and what became of it.
//! Never decides what an answer means: `lazyload_logic::prometheus` makes the queries and reads the answers.
//! Next: `ticker` for when, `round` for what one round asks, `client` for one request, `access` for what it carries.

mod access;
mod client;
mod counters;
mod round;
mod ticker;

#[cfg(test)]
mod conversation;

pub(crate) use counters::PrometheusCounters;
pub(crate) use ticker::{Question, run};

use client::Failure;
