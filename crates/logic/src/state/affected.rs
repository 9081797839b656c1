//! Which fences need another look because something has happened.

use super::State;
use crate::fence::completion::service_host;
use crate::index::Reach;
use crate::types::{Kind, ObjectRef};

impl State {
    /// Marks the fences that an object can matter to. `before` is what it was about until now.
    pub(super) fn mark_affected(&mut self, kind: Kind, id: &ObjectRef, before: &Reach) {
        match kind {
            Kind::Fence | Kind::Sidecar | Kind::Service => {
                self.dirty.insert(id.clone());
            }
            Kind::Namespace => {
                let services = self.index.services_in(&id.name).map(|service| service.id.clone());
                self.dirty.extend(services);
            }
            Kind::Pod
            | Kind::EndpointSlice
            | Kind::VirtualService
            | Kind::ServiceEntry
            | Kind::HttpRoute
            | Kind::GrpcRoute => {}
        }
        self.dirty.extend(self.interests.affected(before));
        if kind == Kind::Service {
            let names = self.aliases.expand(&service_host(id));
            let exists = self.index.find_service(id).is_some();
            self.interests.set_member(&names, id, exists);
        }
        let now = self.index.reach(kind, id);
        if now != *before {
            self.dirty.extend(self.interests.affected(&now));
        }
    }
}
