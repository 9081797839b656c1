//! What the simulation reads of the folder: addresses and ports of Services and Pods, and the Sidecar of a pod.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lazyload_logic::fence::completion::service_host;
use lazyload_logic::index::selects;
use lazyload_logic::types::{Kind, Labels, Object, ObjectRef, Sidecar};

use crate::folder::Folder;

/// A folder, seen as a mesh.
#[derive(Clone, Debug)]
pub struct Mesh {
    folder: Folder,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub id: ObjectRef,
    /// Its ClusterIP.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Vec<Port>,
    selector: Labels,
}

/// A port of a Service.
#[derive(Clone, Debug)]
pub struct Port {
    /// As clients dial it.
    pub number: u16,
    target: IntOrString,
}

/// A pod with an address.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub id: ObjectRef,
    /// Its address.
    pub address: IpAddr,
    /// Its labels.
    pub labels: Labels,
    named_ports: Vec<(String, u16)>,
}

impl Service {
    /// Its name in the mesh.
    #[must_use]
    pub fn host(&self) -> String {
        service_host(&self.id)
    }

    /// The port with this number.
    #[must_use]
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }
}

impl Pod {
    /// The value of a label, or nothing.
    #[must_use]
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// Where this pod listens for a port of a Service.
    #[must_use]
    pub fn target(&self, port: &Port) -> Option<u16> {
        match &port.target {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::String(name) => {
                self.named_ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
            }
        }
    }
}

impl Mesh {
    /// The mesh of a folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Services with a ClusterIP.
    #[must_use]
    pub fn services(&self) -> Vec<Service> {
        self.typed(Kind::Service).into_iter().filter_map(service).collect()
    }

    /// Pods with an address.
    #[must_use]
    pub fn pods(&self) -> Vec<Pod> {
        self.typed(Kind::Pod).into_iter().filter_map(pod).collect()
    }

    /// The Service that a host means to a caller in this namespace: `a`, `a.ns`, `a.ns.svc`, `a.ns.svc.cluster.local`.
    #[must_use]
    pub fn find_service(&self, host: &str, namespace: &str) -> Option<Service> {
        let mut labels = host.strip_suffix(".cluster.local").unwrap_or(host).split('.');
        let name = labels.next()?;
        let namespace = labels.next().unwrap_or(namespace);
        if !matches!((labels.next(), labels.next()), (None | Some("svc"), None)) {
            return None;
        }
        self.services().into_iter().find(|service| *service.id.name == *name && *service.id.namespace == *namespace)
    }

    /// The pods of a Service.
    #[must_use]
    pub fn endpoints(&self, service: &Service) -> Vec<Pod> {
        let mut pods = self.pods();
        pods.retain(|pod| pod.id.namespace == service.id.namespace && selects(&service.selector, &pod.labels));
        pods
    }

    /// The first Sidecar whose selector matches the pod.
    #[must_use]
    pub fn find_sidecar(&self, pod: &Pod) -> Option<Sidecar> {
        let sidecars = self.folder.objects(Kind::Sidecar).into_iter();
        let mut sidecars = sidecars.filter_map(|object| match object {
            Object::Sidecar(sidecar) => Some(sidecar),
            _ => None,
        });
        sidecars.find(|sidecar| {
            let selector = sidecar.spec.workload_selector.as_ref();
            sidecar.id.namespace == pod.id.namespace
                && selector.is_some_and(|selector| selects(&selector.labels, &pod.labels))
        })
    }

    fn typed<T: serde::de::DeserializeOwned>(&self, kind: Kind) -> Vec<T> {
        let manifests = self.folder.manifests(kind).into_iter();
        manifests.filter_map(|manifest| serde_json::from_value(manifest).ok()).collect()
    }
}

fn service(object: core::Service) -> Option<Service> {
    let spec = object.spec?;
    let port = |port: core::ServicePort| {
        let target = port.target_port.unwrap_or(IntOrString::Int(port.port));
        Some(Port { number: u16::try_from(port.port).ok()?, target })
    };
    Some(Service {
        id: ObjectRef::new(object.metadata.namespace?, object.metadata.name?),
        address: spec.cluster_ip?.parse().ok()?,
        ports: spec.ports.unwrap_or_default().into_iter().filter_map(port).collect(),
        selector: spec.selector.unwrap_or_default(),
    })
}

fn pod(object: core::Pod) -> Option<Pod> {
    let containers = object.spec.map(|spec| spec.containers).unwrap_or_default();
    let ports = containers.into_iter().flat_map(|container| container.ports.unwrap_or_default());
    let named = ports.filter_map(|port| Some((port.name?, u16::try_from(port.container_port).ok()?)));
    Some(Pod {
        id: ObjectRef::new(object.metadata.namespace?, object.metadata.name?),
        address: object.status?.pod_ip?.parse().ok()?,
        labels: object.metadata.labels.unwrap_or_default(),
        named_ports: named.collect(),
    })
}
