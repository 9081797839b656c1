//! What all benchmarks measure with: processes, their figures, what rounds spread over, and how figures grow.

mod growth;
pub mod process;
pub mod procfs;
mod spread;

pub use growth::{Growth, Sight};
pub use spread::{Spread, quantile};
