//! Obeys a Sidecar: which hosts a proxy knows, and where it sends requests for those that it does not know. Pure, for the tests' sake.

use lazyload_logic::types::Sidecar;

use super::World;
use super::mesh::{Mesh, Pod, Service};
use lazyload_api::names;

/// Where a request goes.
pub enum Route {
    /// To a pod of the Service.
    Direct(Service),
    /// To the global-sidecar, which will go to the Service.
    Fallback {
        /// The global-sidecar's Service.
        through: Service,
        /// Where the app wanted to go.
        to: Service,
    },
    /// To the Service's address, past every rule: no listener of this port is known, nor is it a wormhole port.
    Passthrough(Service),
    /// Nowhere, for this reason.
    Nowhere(String),
}

/// Decides where a request of `pod` for `host:port` goes.
pub fn route(world: &World, pod: &Pod, host: &str, port: u16) -> Route {
    let mesh = &world.mesh;
    let namespace = &pod.id.namespace;
    let Some(service) = mesh.find_service(host, namespace).filter(|service| service.port(port).is_some()) else {
        return Route::Nowhere(format!(
            "no Service of the folder is {host}:{port} for a caller in namespace {namespace}"
        ));
    };
    let sidecar = mesh.find_sidecar(pod);
    if sidecar.is_none_or(|sidecar| knows(&sidecar, &service)) {
        return Route::Direct(service);
    }
    if !world.settings.wormhole_ports.contains(&port) {
        return Route::Passthrough(service);
    }
    match find_global_sidecar(mesh, world.settings.global_sidecar_namespace()) {
        Some(through) => Route::Fallback { through, to: service },
        None => Route::Nowhere("the folder has no Service global-sidecar".to_owned()),
    }
}

/// The fallback.
pub fn find_global_sidecar(mesh: &Mesh, namespace: &str) -> Option<Service> {
    mesh.find_service(names::GLOBAL_SIDECAR, namespace)
}

/// Whether a Sidecar lets its pods see a Service. Hosts are written `NAMESPACE/HOST`, both with wildcards.
fn knows(sidecar: &Sidecar, service: &Service) -> bool {
    let mut hosts = sidecar.spec.egress.iter().flat_map(|listener| &listener.hosts);
    hosts.any(|entry| {
        let Some((namespace, host)) = entry.split_once('/') else { return false };
        let namespace_fits = match namespace {
            "*" => true,
            "." => service.id.namespace == sidecar.id.namespace,
            named => *service.id.namespace == *named,
        };
        let host_fits = match host.strip_prefix('*') {
            Some("") => true,
            Some(suffix) => service.host().ends_with(suffix),
            None => service.host() == host,
        };
        namespace_fits && host_fits
    })
}
