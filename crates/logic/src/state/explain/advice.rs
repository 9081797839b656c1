//! What would make a host's answer another one.

use super::Way;
use crate::fence::completion::{possible_service, service_of_host};
use crate::fence::scope::has_fallback;
use crate::state::State;
use crate::types::Fence;

impl State {
    pub(super) fn advice(&self, fence: &Fence, has_sidecar: bool, host: &str, way: Way) -> Vec<String> {
        match way {
            Way::Direct if !has_sidecar => {
                let why = if !fence.spec.enable {
                    "spec.enable is not true".to_owned()
                } else if !self.mode(fence).is_enforced() {
                    self.mode(fence).sentence(&self.settings, fence)
                } else if has_fallback(&self.settings, &fence.id.namespace) {
                    "look at the fence's conditions".to_owned()
                } else {
                    format!("namespace {} is not in general.namespace", fence.id.namespace)
                };
                vec![format!("no Sidecar of this fence hides anything from these pods: {why}")]
            }
            Way::Direct => Vec::new(),
            Way::Coming => vec![
                "the write is under way, or the condition SidecarApplied says what hinders it: calls are served by the global-sidecar meanwhile".to_owned(),
            ],
            Way::External => vec![format!(
                "no Service, ServiceEntry or route of the mesh has the host {host}, so a Sidecar could not let it in: declare a ServiceEntry for it, \
                 or leave it to the global-sidecar"
            )],
            Way::Fallback => self.on_fallback(fence, host),
        }
    }

    fn on_fallback(&self, fence: &Fence, host: &str) -> Vec<String> {
        let ports: Vec<String> = self.settings.wormhole_ports.iter().map(ToString::to_string).collect();
        let ports = if ports.is_empty() { String::new() } else { format!(" ({})", ports.join(", ")) };
        let mut advice = Vec::new();
        let service = possible_service(host, &fence.id.namespace);
        if let Some(service) = service.filter(|service| self.index.find_service(service).is_none()) {
            advice.push(format!("there is no Service {service} now"));
        }
        let service = service_of_host(host).and_then(|service| self.index.find_service(&service));
        let unserved =
            service.map(|service| self.ports_without_fallback(service, &fence.id.namespace)).unwrap_or_default();
        if !unserved.is_empty() {
            let unserved: Vec<String> = unserved.iter().map(ToString::to_string).collect();
            advice.push(format!(
                "a call on port {} passes the mesh by, in plaintext, and is not learned: add it to general.wormholePort",
                unserved.join(", ")
            ));
        }
        if self.is_quarantined(&fence.id, host) {
            advice.push(
                "it was learned and is kept: its next call brings it back at once, with a longer lease".to_owned(),
            );
        }
        advice.push(format!(
            "the first HTTP call on a port of general.wormholePort{ports} is served by the global-sidecar and brings it in"
        ));
        advice.push(format!(
            "to have it before any call: kubectl -n {} patch servicefence {} --type merge -p '{{\"spec\":{{\"host\":{{\"{host}\":{{}}}}}}}}'",
            fence.id.namespace, fence.id.name
        ));
        advice
    }
}
