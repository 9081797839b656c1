//! Owns being one of several controllers: the lease that one of them holds, the gate that lets only that one write, the label of its pod,
//! and who the others are.
//! Never decides what a lease means (`lazyload_logic::election`), and never what is written.
//! Next: `election` for the life of a candidate, `gate` for why a leader that was cut off writes nothing, `peers` for the others.

mod election;
mod gate;
mod hold;
pub(crate) mod label;
mod lease;
pub(crate) mod peers;

pub(crate) use election::{Election, LeadLost};
pub(crate) use gate::gated;
pub(crate) use hold::Lead;
