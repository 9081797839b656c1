//! Obeys a Sidecar: which hosts a proxy knows, and where it sends requests for those that it does not know. Pure, for the tests' sake.

use lazyload_logic::fence::switch::Form;
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

/// Whether a Sidecar gives its pods routes to a Service; clusters alone are none. Hosts are written `NAMESPACE/HOST`, both with wildcards.
fn knows(sidecar: &Sidecar, service: &Service) -> bool {
    Form::of(&sidecar.spec).routed.into_iter().any(|entry| {
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

#[cfg(test)]
mod tests {
    use lazyload_logic::types::Kind;

    use super::*;
    use crate::folder::{Folder, Keeping};

    const MESH: &str = "
kind: Service
apiVersion: v1
metadata: {name: a, namespace: one}
spec: {clusterIP: 127.0.0.1, ports: [{port: 80}]}
---
kind: Sidecar
apiVersion: networking.istio.io/v1beta1
metadata: {name: caller, namespace: two}
spec:
  egress:
  - hosts: [HOST]
";

    fn knows_a(host: &str) -> bool {
        knows_a_in(&MESH.replace("HOST", &format!("{host:?}")))
    }

    fn knows_a_in(mesh: &str) -> bool {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mesh.yaml"), mesh).unwrap();
        let folder = Folder::new(directory.path(), Keeping::Memory);
        assert_eq!(folder.rescan(), []);
        let service = Mesh::new(folder.clone()).find_service("a.one", "two").unwrap();
        let sidecars = folder.objects(Kind::Sidecar).into_iter();
        let sidecar = sidecars.filter_map(|object| match object {
            lazyload_logic::types::Object::Sidecar(sidecar) => Some(sidecar),
            _ => None,
        });
        knows(&sidecar.last().unwrap(), &service)
    }

    #[test]
    fn hosts_of_a_sidecar_mean_what_they_mean_in_istio() {
        for host in
            ["*/a.one.svc.cluster.local", "one/*", "*/*", "one/a.one.svc.cluster.local", "*/*.one.svc.cluster.local"]
        {
            assert!(knows_a(host), "{host}");
        }
        for host in ["./*", "two/*", "*/b.one.svc.cluster.local", "~/*", "two/a.one.svc.cluster.local", "a"] {
            assert!(!knows_a(host), "{host}");
        }
    }

    #[test]
    fn a_host_that_is_only_announced_has_no_route() {
        let form = Form { routed: ["two/*"].into(), announced: ["*/*"].into() };
        let egress = serde_json::to_string(&form.egress(15999)).unwrap();
        assert!(!knows_a_in(&MESH.replace("egress:\n  - hosts: [HOST]", &format!("egress: {egress}"))));
    }
}
