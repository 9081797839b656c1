//! How well a fence must be known before it has its first Sidecar: its own label, then its Service's, then its Namespace's, then
//! `general.enforceAfter`. A fence that has had a Sidecar does not wait any more. Reasons: docs/adr/0036.
//! Next: `mode` for what else keeps it from one, `state::coverage` for how well it is known.

use k8s_openapi::jiff::Timestamp;
use lazyload_api::names;

use super::conditions::{SIDECAR_APPLIED, ours};
use super::mode::{Around, By, levels};
use crate::settings::{Settings, enforce_after_of};
use crate::types::{Fence, Sidecar};

/// Reasons of `SidecarApplied` that say that a fence was not enforced.
const NOT_YET: [&str; 5] = ["Disabled", "Observing", "Recommending", "Waiting", "WithoutFallback"];

/// What a fence waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Nothing new must be learned for so long (seconds).
    pub after: i64,
    /// Who says so.
    pub by: By,
    /// Since when nothing new was learned (Unix seconds).
    pub since: i64,
    /// That is when the newest host was learned; otherwise when its observation began.
    pub is_host: bool,
    /// When it is over (Unix seconds), if nothing new is learned before.
    pub until: i64,
}

/// How well a fence is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Since when it is observed (Unix seconds).
    pub since: i64,
    /// When the newest host was learned (Unix seconds).
    pub newest_host: Option<i64>,
    /// The time (Unix seconds).
    pub now: i64,
}

/// For how long nothing new must be learned before there is a Sidecar (seconds), and who says so; `None`: nothing is waited for.
#[must_use]
pub fn asked(settings: &Settings, fence: &Fence, around: Around<'_>) -> Option<(i64, By)> {
    let said = levels(fence, around).into_iter().find_map(|(by, labels)| {
        let text = labels?.get(names::ENFORCE_AFTER_LABEL)?;
        Some((enforce_after_of(text)?, by))
    });
    Some(said.unwrap_or((settings.enforce_after, By::Setting))).filter(|(seconds, _)| *seconds > 0)
}

/// One sentence for each label that names no time.
#[must_use]
pub fn problems(fence: &Fence, around: Around<'_>) -> Vec<String> {
    let unknown = levels(fence, around).into_iter().filter_map(|(by, labels)| {
        let value = labels?.get(names::ENFORCE_AFTER_LABEL).filter(|value| enforce_after_of(value).is_none())?;
        Some(format!(
            "label {} of the {}: expected a time such as 12h or 3d, or off, got {value:?}; the next wider level decides",
            names::ENFORCE_AFTER_LABEL,
            by.name()
        ))
    });
    unknown.collect()
}

/// Whether a fence was enforced until now, by what its status and its Sidecar say: nothing is taken from it again.
#[must_use]
pub fn was_enforced(fence: &Fence, sidecar: Option<&Sidecar>) -> bool {
    if sidecar.is_some_and(|sidecar| sidecar.owner_uid.is_some() && !sidecar.is_leaving()) {
        return true;
    }
    let applied = ours(&fence.status.conditions).find(|condition| condition.type_ == SIDECAR_APPLIED);
    fence.status.coverage.is_none() && applied.is_some_and(|condition| !NOT_YET.contains(&condition.reason.as_str()))
}

/// What is still waited for.
#[must_use]
pub fn wait((after, by): (i64, By), known: Known) -> Option<Wait> {
    let since = known.newest_host.map_or(known.since, |newest| newest.max(known.since));
    let until = since.saturating_add(after);
    let is_host = known.newest_host.is_some_and(|newest| newest >= known.since);
    (until > known.now).then_some(Wait { after, by, since, is_host, until })
}

impl Wait {
    /// For people: what is missing, and when it will be there.
    #[must_use]
    pub fn sentence(self) -> String {
        let by = match self.by {
            By::Setting => "general.enforceAfter".to_owned(),
            by => format!("label {} of the {}", names::ENFORCE_AFTER_LABEL, by.name()),
        };
        let since = if self.is_host { "its newest host was learned" } else { "its observation began" };
        format!(
            "it waits until nothing new was learned for {} ({by}): {since} at {}, so it has a Sidecar from {} on, if nothing new is learned \
             before. Until then it learns and hides nothing; `lazyload recommend` prints the Sidecar that it would have",
            time_told(self.after),
            moment(self.since),
            moment(self.until),
        )
    }
}

/// As it is written in settings.
fn time_told(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds % 60, "s")];
    parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect()
}

