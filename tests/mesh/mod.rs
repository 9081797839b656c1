//! Owns the views of the whole on a real mesh: a real Kubernetes, istiod and Envoy from the testbed.
//! Never looks inside the product: what is asserted is what kubectl, an access log or a called pod shows.
//! Next: `user` for who types commands; `story` for the seed's example, `lossless` for every kind of switch under load, `identity` for who called, `secured` for access logs over mutual TLS, `policy` for who is
//! allowed, `switch` for the time to direct, `routes` for destinations behind destinations, `kill` for a controller that dies, `faults` for everything else that breaks, `hour` for a new user, from the first look over fences that only learn to what breaks and to the last trace, `streams` for
//! requests that outlast a switch, `operator` for the seed's
//! SlimeBoots in a mesh that is `operated`,
//! `fallback` for what no route matches, `gateway` for calls from outside, `tutorial` for the commands of that page, `upgrade` for another version's place being taken, `ways` for installing and removing it as users do.

mod fallback;
mod faults;
mod gateway;
mod hour;
mod identity;
mod install;
mod kill;
mod lossless;
mod operated;
mod operator;
mod pods;
mod policy;
mod routes;
mod secured;
mod story;
mod streams;
mod switch;
mod testbed;
mod tutorial;
mod upgrade;
mod user;
mod ways;

use tokio::sync::{Mutex, MutexGuard};

/// The mesh is one: its tests take turns.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
