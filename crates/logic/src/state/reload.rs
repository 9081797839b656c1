//! Settings that change while the controller runs.

use super::State;
use crate::fence::alias::Aliases;
use crate::settings::Settings;
use crate::types::Now;

impl State {
    /// Takes over settings, and looks at everything again. What a bad alias rule is wrong with is said by [`Aliases::compile`].
    pub(super) fn changed(&mut self, settings: Settings, now: Now) {
        self.aliases = Aliases::compile(&settings.domain_aliases).0;
        self.settings = settings;
        let pods: Vec<_> = self.index.pods().cloned().collect();
        for pod in &pods {
            self.fence_pod(pod);
        }
        self.heal();
        if self.unlisted.is_empty() {
            self.retry_all_waiting(now);
        }
    }
}
