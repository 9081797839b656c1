//! What the cluster is to the decisions: lean values, converted from wire types at the edge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lazyload_api::gateway_api::GatewayRouteSpec;
use lazyload_api::istio::{ServiceEntrySpec, SidecarSpec, VirtualServiceSpec};
use lazyload_api::names;
use lazyload_api::security::AuthorizationPolicySpec;
use lazyload_api::service_fence::{ServiceFenceSpec, ServiceFenceStatus};

/// Labels of an object or a selector.
pub type Labels = BTreeMap<String, String>;

/// Namespace and name of a namespaced object; a fence, its Service and its Sidecar share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name within the namespace.
    pub name: Arc<str>,
}

impl ObjectRef {
    /// A reference to `namespace/name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The current moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since an arbitrary start; never goes back.
    pub monotonic: Duration,
    /// Seconds since the Unix epoch; what users' deadlines are written in.
    pub unix_seconds: i64,
}

/// A Kubernetes Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Its name.
    pub id: ObjectRef,
    /// Its labels.
    pub labels: Labels,
    /// Its pod selector; empty for Services without one.
    pub selector: Labels,
    /// Ports of its pods; `None` if one of them is known by name only, so that it may be any.
    pub target_ports: Option<BTreeSet<u16>>,
    /// How many of its ports a proxy that knows it has a cluster for.
    pub ports: usize,
    /// Its ports that are declared to carry HTTP of any version, or gRPC.
    pub http_ports: BTreeSet<u16>,
    /// Its ports, of any transport; what is no number of a port is 0.
    pub numbers: BTreeSet<u16>,
}

/// A Kubernetes Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
}

/// A pod, as far as it can be a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub id: ObjectRef,
    /// Its labels.
    pub labels: Labels,
    /// Its service account: with its namespace, who it is by its certificate.
    pub account: Arc<str>,
    /// Its addresses; empty for pods that share the node's network, whose calls cannot be attributed by address.
    pub addresses: Vec<IpAddr>,
    /// When it was created (Unix seconds): of two pods that claim an address, the newer one has it.
    pub created: i64,
}

/// One EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its name.
    pub id: ObjectRef,
    /// The Service that it belongs to.
    pub service: ObjectRef,
    /// Addresses of its endpoints that are no pods (virtual machines, for example), ready or not.
    pub addresses: Vec<IpAddr>,
}

/// A `ServiceFence`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Its name.
    pub id: ObjectRef,
    /// Its identity, for owner references.
    pub uid: String,
    /// Its resource version; an event with a lower one is old news.
    pub version: u64,
    /// Counts the changes of its spec.
    pub generation: i64,
    /// When it was created (Unix seconds).
    pub created: i64,
    /// Its labels.
    pub labels: Labels,
    /// It is being deleted, and its Sidecar with it.
    pub deleting: bool,
    /// What its user wants to be forgotten of what was learned.
    pub forget: Option<Box<str>>,
    /// What its user wants.
    pub spec: ServiceFenceSpec,
    /// What is known.
    pub status: ServiceFenceStatus,
}

/// A Sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// Its name.
    pub id: ObjectRef,
    /// Its identity.
    pub uid: String,
    /// Its resource version; an event with a lower one is old news.
    pub version: u64,
    /// Its labels.
    pub labels: Labels,
    /// The uid of the fence of the same name that owns it; empty for one of ours that outlives its fence for a moment; `None` for a
    /// Sidecar that is not ours.
    pub owner_uid: Option<String>,
    /// Its user hands it over to the fence of its name.
    pub adopt: bool,
    /// Its spec.
    pub spec: SidecarSpec,
}

impl Sidecar {
    /// Whether it is ours, without an owner, and to be removed as soon as nobody notices.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.owner_uid.is_some() && self.labels.contains_key(names::LEAVING_LABEL)
    }
}

/// A VirtualService.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Its name.
    pub id: ObjectRef,
    /// Its labels.
    pub labels: Labels,
    /// Its routes.
    pub spec: VirtualServiceSpec,
}

/// A ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Its name.
    pub id: ObjectRef,
    /// Its hosts.
    pub spec: ServiceEntrySpec,
}

/// An HTTPRoute or a GRPCRoute of Gateway API.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRoute {
    /// Its name.
    pub id: ObjectRef,
    /// Its routes.
    pub spec: GatewayRouteSpec,
}

