//! What a controller looks after: the fences of its revisions, in namespace mode those of its namespaces.

use crate::fence::revision::is_in_scope;
use crate::settings::{GlobalSidecarMode, Revisions, Settings};
use crate::types::Labels;

/// The fences of one controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realm {
    /// Of these revisions.
    pub revisions: Revisions,
    /// In these namespaces; nothing means in all.
    pub namespaces: Option<Vec<String>>,
}

impl Realm {
    /// That of a controller with these settings.
    pub(super) fn of(settings: &Settings) -> Self {
        let namespaces = (settings.mode == GlobalSidecarMode::Namespace).then(|| settings.namespaces.clone());
        Self { revisions: settings.revisions.clone(), namespaces }
    }

    fn covers(&self, namespace: &str, labels: &Labels) -> bool {
        let listed = self.namespaces.as_ref().is_none_or(|namespaces| namespaces.iter().any(|it| it == namespace));
        listed && is_in_scope(&self.revisions, labels)
    }
}

/// The Sidecars of fences that go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// What their controller looked after, or what of it leaves.
    pub of: Realm,
    /// What the controllers of other SlimeBoots look after too: they would write it again.
    pub but: Vec<Realm>,
    /// The namespace that leaves, if it is one alone.
    pub namespace: Option<String>,
}

impl Scope {
    /// Whether the Sidecar of a fence is one of them, by its namespace and its labels.
    #[must_use]
    pub fn covers(&self, namespace: &str, labels: &Labels) -> bool {
        self.of.covers(namespace, labels) && !self.but.iter().any(|other| other.covers(namespace, labels))
    }
}