fn moment(unix_seconds: i64) -> String {
    Timestamp::from_second(unix_seconds).map_or_else(|_| "a time that is too far away".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::types::{Labels, Namespace, Object, ObjectRef, Service};

    const DAY: i64 = 86_400;

    fn labels(value: Option<&str>) -> Labels {
        value.map(|value| (names::ENFORCE_AFTER_LABEL.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn fence(after: Option<&str>, status: &Value) -> Fence {
        let object = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "labels": serde_json::to_value(labels(after)).unwrap()},
            "spec": {"enable": true}, "status": status});
        match convert::object(&object).unwrap() {
            Some(Object::Fence(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_narrowest_level_that_names_a_time_counts_and_a_clear_no_ends_the_waiting() {
        for (of_fence, of_service, of_namespace, setting, expected) in [
            (None, None, None, "", None),
            (None, None, None, "3d", Some((3 * DAY, By::Setting))),
            (None, None, Some("12h"), "3d", Some((DAY / 2, By::Namespace))),
            (None, Some("off"), Some("12h"), "3d", None),
            (Some("60"), Some("off"), Some("12h"), "3d", Some((60, By::Fence))),
            (Some("soon"), None, None, "3d", Some((3 * DAY, By::Setting))),
            (Some("0"), None, None, "3d", None),
        ] {
            let settings = json!({"general": {"enforceAfter": setting}});
            let settings = resolve(&settings, &Context::default()).unwrap().settings;
            let service =
                Service { id: ObjectRef::new("default", "a"), labels: labels(of_service), ..Service::default() };
            let namespace = Namespace { name: "default".into(), labels: labels(of_namespace) };
            let around = Around { service: Some(&service), namespace: Some(&namespace), own: None };
            let fence = fence(of_fence, &json!({}));
            assert_eq!(asked(&settings, &fence, around), expected, "{of_fence:?} {of_service:?} {of_namespace:?}");
            assert_eq!(problems(&fence, around).len(), usize::from(of_fence == Some("soon")));
        }
    }

    #[test]
    fn it_is_over_when_nothing_new_was_learned_for_the_time_and_each_new_host_begins_it_again() {
        let asked = (DAY, By::Setting);
        let known = |newest_host, now| Known { since: 1_000, newest_host, now };
        let until = |known| wait(asked, known).map(|wait| (wait.until, wait.is_host));
        assert_eq!(until(known(None, 1_000)), Some((1_000 + DAY, false)));
        assert_eq!(until(known(None, 1_000 + DAY)), None);
        assert_eq!(until(known(Some(5_000), 1_000 + DAY)), Some((5_000 + DAY, true)));
        assert_eq!(until(known(Some(5_000), 5_000 + DAY)), None);
        assert_eq!(until(known(Some(500), 1_000)), Some((1_000 + DAY, false)), "it was known before it was observed");
    }

    #[test]
    fn what_is_missing_is_told_with_who_asks_for_it_and_when_it_will_be_there() {
        let known = Known { since: 1_000_000, newest_host: Some(1_000_060), now: 1_000_061 };
        let sentence = wait((129_600, By::Namespace), known).unwrap().sentence();
        assert!(
            sentence.starts_with(
                "it waits until nothing new was learned for 1d12h (label lazyload.slime.io/enforce-after of the Namespace): \
                 its newest host was learned at 1970-01-12T13:47:40Z, so it has a Sidecar from 1970-01-14T01:47:40Z on"
            ),
            "{sentence}"
        );
    }

    #[test]
    fn what_had_a_sidecar_does_not_wait_again_and_what_only_learned_does() {
        let status = |reason: &str| {
            json!({"conditions": [{"type": "SidecarApplied", "status": "False", "reason": reason, "message": "",
                "lastTransitionTime": "2026-11-28T00:00:00Z"}]})
        };
        assert!(!was_enforced(&fence(None, &json!({})), None));
        for (reason, expected) in [
            ("Applied", true),
            ("BreakGlass", true),
            ("ServiceMissing", true),
            ("Observing", false),
            ("Waiting", false),
            ("Disabled", false),
        ] {
            let mut status = status(reason);
            assert_eq!(was_enforced(&fence(None, &status), None), expected, "{reason}");
            status["coverage"] = json!({"since": "2026-11-28T00:00:00Z"});
            assert!(!was_enforced(&fence(None, &status), None), "{reason}: its coverage says that it learns only");
        }
    }
}
