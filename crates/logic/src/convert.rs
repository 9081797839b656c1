//! From Kubernetes objects to the lean values of `types`, and nothing more is kept.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lazyload_api::{gateway_api, istio, names, security, service_fence};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::boot::Protocol;
use crate::types::{
    AuthorizationPolicy, EndpointSlice, Fence, GatewayRoute, Labels, Namespace, Object, ObjectRef, Pod, Service,
    ServiceEntry, Sidecar, VirtualService,
};

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Annotation of a policy that is only tried (Istio's).
const DRY_RUN_ANNOTATION: &str = "istio.io/dry-run";

/// The service account of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// An object that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A field has the wrong form.
    #[error("failed to read {kind} {name}")]
    Malformed {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// It has no name.
    #[error("failed to read a {kind}: metadata.name is missing")]
    Nameless {
        /// Its kind.
        kind: String,
    },
}

/// Reads an object of any watched kind; `None` for other kinds.
///
/// # Errors
/// The object is of a watched kind, but has no name or a field of the wrong form.
pub fn object(value: &Value) -> Result<Option<Object>, ConvertError> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/kind");
    let group = text("/apiVersion").split_once('/').map_or("", |(group, _)| group);
    let nameless = || ConvertError::Nameless { kind: kind.to_owned() };
    let converted = match (group, kind) {
        ("", "Service") => service(&typed(value)?).map(Object::Service),
        ("", "Namespace") => namespace(&typed(value)?).map(Object::Namespace),
        ("", "Pod") => pod(&typed(value)?).map(Object::Pod),
        ("discovery.k8s.io", "EndpointSlice") => {
            let slice: discovery::EndpointSlice = typed(value)?;
            // A slice without a Service tells nothing; it is not an error.
            return Ok(endpoint_slice(&slice).map(Object::EndpointSlice));
        }
        ("microservice.slime.io", "ServiceFence") => fence(typed(value)?).map(Object::Fence),
        ("networking.istio.io", "Sidecar") => sidecar(typed(value)?).map(Object::Sidecar),
        ("networking.istio.io", "VirtualService") => virtual_service(typed(value)?).map(Object::VirtualService),
        ("networking.istio.io", "ServiceEntry") => service_entry(typed(value)?).map(Object::ServiceEntry),
        ("gateway.networking.k8s.io", "HTTPRoute") => gateway_route(typed(value)?).map(Object::HttpRoute),
        ("security.istio.io", "AuthorizationPolicy") => {
            authorization_policy(typed(value)?).map(Object::AuthorizationPolicy)
        }
        ("gateway.networking.k8s.io", "GRPCRoute") => gateway_route(typed(value)?).map(Object::GrpcRoute),
        _ => return Ok(None),
    };
    converted.ok_or_else(nameless).map(Some)
}

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ConvertError> {
    T::deserialize(value).map_err(|source| {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
        ConvertError::Malformed { kind: text("/kind").to_owned(), name, source }
    })
}

/// A Service; `None` without a name.
#[must_use]
pub fn service(object: &core::Service) -> Option<Service> {
    let spec = object.spec.as_ref();
    Some(Service {
        id: id(&object.metadata)?,
        labels: labels(&object.metadata),
        selector: spec.and_then(|spec| spec.selector.clone()).unwrap_or_default(),
        target_ports: spec.into_iter().flat_map(|spec| spec.ports.iter().flatten()).map(target_port).collect(),
        ports: spec.map(ports_with_clusters).unwrap_or_default(),
        http_ports: spec.map(http_ports).unwrap_or_default(),
        numbers: spec
            .into_iter()
            .flat_map(|spec| spec.ports.iter().flatten())
            .map(|port| u16::try_from(port.port).unwrap_or_default())
            .collect(),
    })
}

/// Istio has no clusters for UDP, and takes a Service that stands for an outer name for another name of that.
fn ports_with_clusters(spec: &core::ServiceSpec) -> usize {
    if spec.type_.as_deref() == Some("ExternalName") {
        return 0;
    }
    spec.ports.iter().flatten().filter(|port| port.protocol.as_deref() != Some("UDP")).count()
}

/// Ports that are HTTP by Istio's rules, and not only perhaps. What stands for an outer name has none of its own.
fn http_ports(spec: &core::ServiceSpec) -> BTreeSet<u16> {
    let ports = spec.ports.iter().flatten().filter(|_| spec.type_.as_deref() != Some("ExternalName"));
    let declared = ports.filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        let transport = port.protocol.as_deref().unwrap_or("TCP");
        let name = port.name.as_deref().unwrap_or_default();
        let protocol = Protocol::of_service_port(number, name, port.app_protocol.as_deref(), transport)?;
        protocol.is_declared_http().then_some(number)
    });
    declared.collect()
}

/// The port of a Service's pods that a port of it leads to; `None` if it is known by name only.
fn target_port(port: &core::ServicePort) -> Option<u16> {
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => text.parse().ok()?,
    };
    u16::try_from(number).ok()
}

/// A Namespace; `None` without a name.
#[must_use]
pub fn namespace(object: &core::Namespace) -> Option<Namespace> {
    let name = object.metadata.name.as_deref()?;
    Some(Namespace { name: name.into(), labels: labels(&object.metadata) })
}

