//! The slices of Istio's resources that Lazyload reads or writes; unknown fields are left to the API server.
//! Source: Istio API reference for Sidecar, VirtualService and ServiceEntry (networking.istio.io).

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Spec of a Sidecar. As it is read, every field not written by Lazyload is kept in `other`, so that a foreign edit shows as a difference.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "Sidecar",
    plural = "sidecars",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct SidecarSpec {
    /// Egress listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressListener>,
    /// Pods that the Sidecar applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<SidecarWorkloadSelector>,
    /// Every other field.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// One egress listener of a Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressListener {
    /// Imported hosts, `NAMESPACE/HOST`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Every other field (port, bind, captureMode).
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Pod labels of a Sidecar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SidecarWorkloadSelector {
    /// Labels that a pod must all carry.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What Lazyload reads of a VirtualService: which hosts it routes, and where to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "VirtualService",
    plural = "virtualservices",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServiceSpec {
    /// Hosts that the routes apply to, wildcards (`*`, `*.example.com`) among them; none for a delegate of another VirtualService.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Gateways that the routes apply to; empty means the sidecars of the mesh, as does the name `mesh`.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// Namespaces whose callers the routes apply to: names, `.` for its own, `*` for all; empty means the mesh's default.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// HTTP routes.
    #[serde(default)]
    pub http: Vec<VirtualServiceRoute>,
    /// TCP routes.
    #[serde(default)]
    pub tcp: Vec<VirtualServiceRoute>,
    /// TLS routes.
    #[serde(default)]
    pub tls: Vec<VirtualServiceRoute>,
}

/// The destinations of one route of any protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VirtualServiceRoute {
    /// Weighted destinations.
    #[serde(default)]
    pub route: Vec<RouteDestination>,
    /// Mirror of HTTP requests.
    #[serde(default)]
    pub mirror: Option<Destination>,
    /// Mirrors of HTTP requests.
    #[serde(default)]
    pub mirrors: Vec<RouteDestination>,
    /// The VirtualService that has the destinations of this HTTP route.
    #[serde(default)]
    pub delegate: Option<Delegate>,
}

/// Another VirtualService, one without hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Delegate {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its namespace; empty means that of the VirtualService that delegates.
    #[serde(default)]
    pub namespace: String,
}

/// One weighted destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteDestination {
    /// Where to.
    #[serde(default)]
    pub destination: Destination,
}

/// A host in Istio's registry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    /// FQDN, or short and then relative to the VirtualService's namespace.
    #[serde(default)]
    pub host: String,
}

/// What Lazyload reads of a ServiceEntry: which hosts it adds to the mesh, on how many ports, and for whom.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "ServiceEntry",
    plural = "serviceentries",
    namespaced,
    schema = "disabled",
    derive = "Default",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Its hosts, wildcards (`*.example.com`) among them.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Ports of each of its hosts.
    #[serde(default)]
    pub ports: Vec<ServiceEntryPort>,
    /// Namespaces whose callers know the hosts: names, `.` for its own, `*` for all; empty means the mesh's default.
    #[serde(default)]
    pub export_to: Vec<String>,
}

/// One port of a ServiceEntry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceEntryPort {
    /// Its number; no port where it is none.
    #[serde(default)]
    pub number: u32,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: String,
}
