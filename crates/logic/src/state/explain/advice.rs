//! What would make a host's answer another one.

use super::Way;
use crate::fence::completion::service_of_host;
use crate::fence::scope::has_fallback;
use crate::state::State;
use crate::types::Fence;

impl State {
    pub(super) fn advice(&self, fence: &Fence, has_sidecar: bool, host: &str, way: Way) -> Vec<String> {
        let ports = || {
            let ports: Vec<String> = self.settings.wormhole_ports.iter().map(ToString::to_string).collect();
            ports.join(", ")
        };
        match way {
            Way::Direct if !has_sidecar => {
                let why = if !fence.spec.enable {
                    "spec.enable is not true".to_owned()
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
            Way::Fallback => {
                let mut advice = vec![format!(
                    "the first HTTP call on a port of general.wormholePort ({}) is served by the global-sidecar and brings it in",
                    ports()
                )];
                let in_namespace = service_of_host(host).filter(|service| self.index.find_service(service).is_none());
                if let Some(service) = in_namespace {
                    advice.push(format!("there is no Service {service} now"));
                }
                advice.push(format!(
                    "to have it before any call: kubectl -n {} patch servicefence {} --type merge -p '{{\"spec\":{{\"host\":{{\"{host}\":{{}}}}}}}}'",
                    fence.id.namespace, fence.id.name
                ));
                advice
            }
        }
    }
}
