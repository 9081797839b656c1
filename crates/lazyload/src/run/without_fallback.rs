//! Says which fences have no global-sidecar to fall back on: in namespace mode those outside of the listed namespaces.

use std::collections::BTreeSet;

use lazyload_logic::fence::scope::has_fallback;
use lazyload_logic::settings::Settings;
use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, Object, ObjectRef};

/// Fences that were named already; no more than there are.
#[derive(Debug, Default)]
pub struct WithoutFallback {
    named: BTreeSet<ObjectRef>,
}

impl WithoutFallback {
    /// Looks at an event; warns once of each such fence.
    pub fn hear(&mut self, event: &Event, settings: &Settings) {
        match event {
            Event::Applied(object) => {
                let Object::Fence(fence) = &**object else { return };
                if !fence.spec.enable || has_fallback(settings, &fence.id.namespace) {
                    self.named.remove(&fence.id);
                } else if self.named.insert(fence.id.clone()) {
                    tracing::warn!(
                        fence = %fence.id,
                        "its namespace is not in general.namespace, so no global-sidecar serves it: hosts that are not in the fence \
                         are not learned, and are reachable only as far as the mesh lets unknown hosts pass"
                    );
                }
            }
            Event::Deleted(Kind::Fence, id) => {
                self.named.remove(id);
            }
            _ => {}
        }
    }
}
