//! The fences that something has happened to, by name: each is looked at again, and counted again.

use std::collections::BTreeSet;
use std::ops::Deref;

use crate::types::ObjectRef;

/// Names of fences, there or wanted. Reads as those that are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Marks {
    to_look_at: BTreeSet<ObjectRef>,
    /// Who counts comes at another time than who looks.
    to_count: BTreeSet<ObjectRef>,
}

impl Marks {
    pub(super) fn insert(&mut self, id: ObjectRef) {
        self.to_count.insert(id.clone());
        self.to_look_at.insert(id);
    }

    /// There is nothing to look at.
    pub(super) fn remove(&mut self, id: &ObjectRef) {
        self.to_look_at.remove(id);
    }

    /// Those that are to be looked at; from now on none is.
    pub(super) fn take(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.to_look_at)
    }

    /// Those that are to be counted; from now on none is.
    pub(super) fn take_to_count(&mut self) -> BTreeSet<ObjectRef> {
        std::mem::take(&mut self.to_count)
    }
}

impl Extend<ObjectRef> for Marks {
    fn extend<I: IntoIterator<Item = ObjectRef>>(&mut self, ids: I) {
        for id in ids {
            self.insert(id);
        }
    }
}

impl Deref for Marks {
    type Target = BTreeSet<ObjectRef>;

    fn deref(&self) -> &Self::Target {
        &self.to_look_at
    }
}
