//! SlimeBoots that would fight: for one object, or for the routes of one proxy.

use std::collections::BTreeSet;

use super::slime_boot::Boot;
use super::{Key, Operator};
use crate::boot::{Installation, desired_objects};
use crate::types::ObjectRef;

impl Operator {
    /// Why this SlimeBoot must wait for another one. Who has something keeps it; of two that have nothing yet the older one begins.
    pub(super) fn rival(&self, id: &ObjectRef, boot: &Boot, installation: &Installation) -> Option<String> {
        let mine = keys(installation);
        let begun = self.memories.get(id).is_some_and(|memory| !memory.inventory.is_empty());
        self.boots.iter().filter(|(other, _)| *other != id).find_map(|(other_id, other)| {
            let held: BTreeSet<Key> = self.memories.get(other_id)?.inventory.keys().cloned().collect();
            if let Some(key) = clash(&mine, &held, &installation.istio_namespace) {
                return Some(format!("{key} belongs to SlimeBoot {other_id}: {WAY_OUT}"));
            }
            let theirs = keys(other.installation()?);
            let key = clash(&mine, &theirs, &installation.istio_namespace)?;
            let older = (&other.created, other_id) < (&boot.created, id);
            (older && !begun).then(|| format!("SlimeBoot {other_id}, which is older, wants {key} too: {WAY_OUT}"))
        })
    }
}

const WAY_OUT: &str = "delete one of them, or give them names and namespaces of their own; one in cluster mode leaves no room for another";

fn keys(installation: &Installation) -> BTreeSet<Key> {
    desired_objects(installation).iter().filter_map(Key::of).collect()
}

/// An object of theirs that must not be beside ours: one of ours, or a redirection where one of the two reaches the whole mesh.
fn clash<'a>(ours: &BTreeSet<Key>, theirs: &'a BTreeSet<Key>, root: &str) -> Option<&'a Key> {
    if let Some(key) = theirs.iter().find(|key| ours.contains(key)) {
        return Some(key);
    }
    let redirects = ours.iter().any(Key::is_redirection);
    let everywhere = |keys: &BTreeSet<Key>| keys.iter().any(|key| key.is_redirection() && key.namespace == root);
    let clash = redirects && (everywhere(ours) || everywhere(theirs));
    theirs.iter().find(|key| clash && key.is_redirection())
}
