//! What all benchmarks measure with: the figures of a process, and what rounds spread over.

pub mod procfs;
mod spread;

pub use spread::{Spread, quantile};
