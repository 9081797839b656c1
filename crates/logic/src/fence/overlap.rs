//! Fences that select the same pods: which of them rules. One whose pods are all another fence's too has no Sidecar of its own, because
//! Istio gives a pod one Sidecar only, the oldest. Reasons: docs/adr/0011.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::{Labels, ObjectRef};

/// What a fence that could rule wants: which pods, and what its precedence follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The pods' labels; never empty.
    pub workload: Labels,
    /// Made by the controller, not by hand.
    pub automatic: bool,
    /// When it was created (Unix seconds).
    pub created: i64,
}

/// A label of a namespace's pods.
type Pair = (Arc<str>, String, String);

/// The claims of every fence that is enabled and may have a Sidecar.
#[derive(Debug, Default)]
pub struct Claims {
    by_fence: BTreeMap<ObjectRef, Claim>,
    /// Fences by each label that they select.
    by_pair: BTreeMap<Pair, BTreeSet<ObjectRef>>,
    /// Fences by the first label that they select.
    by_first: BTreeMap<Pair, BTreeSet<ObjectRef>>,
}

impl Claims {
    /// Takes in what a fence claims now; `None` if nothing. Tells whether that is different.
    pub fn set(&mut self, id: &ObjectRef, claim: Option<Claim>) -> bool {
        if self.by_fence.get(id) == claim.as_ref() {
            return false;
        }
        if let Some(old) = self.by_fence.remove(id) {
            for pair in pairs(id, &old.workload) {
                remove(&mut self.by_pair, &pair, id);
                remove(&mut self.by_first, &pair, id);
            }
        }
        if let Some(claim) = claim {
            for (position, pair) in pairs(id, &claim.workload).enumerate() {
                if position == 0 {
                    self.by_first.entry(pair.clone()).or_default().insert(id.clone());
                }
                self.by_pair.entry(pair).or_default().insert(id.clone());
            }
            self.by_fence.insert(id.clone(), claim);
        }
        true
    }

    /// The fence that rules all pods of this one; `None` if it rules itself. The one that selects the most pods rules, for nothing else
    /// can serve the rest of them; among equals one made by hand, then the oldest, then the first by name.
    #[must_use]
    pub fn ruler(&self, id: &ObjectRef) -> Option<&ObjectRef> {
        let claim = self.by_fence.get(id)?;
        let own = (rank(claim), id);
        let candidates = pairs(id, &claim.workload).filter_map(|pair| self.by_first.get(&pair)).flatten();
        let wider = candidates.filter_map(|other| Some((other, self.by_fence.get(other)?)));
        let wider = wider.filter(|(other, wide)| *other != id && is_part(&wide.workload, &claim.workload));
        let ruler = wider.map(|(other, wide)| (rank(wide), other)).min()?;
        (ruler < own).then_some(ruler.1)
    }

    /// The fences that this one rules, in order of their names.
    #[must_use]
    pub fn ruled(&self, id: &ObjectRef) -> Vec<&ObjectRef> {
        self.within(id).filter(|other| self.ruler(other) == Some(id)).collect()
    }

    /// The fences whose pods are all pods of this one, or the other way round.
    #[must_use]
    pub fn neighbours(&self, id: &ObjectRef) -> BTreeSet<ObjectRef> {
        let Some(claim) = self.by_fence.get(id) else { return BTreeSet::new() };
        let wider = pairs(id, &claim.workload).filter_map(|pair| self.by_first.get(&pair)).flatten();
        let is_wider = |other: &&ObjectRef| {
            *other != id && self.by_fence.get(other).is_some_and(|wide| is_part(&wide.workload, &claim.workload))
        };
        wider.filter(is_wider).chain(self.within(id)).cloned().collect()
    }

    /// The other fences that select only pods which this one selects too.
    fn within(&self, id: &ObjectRef) -> impl Iterator<Item = &ObjectRef> {
        let claim = self.by_fence.get(id);
        let first = claim.and_then(|claim| pairs(id, &claim.workload).next());
        let candidates = first.and_then(|pair| self.by_pair.get(&pair)).into_iter().flatten();
        candidates.filter(move |other| {
            let narrow = self.by_fence.get(other);
            *other != id && claim.zip(narrow).is_some_and(|(wide, narrow)| is_part(&wide.workload, &narrow.workload))
        })
    }
}

/// Fewer labels select more pods, where the one are part of the other.
fn rank(claim: &Claim) -> (usize, bool, i64) {
    (claim.workload.len(), claim.automatic, claim.created)
}

fn is_part(of: &Labels, whole: &Labels) -> bool {
    of.iter().all(|(key, value)| whole.get(key) == Some(value))
}

