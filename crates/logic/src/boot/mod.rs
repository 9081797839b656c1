//! Owns what a SlimeBoot stands for: the typed installation and every object that it needs, and the CRDs.
//! Never writes to a cluster: `lazyload render` prints the objects, the operator applies them.
//! Next: `read` for what is accepted, `objects` for the order, then one file for each group of objects.

mod access_log;
mod auto_port;
mod controller;
mod crds;
mod dispatch;
mod effective;
mod election;
mod error;
mod fallback;
mod global_sidecar;
mod install;
mod istio_version;
mod log_volume;
mod lua;
pub mod mesh_identity;
mod meta;
mod metadata_exchange;
mod needs;
mod network_policy;
mod objects;
mod place;
mod pod_security;
mod read;
mod refuse;
mod routes;
mod template;
mod values;

use serde_json::Value;

pub use access_log::caller_log;
pub use auto_port::{Declared, Found, Protocol};
pub use crds::crds;
pub use dispatch::{Dispatch, Target};
pub use error::BootError;
pub use install::install_objects;
pub use istio_version::IstioVersion;
pub(crate) use meta::labelled;
pub use needs::{Need, controller_needs, operator_needs};
pub use objects::desired_objects;
pub use place::Place;
pub use read::{Reading, read};
pub use routes::Routes;

use crate::settings::Settings;

/// Everything that the objects of one SlimeBoot depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Installation {
    /// Settings as the controller will resolve them from `config`.
    pub settings: Settings,
    /// The module entry with everything in it that the controller cannot see elsewhere.
    pub config: Value,
    /// Where the controller runs.
    pub namespace: String,
    /// Istio's root namespace: an EnvoyFilter there reaches every proxy of the mesh.
    pub istio_namespace: String,
    /// The version of Istio, as far as it is known.
    pub istio: Option<IstioVersion>,
    /// For every pod: a list of references to Secrets.
    pub image_pull_secrets: Value,
    /// The controller.
    pub controller: Controller,
    /// Where some unmatched hosts go instead.
    pub dispatches: Vec<Dispatch>,
    /// Whether NetworkPolicies say who may connect to the pods.
    pub network_policies: bool,
    /// The global-sidecar, unless it is switched off.
    pub global_sidecar: Option<GlobalSidecar>,
}

/// An image and when to pull it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `REPOSITORY:TAG`, or the repository alone.
    pub name: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
}

/// What the user decides of the controller; values that pass through unchanged are kept as JSON, checked against their Kubernetes type.
#[derive(Clone, Debug, PartialEq)]
pub struct Controller {
    /// Its image.
    pub image: Image,
    /// Pods.
    pub replicas: u32,
    /// Whether its ServiceAccount is made here.
    pub create_service_account: bool,
    /// Environment variables after the built-in ones.
    pub env: Vec<Value>,
    /// Requests and limits.
    pub resources: Value,
    /// Of the pod.
    pub node_selector: Value,
    /// Of the pod.
    pub tolerations: Value,
    /// Of the pod.
    pub affinity: Value,
    /// Of the pod.
    pub pod_security_context: Value,
    /// Of the container, over the built-in one key by key.
    pub container_security_context: Value,
    /// Besides the configuration.
    pub volumes: Vec<Value>,
    /// Besides the configuration.
    pub volume_mounts: Vec<Value>,
    /// `type` of its Service.
    pub service_type: String,
    /// Port of its Service: HTTP.
    pub http_port: u16,
    /// Port of its Service: health and metrics.
    pub auxiliary_port: u16,
    /// Port of its Service: access logs.
    pub log_source_port: u16,
}

/// How Envoy calls what EnvoyFilters match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterNames {
    /// The HTTP connection manager.
    pub manager: &'static str,
    /// The router.
    pub router: &'static str,
}

/// What the user decides of the global-sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalSidecar {
    /// Its image.
    pub image: Image,
    /// Ports that the user wrote, in that order, the built-in one last.
    pub written_ports: Vec<u16>,
    /// Ports that it listens on: those, and more that came up since.
    pub ports: Vec<u16>,
    /// Port that every fallback goes to; if none, each port's own.
    pub fallback_port: Option<u16>,
    /// Names in the proxies of this mesh: all that there may be.
    pub filters: &'static [FilterNames],
    /// Health.
    pub probe_port: u16,
    /// One log line for each request.
    pub logs_access: bool,
    /// Pods.
    pub replicas: u32,
    /// Its pods do not ask for injection, so that the label of their namespace must.
    pub injected_by_namespace: bool,
    /// Labels of the pods, such as those that ask for injection.
    pub labels: Value,
    /// Annotations of the pods.
    pub annotations: Value,
    /// Requests and limits.
    pub resources: Value,
    /// Of the pod.
    pub affinity: Value,
    /// Of the pod.
    pub tolerations: Value,
}
