//! How long a learned host stays without a call: the fence's own label, then its Service's, then its Namespace's, then
//! `general.expireUnusedAfter`. Reasons: docs/adr/0037.
//! Next: `ledger::usage` for what is counted, `state::unused` for what is done.

use std::time::Duration;

use lazyload_api::names;

use super::mode::{Around, levels};
use crate::settings::{Settings, expire_unused_after_of};
use crate::types::{Fence, Labels};

/// How long a fence's learned hosts stay without a call; `None`: for good. A label that names no time leaves it to the next wider level.
#[must_use]
pub fn decide(settings: &Settings, fence: &Fence, around: Around<'_>) -> Option<Duration> {
    // Where callers do not tell what they call, nobody knows what they do not call.
    settings.caller_log_port()?;
    let said = |labels: &Labels| expire_unused_after_of(labels.get(names::EXPIRE_UNUSED_AFTER_LABEL)?);
    let said = levels(fence, around).into_iter().find_map(|(_, labels)| labels.and_then(said));
    said.or(settings.expire_unused_after).filter(|after| !after.is_zero())
}

/// One sentence for each label that names no time.
#[must_use]
pub fn problems(fence: &Fence, around: Around<'_>) -> Vec<String> {
    let unknown = levels(fence, around).into_iter().filter_map(|(by, labels)| {
        let value = labels?.get(names::EXPIRE_UNUSED_AFTER_LABEL)?;
        expire_unused_after_of(value).is_none().then(|| {
            format!(
                "label {} of the {}: expected a time of at least 10s such as 720h or 30d, or off, got {value:?}; the next wider level decides",
                names::EXPIRE_UNUSED_AFTER_LABEL,
                by.name()
            )
        })
    });
    unknown.collect()
}

/// What is wrong with the setting, in a sentence.
#[must_use]
pub fn setting_problem(settings: &Settings) -> Option<String> {
    let is_in_vain = settings.expire_unused_after.is_some() && settings.caller_log_port().is_none();
    is_in_vain.then(|| {
        "general.expireUnusedAfter: expected general.callerLogs: on beside it, with access logs as the source: without what callers tell nobody knows what \
         is not called, and nothing expires"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::types::{Namespace, Object, ObjectRef, Service};

    fn labels(value: Option<&str>) -> Labels {
        value.map(|value| (names::EXPIRE_UNUSED_AFTER_LABEL.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn fence(value: Option<&str>) -> Fence {
        let object = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "labels": labels(value)}, "spec": {"enable": true}});
        match convert::object(&object).unwrap() {
            Some(Object::Fence(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    fn settings(general: &Value) -> Settings {
        resolve(&json!({"general": general}), &Context::default()).unwrap().settings
    }

    #[test]
    fn the_narrowest_level_that_names_a_time_counts_and_off_is_one() {
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        for (of_fence, of_service, of_namespace, setting, expected) in [
            (None, None, None, "", None),
            (None, None, None, "720h", days(30)),
            (None, None, Some("off"), "720h", None),
            (None, Some("60d"), Some("off"), "720h", days(60)),
            (Some("90d"), Some("60d"), None, "", days(90)),
            (Some("soon"), Some("1s"), Some("60d"), "720h", days(60)),
        ] {
            let id = ObjectRef::new("default", "a");
            let service = Service { id, labels: labels(of_service), ..Service::default() };
            let namespace = Namespace { name: "default".into(), labels: labels(of_namespace) };
            let around = Around { service: Some(&service), namespace: Some(&namespace), own: None };
            let heard = settings(&json!({"callerLogs": "on", "expireUnusedAfter": setting}));
            assert_eq!(
                decide(&heard, &fence(of_fence), around),
                expected,
                "{of_fence:?} {of_service:?} {of_namespace:?}"
            );
            let deaf = settings(&json!({"expireUnusedAfter": setting}));
            assert_eq!(decide(&deaf, &fence(of_fence), around), None);
            assert_eq!(setting_problem(&deaf).is_some(), !setting.is_empty());
            assert_eq!(setting_problem(&heard), None);
            let wrong = usize::from(of_fence == Some("soon")) * 2;
            assert_eq!(problems(&fence(of_fence), around).len(), wrong);
        }
    }
}
