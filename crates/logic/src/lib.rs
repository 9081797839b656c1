//! THE DECISIONS: pure functions from what is seen (cluster, traffic, settings) to what should be (fences, Sidecars, routes).
//! Never reads a clock, a file or a socket: `now` is an argument, input and output are values.
//! Next: `state` ties the folders together; `lazyload` (the binary) feeds it and carries out what it plans.

pub mod backups;
pub mod boot;
mod checksum;
pub mod convert;
pub mod election;
pub mod fence;
pub mod index;
pub mod ledger;
pub mod manifest;
pub mod observation;
pub mod operator;
pub mod policy;
pub mod prometheus;
pub mod report;
pub mod route;
pub mod settings;
pub mod state;
pub mod trust;
pub mod types;