/// An AuthorizationPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    /// Its name.
    pub id: ObjectRef,
    /// Its labels.
    pub labels: Labels,
    /// It is only tried: nothing is allowed or denied by it.
    pub dry_run: bool,
    /// Its rules.
    pub spec: AuthorizationPolicySpec,
}

/// An object of any watched kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// A Namespace.
    Namespace(Namespace),
    /// A pod.
    Pod(Pod),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A fence.
    Fence(Fence),
    /// A Sidecar.
    Sidecar(Sidecar),
    /// A VirtualService.
    VirtualService(VirtualService),
    /// A ServiceEntry.
    ServiceEntry(ServiceEntry),
    /// An HTTPRoute.
    HttpRoute(GatewayRoute),
    /// A GRPCRoute.
    GrpcRoute(GatewayRoute),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(AuthorizationPolicy),
}

/// The watched kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1/Service`
    Service,
    /// `v1/Namespace`
    Namespace,
    /// `v1/Pod`
    Pod,
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice,
    /// `microservice.slime.io/v1alpha1/ServiceFence`
    Fence,
    /// `networking.istio.io/v1beta1/Sidecar`
    Sidecar,
    /// `networking.istio.io/v1beta1/VirtualService`
    VirtualService,
    /// `networking.istio.io/v1beta1/ServiceEntry`
    ServiceEntry,
    /// `gateway.networking.k8s.io/v1/HTTPRoute`
    HttpRoute,
    /// `gateway.networking.k8s.io/v1/GRPCRoute`
    GrpcRoute,
    /// `security.istio.io/v1beta1/AuthorizationPolicy`
    AuthorizationPolicy,
}

impl Kind {
    /// Every watched kind.
    pub const ALL: [Self; 11] = [
        Self::Service,
        Self::Namespace,
        Self::Pod,
        Self::EndpointSlice,
        Self::Fence,
        Self::Sidecar,
        Self::VirtualService,
        Self::ServiceEntry,
        Self::HttpRoute,
        Self::GrpcRoute,
        Self::AuthorizationPolicy,
    ];

    /// The kind's name in Kubernetes, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::EndpointSlice => "EndpointSlice",
            Self::Fence => "ServiceFence",
            Self::Sidecar => "Sidecar",
            Self::VirtualService => "VirtualService",
            Self::ServiceEntry => "ServiceEntry",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
        }
    }

    /// Its API group, empty for the core, and the version in which it is read.
    #[must_use]
    pub fn group_version(self) -> (&'static str, &'static str) {
        match self {
            Self::Service | Self::Namespace | Self::Pod => ("", "v1"),
            Self::EndpointSlice => ("discovery.k8s.io", "v1"),
            Self::Fence => ("microservice.slime.io", "v1alpha1"),
            Self::Sidecar | Self::VirtualService | Self::ServiceEntry => ("networking.istio.io", "v1beta1"),
            Self::HttpRoute | Self::GrpcRoute => ("gateway.networking.k8s.io", "v1"),
            Self::AuthorizationPolicy => ("security.istio.io", "v1beta1"),
        }
    }

    /// Whether a cluster works without the kind: where its CRD is not installed there are simply none.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::VirtualService | Self::ServiceEntry | Self::HttpRoute | Self::GrpcRoute | Self::AuthorizationPolicy
        )
    }
}

impl Object {
    /// The object's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Fence(_) => Kind::Fence,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::GrpcRoute(_) => Kind::GrpcRoute,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
        }
    }

    /// The object's name; a Namespace has an empty namespace.
    #[must_use]
    pub fn id(&self) -> ObjectRef {
        match self {
            Self::Service(object) => object.id.clone(),
            Self::Namespace(object) => ObjectRef::new("", object.name.clone()),
            Self::Pod(object) => object.id.clone(),
            Self::EndpointSlice(object) => object.id.clone(),
            Self::Fence(object) => object.id.clone(),
            Self::Sidecar(object) => object.id.clone(),
            Self::VirtualService(object) => object.id.clone(),
            Self::ServiceEntry(object) => object.id.clone(),
            Self::HttpRoute(object) | Self::GrpcRoute(object) => object.id.clone(),
            Self::AuthorizationPolicy(object) => object.id.clone(),
        }
    }
}
