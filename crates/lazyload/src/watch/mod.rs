//! Owns the ways in which news of the cluster arrives: a Kubernetes API server, or a folder of YAML.
//! Never decides: every object becomes an `Event` and goes to the one owner of the state.
//! Next: `kube` for the real thing, `folder` for the cluster in a folder, `boot` for what the operator sees.

pub mod boot;
pub mod folder;
pub mod kube;
