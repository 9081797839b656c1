//! What all benchmarks measure with: processes, their figures, and what rounds spread over.

pub mod process;
pub mod procfs;
mod spread;

pub use spread::{Spread, quantile};
