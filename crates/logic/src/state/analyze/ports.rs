//! Ports that workloads with a fence may call, and that no global-sidecar serves. A call there of a host that the Sidecar hides has no fallback.

use std::collections::{BTreeMap, BTreeSet};

use lazyload_api::names;

use super::{Code, Finding, PeerAuthentications, finding, some_of};
use crate::fence::completion::service_host;
use crate::fence::switch::Form;
use crate::settings::GlobalSidecarMode;
use crate::state::State;
use crate::state::explain::covers::covers;
use crate::types::{ObjectRef, Service};

/// A fence, and what its Sidecar shows.
type Hiding<'a> = (&'a ObjectRef, Form<'a>);

impl State {
    /// Services of namespaces with fences that a fence's Sidecar hides, on ports that are declared to carry HTTP: what other namespaces have, and
    /// what a proxy would have to find out, may never be called, or be no HTTP.
    pub(super) fn of_ports(&self, peers: &PeerAuthentications, findings: &mut Vec<Finding>) {
        for (namespace, fences) in self.hiding() {
            let mut by_port: BTreeMap<(u16, bool), Vec<String>> = BTreeMap::new();
            for service in self.index.services_in(namespace) {
                let ports = self.ports_without_fallback(service, namespace);
                if !ports.is_empty() && hides(&fences, service) {
                    let mut pods = self.index.labels_of_pods(namespace, &service.selector);
                    let is_strict =
                        pods.any(|labels| peers.are_strict(namespace, labels, &self.settings.istio_namespace));
                    for port in ports {
                        by_port.entry((port, is_strict)).or_default().push(service.id.to_string());
                    }
                }
            }
            findings
                .extend(by_port.iter().filter_map(|((port, is_strict), services)| missed(*port, *is_strict, services)));
        }
    }

    /// Ports of a Service where callers of a namespace have no fallback. None where the operator finds ports by itself, whose SlimeBoot says what it
    /// leaves out, and none where there is no global-sidecar at all, which is told for itself.
    pub(in crate::state) fn ports_without_fallback(&self, service: &Service, namespace: &str) -> BTreeSet<u16> {
        let of_everybody = [&self.settings.istio_namespace, &self.settings.slime_namespace];
        let is_visible = of_everybody.iter().any(|it| **it == *service.id.namespace);
        if self.settings.auto_port || is_visible || *service.id.name == *names::GLOBAL_SIDECAR {
            return BTreeSet::new();
        }
        let global_sidecar = ObjectRef::new(self.fallback_namespace(namespace), names::GLOBAL_SIDECAR);
        let Some(global_sidecar) = self.index.find_service(&global_sidecar) else { return BTreeSet::new() };
        // What it has counts, besides what is asked for: its own port is nowhere in the settings.
        let is_served =
            |port: &u16| global_sidecar.http_ports.contains(port) || self.settings.wormhole_ports.contains(port);
        service.http_ports.iter().copied().filter(|port| !is_served(port)).collect()
    }

    /// Where the global-sidecar of a namespace's callers is.
    pub(super) fn fallback_namespace<'a>(&'a self, namespace: &'a str) -> &'a str {
        match self.settings.mode {
            GlobalSidecarMode::Cluster => self.settings.global_sidecar_namespace(),
            GlobalSidecarMode::Namespace => namespace,
        }
    }

    /// The fences whose Sidecars are there, by their namespaces.
    fn hiding(&self) -> BTreeMap<&str, Vec<Hiding<'_>>> {
        let mut hiding: BTreeMap<&str, Vec<Hiding<'_>>> = BTreeMap::new();
        for fence in self.index.fences().filter(|fence| !fence.deleting && self.is_enforced(fence)) {
            if let Some(sidecar) = self.sidecar_of(fence).filter(|sidecar| sidecar.owner_uid.is_some()) {
                hiding.entry(&fence.id.namespace).or_default().push((&fence.id, Form::of(&sidecar.spec)));
            }
        }
        hiding
    }
}

/// Whether the workload of any of these fences would call a Service without having it.
fn hides(fences: &[Hiding<'_>], service: &Service) -> bool {
    let host = service_host(&service.id);
    let shows = |form: &Form<'_>| form.routed.iter().any(|entry| covers(entry, &host, &service.id.namespace));
    fences.iter().any(|(fence, form)| **fence != service.id && !shows(form))
}

fn missed(port: u16, is_strict: bool, services: &[String]) -> Option<Finding> {
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let (code, then) = if is_strict {
        (Code::PortRefused, "pods that take mutual TLS alone refuse it (PeerAuthentication, STRICT), so the call fails")
    } else {
        (Code::PortWithoutFallback, "it is not learned, and fails where the mesh is REGISTRY_ONLY")
    };
    let what = format!(
        "port {port} of {} is not in general.wormholePort: the call of a workload whose Sidecar does not have the Service yet passes the mesh by, in \
         plaintext; {then}",
        some_of(&services)
    );
    let remedy = format!(
        "add {port} to general.wormholePort of the SlimeBoot, or set general.autoPort; or declare the Service in spec.host of who calls it"
    );
    Some(finding(code, format!("Service {}", services.first()?), what, remedy))
}
