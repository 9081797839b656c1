//! How far each fence goes, as the state knows it; and what news of it means.

use super::State;
use crate::fence::lease;
use crate::fence::mode::{self, Around, Decided, said_by};
use crate::fence::scope::may_hide;
use crate::fence::wait;
use crate::types::{Fence, Kind, ObjectRef};

/// The labels of a Namespace that say how far fences go and after which time, and whether it breaks the glass.
pub(super) type SaidOfModes = ([Option<String>; 3], bool);

impl State {
    /// How far a fence goes, and who says so.
    #[must_use]
    pub fn mode(&self, fence: &Fence) -> Decided {
        let decided = mode::decide(&self.settings, fence, self.around(fence));
        Decided { wait: self.waits_for(fence, decided.mode), ..decided }
    }

    /// One sentence for each label about it that names no mode, or no time.
    pub(super) fn mode_problems(&self, fence: &Fence) -> Vec<String> {
        let around = self.around(fence);
        let mut problems = mode::problems(fence, around);
        problems.extend(wait::problems(fence, around));
        problems.extend(lease::problems(fence, around));
        problems
    }

    pub(super) fn around(&self, fence: &Fence) -> Around<'_> {
        Around {
            service: self.index.find_service(&fence.id),
            namespace: self.index.find_namespace(&fence.id.namespace),
            own: self.index.find_namespace(&self.settings.slime_namespace),
        }
    }

    /// Whether a fence's Sidecar hides hosts from its pods, or is about to.
    pub(super) fn is_enforced(&self, fence: &Fence) -> bool {
        may_hide(&self.settings, fence) && self.mode(fence).is_enforced()
    }

    /// What a Namespace says of modes, to be compared with what it says after news of it.
    pub(super) fn said_of_modes(&self, kind: Kind, id: &ObjectRef) -> SaidOfModes {
        if kind != Kind::Namespace {
            return SaidOfModes::default();
        }
        let (said, broken) = said_by(self.index.find_namespace(&id.name));
        (said.map(|label| label.map(str::to_owned)), broken)
    }

    /// Has every fence looked at to which a Namespace may say something else now.
    pub(super) fn hear_of_modes(&mut self, kind: Kind, id: &ObjectRef, before: &SaidOfModes) {
        if kind != Kind::Namespace || self.said_of_modes(kind, id) == *before {
            return;
        }
        let is_own = *id.name == *self.settings.slime_namespace;
        let fences: Vec<ObjectRef> = match is_own {
            true => self.index.fences().map(|fence| fence.id.clone()).collect(),
            false => self.index.fences_in(&id.name).map(|fence| fence.id.clone()).collect(),
        };
        for fence in fences {
            if let Some(work) = self.by_fence.get_mut(&fence) {
                work.heard();
            }
            self.refresh_claim(Kind::Fence, &fence);
            self.dirty.insert(fence);
        }
    }
}
