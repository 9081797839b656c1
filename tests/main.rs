//! Views from outside, in one binary: `packaging` (chart, scripts, image), `apiserver` (a real kube-apiserver, started here),
//! `conformance` (the forwarder and Envoy side by side), `console` (its page in a browser) and `mesh` (a real Istio, from the testbed).
//! What cannot run on this machine says so loudly, and fails in CI.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects by failing"
)]

mod apiserver;
mod conformance;
mod console;
mod mesh;
mod packaging;
mod support;
