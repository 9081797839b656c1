//! The slices of Gateway API's routes that Lazyload reads: which Services they route, and where to.
//! Source: Gateway API reference (gateway.networking.k8s.io/v1), GEP-1426 (routes of a mesh).

use kube::core::{NotUsed, Object};
use serde::{Deserialize, Serialize};

/// An `HTTPRoute` or a `GRPCRoute`: what Lazyload reads of them is the same.
pub type GatewayRoute = Object<GatewayRouteSpec, NotUsed>;

/// What a route is attached to, and its rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRouteSpec {
    /// Gateways, Services or ServiceEntries that the rules apply to.
    #[serde(default)]
    pub parent_refs: Vec<ObjectReference>,
    /// Rules.
    #[serde(default)]
    pub rules: Vec<GatewayRouteRule>,
}

/// The destinations of one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRouteRule {
    /// Weighted destinations.
    #[serde(default)]
    pub backend_refs: Vec<BackendReference>,
    /// Filters, of which mirrors have a destination.
    #[serde(default)]
    pub filters: Vec<GatewayRouteFilter>,
}

/// One weighted destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendReference {
    /// The destination.
    #[serde(flatten)]
    pub object: ObjectReference,
    /// Filters for this destination alone.
    #[serde(default)]
    pub filters: Vec<GatewayRouteFilter>,
}

/// A filter; only mirrors are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRouteFilter {
    /// Where copies of requests go.
    #[serde(default)]
    pub request_mirror: Option<RequestMirror>,
}

/// A mirror of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Its destination.
    #[serde(default)]
    pub backend_ref: ObjectReference,
}

/// A parent or a destination. What is absent has another meaning for parents (a Gateway) than for destinations (a Service).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectReference {
    /// API group; empty for Services.
    #[serde(default)]
    pub group: Option<String>,
    /// Kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name; of the kind `Hostname` a host.
    #[serde(default)]
    pub name: String,
    /// Namespace; absent means that of the route.
    #[serde(default)]
    pub namespace: Option<String>,
}
