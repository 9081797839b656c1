//! Settings that change while the controller runs.

use super::State;
use crate::fence::alias::Aliases;
use crate::fence::completion::service_host;
use crate::fence::lease;
use crate::fence::validity::setting_problems;
use crate::settings::Settings;
use crate::types::{Kind, Now};

/// The rules that can be used, and what is wrong with the rest.
pub(super) fn usable(settings: &Settings) -> (Aliases, Vec<String>) {
    let (aliases, mut problems) = Aliases::compile(&settings.domain_aliases);
    problems.extend(setting_problems(&settings.stable_hosts));
    problems.extend(lease::setting_problem(settings));
    (aliases, problems)
}

impl State {
    /// Names settings that cannot be used and are left out, as [`State::new`] does.
    #[must_use]
    pub fn problems_of(settings: &Settings) -> Vec<String> {
        usable(settings).1
    }

    /// Takes over settings, and looks at everything again.
    pub(super) fn changed(&mut self, settings: Settings, now: Now) {
        self.set_members(false);
        (self.aliases, self.problems) = usable(&settings);
        self.settings = settings;
        self.set_members(true);
        let pods: Vec<_> = self.index.pods().cloned().collect();
        for pod in &pods {
            self.fence_pod(pod);
        }
        let fences: Vec<_> = self.index.fences().map(|fence| fence.id.clone()).collect();
        for fence in &fences {
            self.refresh_claim(Kind::Fence, fence);
        }
        self.heal();
        if self.unlisted.is_empty() {
            self.retry_all_waiting(now);
        }
    }

    /// Whether each Service is known by its names of the rules in force.
    fn set_members(&mut self, known: bool) {
        for service in self.index.services() {
            self.interests.set_member(&self.aliases.expand(&service_host(&service.id)), &service.id, known);
        }
    }
}
