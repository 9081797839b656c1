//! Owns the view from a real kube-apiserver and etcd, started here: the controller as a process with exactly its own rights, access
//! logs as Envoy sends them. No controller-manager runs: what Kubernetes' garbage collector would delete is deleted by the tests.
//! Never looks into the process: what counts is what is stored, and what its endpoints say.
//! Next: `story` for the scenarios by example, `cluster` for what they run on.

mod ask;
mod automatic;
pub mod cluster;
mod command;
pub(crate) mod controller;
mod cut;
mod dependencies;
mod doctor;
mod forwarder;
mod history;
mod identity;
mod inherited;
mod leaders;
mod log_files;
mod modes;
mod moody;
mod objects;
mod operator;
mod outages;
mod ownership;
mod pod_security;
mod policies;
mod prometheus;
pub(crate) mod proxy;
mod pushes;
mod reload;
mod reset;
mod restarts;
mod rights;
mod routes;
mod scope;
mod settings;
mod shards;
mod status;
mod story;
mod top;
mod uninstall;
mod upgrade;

use std::time::Duration;

/// Longest that anything may take; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(90);