fn pairs(id: &ObjectRef, workload: &Labels) -> impl Iterator<Item = Pair> {
    workload.iter().map(|(key, value)| (id.namespace.clone(), key.clone(), value.clone()))
}

fn remove(index: &mut BTreeMap<Pair, BTreeSet<ObjectRef>>, pair: &Pair, id: &ObjectRef) {
    if let Some(fences) = index.get_mut(pair) {
        fences.remove(id);
        if fences.is_empty() {
            index.remove(pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> ObjectRef {
        ObjectRef::new("default", name)
    }

    fn claim(workload: &[(&str, &str)], automatic: bool, created: i64) -> Claim {
        let workload = workload.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Claim { workload, automatic, created }
    }

    fn claims(all: &[(&str, Claim)]) -> Claims {
        let mut claims = Claims::default();
        for (name, claim) in all {
            assert!(claims.set(&id(name), Some(claim.clone())));
        }
        claims
    }

    #[test]
    fn among_equals_one_made_by_hand_rules_then_the_oldest_then_the_first_by_name() {
        let same = [("app", "db")];
        let by_hand = claims(&[("a", claim(&same, true, 1)), ("b", claim(&same, false, 9))]);
        assert_eq!(by_hand.ruler(&id("a")), Some(&id("b")));
        assert_eq!(by_hand.ruler(&id("b")), None);
        let oldest = claims(&[("a", claim(&same, true, 2)), ("b", claim(&same, true, 1))]);
        assert_eq!(oldest.ruler(&id("a")), Some(&id("b")));
        let named = claims(&[("a", claim(&same, true, 1)), ("b", claim(&same, true, 1)), ("c", claim(&same, true, 1))]);
        assert_eq!(named.ruled(&id("a")), [&id("b"), &id("c")]);
        assert_eq!(named.ruled(&id("b")), Vec::<&ObjectRef>::new());
    }

    #[test]
    fn the_fence_that_selects_more_pods_rules_whatever_its_age() {
        let (wide, narrow) = (claim(&[("app", "a")], true, 9), claim(&[("app", "a"), ("version", "v2")], false, 1));
        let claims = claims(&[("wide", wide), ("narrow", narrow)]);
        assert_eq!(claims.ruler(&id("narrow")), Some(&id("wide")));
        assert_eq!(claims.neighbours(&id("wide")), BTreeSet::from([id("narrow")]));
        assert_eq!(claims.neighbours(&id("narrow")), BTreeSet::from([id("wide")]));
    }

    #[test]
    fn fences_that_share_only_some_pods_or_live_elsewhere_both_rule() {
        let mut claims = claims(&[("a", claim(&[("app", "a")], true, 1)), ("b", claim(&[("team", "x")], true, 1))]);
        let elsewhere = ObjectRef::new("other", "a");
        claims.set(&elsewhere, Some(claim(&[("app", "a")], true, 0)));
        for id in [id("a"), id("b"), elsewhere] {
            assert_eq!(claims.ruler(&id), None);
            assert!(claims.neighbours(&id).is_empty());
        }
    }

    #[test]
    fn a_claim_that_is_gone_leaves_nothing() {
        let mut claims = claims(&[("a", claim(&[("app", "a")], true, 1)), ("b", claim(&[("app", "a")], true, 2))]);
        assert!(claims.set(&id("a"), None));
        assert!(!claims.set(&id("a"), None));
        assert_eq!(claims.ruler(&id("b")), None);
        claims.set(&id("b"), None);
        assert!(claims.by_pair.is_empty() && claims.by_first.is_empty() && claims.by_fence.is_empty());
    }

    proptest! {
        #[test]
        fn each_fence_has_exactly_one_ruler_that_rules_itself_and_selects_all_its_pods(
            wanted in prop::collection::vec(
                (prop::collection::btree_map("[ab]", "[12]", 1..3), any::<bool>(), 0..3_i64), 1..8)
        ) {
            let mut claims = Claims::default();
            for (number, (workload, automatic, created)) in wanted.iter().enumerate() {
                let claim = Claim { workload: workload.clone(), automatic: *automatic, created: *created };
                claims.set(&id(&number.to_string()), Some(claim));
            }
            for (fence, claim) in &claims.by_fence {
                let Some(ruler) = claims.ruler(fence) else { continue };
                prop_assert!(claims.ruler(ruler).is_none(), "{ruler} rules {fence}, and is ruled");
                prop_assert!(is_part(&claims.by_fence[ruler].workload, &claim.workload));
                prop_assert!(claims.ruled(ruler).contains(&fence));
                prop_assert!(claims.neighbours(ruler).contains(fence) && claims.neighbours(fence).contains(ruler));
            }
        }
    }
}
