//! Owns what a fence should be: whether it exists, what it depends on, which Sidecar follows from it, when that is written.
//! Never looks at the world or keeps state between calls; `state` does.
//! Next: `enrollment`, `mode`, `wait`, `lease`, `named`, `dependencies`, `sidecar` in that order; then `switch` for how a Sidecar gets there.

pub mod admission;
pub mod alias;
pub mod budget;
pub mod completion;
pub mod conditions;
pub mod delivery;
pub mod dependencies;
pub mod enrollment;
pub mod host;
pub mod interest;
pub mod lease;
pub mod mode;
pub mod named;
pub mod overlap;
pub mod pace;
pub mod pod_label;
pub mod proxy;
pub mod revision;
pub mod scope;
pub mod sidecar;
pub mod switch;
pub mod validity;
pub mod wait;
