//! Owns what people ask about fences: how each is doing, what it depends on and why, who calls whom, and files to keep.
//! Never decides and never looks at a cluster: it tells what fences and Sidecars say already.
//! Next: `fence` for one fence, `graph` for all together, `export` for files, `console` for the page, `doctor` and `dns` for an installation.

pub mod console;
pub mod dns;
pub mod doctor;
mod export;
mod fence;
mod graph;

pub use export::{Exported, export};
pub use fence::{Condition, Dependency, FenceReport, Origin, Reason, Standing, quarantine, reports};
pub use graph::{Edge, Format, edges, render};