/// A pod; `None` without a name. Pods that share the node's network keep no address: it is the node's, not theirs.
/// Pods that have ended keep none either: their address may be another pod's by now.
#[must_use]
pub fn pod(object: &core::Pod) -> Option<Pod> {
    let status = object.status.as_ref();
    let host_network = object.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let ended = status
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
    let mut addresses: Vec<IpAddr> = Vec::new();
    if let Some(status) = status.filter(|_| !host_network && !ended) {
        let listed = status.pod_ips.iter().flatten().map(|pod_ip| pod_ip.ip.as_str());
        let texts = status.pod_ip.as_deref().into_iter().chain(listed);
        addresses.extend(texts.filter_map(|text| text.parse::<IpAddr>().ok()));
        addresses.sort_unstable();
        addresses.dedup();
    }
    let created = created(&object.metadata);
    let named =
        object.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).filter(|name| !name.is_empty());
    Some(Pod {
        id: id(&object.metadata)?,
        labels: labels(&object.metadata),
        account: named.unwrap_or(DEFAULT_ACCOUNT).into(),
        addresses,
        created,
    })
}

/// An EndpointSlice; `None` if it has no name or belongs to no Service. Addresses of pods are left out: pods speak for themselves, and
/// the address of one that shares the node's network is the node's.
#[must_use]
pub fn endpoint_slice(object: &discovery::EndpointSlice) -> Option<EndpointSlice> {
    let id = id(&object.metadata)?;
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let is_pod = |endpoint: &&discovery::Endpoint| {
        endpoint.target_ref.as_ref().is_some_and(|target| target.kind.as_deref() == Some("Pod"))
    };
    let endpoints = object.endpoints.iter().filter(|endpoint| !is_pod(endpoint));
    let texts = endpoints.flat_map(|endpoint| &endpoint.addresses);
    Some(EndpointSlice {
        service: ObjectRef::new(id.namespace.clone(), service.as_str()),
        addresses: texts.filter_map(|text| text.parse().ok()).collect(),
        id,
    })
}

/// A fence; `None` without a name.
#[must_use]
pub fn fence(object: service_fence::ServiceFence) -> Option<Fence> {
    Some(Fence {
        id: id(&object.metadata)?,
        uid: object.metadata.uid.clone().unwrap_or_default(),
        version: version(&object.metadata),
        generation: object.metadata.generation.unwrap_or(0),
        created: created(&object.metadata),
        labels: labels(&object.metadata),
        deleting: is_deleting(&object.metadata),
        forget: object
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(names::FORGET_ANNOTATION))
            .map(|it| it.as_str().into()),
        spec: object.spec,
        status: object.status.unwrap_or_default(),
    })
}

/// Whether an object is being deleted with everything that it owns: its user can also have asked for that to stay.
fn is_deleting(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
        && !metadata.finalizers.iter().flatten().any(|finalizer| finalizer == "orphan")
}

/// A Sidecar; `None` without a name. It is ours if a ServiceFence of the same name is its controller, or if it has our mark and no owner.
#[must_use]
pub fn sidecar(object: istio::Sidecar) -> Option<Sidecar> {
    let id = id(&object.metadata)?;
    let owner = object
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == names::FENCE_KIND && owner.name == *id.name && owner.controller == Some(true));
    let owner_uid = owner.map(|owner| owner.uid.clone()).or_else(|| {
        let marked = object.metadata.labels.iter().flatten().any(|(key, _)| key == names::LEAVING_LABEL);
        let alone = object.metadata.owner_references.iter().flatten().next().is_none();
        (marked && alone).then(String::new)
    });
    Some(Sidecar {
        uid: object.metadata.uid.clone().unwrap_or_default(),
        version: version(&object.metadata),
        labels: labels(&object.metadata),
        owner_uid,
        adopt: object
            .metadata
            .annotations
            .iter()
            .flatten()
            .any(|(key, value)| key == names::ADOPT_ANNOTATION && value == "true"),
        spec: object.spec,
        id,
    })
}

/// A VirtualService; `None` without a name.
#[must_use]
pub fn virtual_service(object: istio::VirtualService) -> Option<VirtualService> {
    Some(VirtualService { id: id(&object.metadata)?, labels: labels(&object.metadata), spec: object.spec })
}

/// A ServiceEntry; `None` without a name.
#[must_use]
pub fn service_entry(object: istio::ServiceEntry) -> Option<ServiceEntry> {
    Some(ServiceEntry { id: id(&object.metadata)?, spec: object.spec })
}

/// An HTTPRoute or a GRPCRoute; `None` without a name.
#[must_use]
pub fn gateway_route(object: gateway_api::GatewayRoute) -> Option<GatewayRoute> {
    Some(GatewayRoute { id: id(&object.metadata)?, spec: object.spec })
}

/// An AuthorizationPolicy; `None` without a name.
#[must_use]
pub fn authorization_policy(object: security::AuthorizationPolicy) -> Option<AuthorizationPolicy> {
    let mut annotations = object.metadata.annotations.iter().flatten();
    Some(AuthorizationPolicy {
        id: id(&object.metadata)?,
        labels: labels(&object.metadata),
        dry_run: annotations.any(|(key, value)| key == DRY_RUN_ANNOTATION && value == "true"),
        spec: object.spec,
    })
}

fn id(metadata: &ObjectMeta) -> Option<ObjectRef> {
    let namespace = metadata.namespace.as_deref().unwrap_or("default");
    Some(ObjectRef::new(namespace, metadata.name.as_deref()?))
}

fn labels(metadata: &ObjectMeta) -> Labels {
    metadata.labels.clone().unwrap_or_default()
}

/// When an object was created (Unix seconds); 0 where that is unknown.
fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// Kubernetes documents resource versions as comparable integers since 1.35, and they were before; 0 where there is none.
fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}
