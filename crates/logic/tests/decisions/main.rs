//! The decisions seen from outside: a simulated API server, golden cases, and the invariants of the design by their names.
//! Next: `simulated_cluster` and `world` for the stage, `golden` for YAML in and out, `invariants` for random schedules.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "tests fail by panicking, in their helpers too, and take json! as it comes"
)]

mod affected;
mod auto_mode;
mod churn;
mod console;
mod coverage;
mod golden;
mod invariants;
mod mesh_hosts;
mod modes;
mod objects;
mod pod_labels;
mod policies;
mod prometheus;
mod schedule;
mod scope;
mod simulated_cluster;
mod switching;
mod unused;
mod waiting;
mod world;
mod writing;
