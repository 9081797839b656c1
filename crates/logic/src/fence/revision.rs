//! Whether an object is this controller's to look after, by the label `istio.io/rev`. Source: contract 2.2.

use lazyload_api::names;

use crate::settings::Revisions;
use crate::types::Labels;

/// Whether an object with these labels is in scope.
#[must_use]
pub fn is_in_scope(revisions: &Revisions, labels: &Labels) -> bool {
    revisions.manages(revision(labels))
}

/// The revision that labels name.
#[must_use]
pub fn revision(labels: &Labels) -> Option<&str> {
    labels.get(names::REVISION_LABEL).map(String::as_str)
}

/// Of these labels the one that names the revision: what is made for a fence has it too.
#[must_use]
pub fn revision_label(labels: &Labels) -> Labels {
    let revision = labels.get_key_value(names::REVISION_LABEL);
    revision.map(|(key, value)| (key.clone(), value.clone())).into_iter().collect()
}

/// Labels of a fence that the controller makes.
#[must_use]
pub fn own_fence_labels(revisions: &Revisions) -> Labels {
    let mut labels = Labels::from([(names::CREATED_BY_LABEL.to_owned(), names::FENCE_CONTROLLER.to_owned())]);
    labels.extend(revisions.own.as_ref().map(|own| (names::REVISION_LABEL.to_owned(), own.clone())));
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_scope(managed: &[&str], strict: bool, label: Option<&str>) -> bool {
        let managed = managed.iter().map(|name| (*name).to_owned()).collect();
        let labels = label.map(|label| (names::REVISION_LABEL.to_owned(), label.to_owned())).into_iter().collect();
        is_in_scope(&Revisions { managed, strict, own: None }, &labels)
    }

    #[test]
    fn the_revision_table_holds() {
        for label in [None, Some(""), Some("a"), Some("z")] {
            assert!(in_scope(&[], true, label), "without a list everything is in scope: {label:?}");
        }
        for (label, strict, lax) in
            [(None, false, true), (Some(""), false, true), (Some("a"), true, true), (Some("z"), false, false)]
        {
            assert_eq!(in_scope(&["a", "b"], true, label), strict, "strict: {label:?}");
            assert_eq!(in_scope(&["a", "b"], false, label), lax, "lax: {label:?}");
        }
    }

    #[test]
    fn own_fences_carry_the_own_revision_if_there_is_one() {
        let mut revisions = Revisions::default();
        assert_eq!(own_fence_labels(&revisions).len(), 1);
        revisions.own = Some("1-19".into());
        assert_eq!(revision(&own_fence_labels(&revisions)), Some("1-19"));
    }
}
