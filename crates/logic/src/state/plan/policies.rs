//! What AuthorizationPolicies mean to a fence: what they bring into it, and whose first call they deny.

use lazyload_api::names;

use crate::fence::admission::denied_first_calls;
use crate::fence::dependencies::Dependencies;
use crate::fence::named::{Identities, Named, named_by_policies};
use crate::fence::sidecar::workload_labels;
use crate::policy::Peer;
use crate::settings::GlobalSidecarMode;
use crate::state::State;
use crate::types::Fence;

impl State {
    /// Who the fence's pods are, and what policies that name them bring in.
    pub(in crate::state) fn named(&self, fence: &Fence) -> (Identities, Named) {
        let workload =
            workload_labels(&self.settings, fence, &self.index).filter(|_| self.settings.policy_dependencies);
        let identities = Identities::of(&fence.id.namespace, workload.as_ref(), &self.index);
        if !self.settings.policy_dependencies {
            return (identities, Named::default());
        }
        let named = named_by_policies(&identities, workload.as_ref(), &self.index);
        (identities, named)
    }

    /// Which of the fence's first calls may be denied, in a sentence.
    pub(super) fn denied(
        &self,
        fence: &Fence,
        dependencies: &Dependencies,
        identities: &Identities,
        named: &Named,
    ) -> Option<String> {
        if !self.settings.policy_dependencies {
            return None;
        }
        let namespace = match self.settings.mode {
            GlobalSidecarMode::Cluster => self.settings.global_sidecar_namespace(),
            GlobalSidecarMode::Namespace => &fence.id.namespace,
        };
        let global_sidecar = Peer { namespace, account: names::GLOBAL_SIDECAR };
        denied_first_calls(&dependencies.by_calls_alone, named, identities, &global_sidecar, &self.index)
    }
}
