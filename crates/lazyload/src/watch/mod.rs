//! Owns the ways in which news arrives: of the cluster from a Kubernetes API server or a folder of YAML, of the settings from a file.
//! Never decides: every object becomes an `Event` and goes to the one owner of the state.
//! Next: `kube` for the real thing, `folder` for the cluster in a folder, `settings` for the settings, `boot` for what the operator sees.

pub mod boot;
pub mod folder;
pub mod kube;
pub mod settings;
