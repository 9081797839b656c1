//! Views from outside, in one binary: `apiserver` (a real kube-apiserver, started here) and `mesh` (a real Istio, from the testbed).
//! What cannot run on this machine says so loudly, and fails in CI.

mod apiserver;
mod mesh;
mod support;
