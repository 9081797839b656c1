//! How far a fence goes: its own label, then its Service's, then its Namespace's, then the setting; and break-glass over all of them.
//! Source: issue "See it, ask it, trust it"; reasons: docs/adr/0032.
//! Next: `enrollment` for whether there is a fence at all, `state::mode` for who asks.

use lazyload_api::names;

use super::wait::Wait;
use crate::settings::{Mode, Settings};
use crate::types::{Fence, Labels, Namespace, Service};

/// What the status calls a fence whose Sidecar is away for now.
pub const BREAK_GLASS: &str = "break-glass";

/// What the status calls one that is to be enforced, and is not known well enough.
pub const WAITING: &str = "waiting";

/// How far a fence goes, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What is said.
    pub mode: Mode,
    /// By whom.
    pub by: By,
    /// Whatever is said: it has no Sidecar for now.
    pub glass: Option<Glass>,
    /// It is to be enforced, and is not known well enough: it has no Sidecar yet.
    pub wait: Option<Wait>,
}

/// Who says how far a fence goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A label of the fence.
    Fence,
    /// A label of the Service of its name.
    Service,
    /// A label of its Namespace.
    Namespace,
    /// `general.fenceMode`
    Setting,
}

/// How wide break-glass reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glass {
    /// The controller's own Namespace has the label.
    Mesh,
    /// The fence's Namespace has it.
    Namespace,
}

/// What is known around a fence.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The Service of its name.
    pub service: Option<&'a Service>,
    /// Its Namespace.
    pub namespace: Option<&'a Namespace>,
    /// The controller's own.
    pub own: Option<&'a Namespace>,
}

/// Decides how far a fence goes. A label that names no mode leaves it to the next wider level.
#[must_use]
pub fn decide(settings: &Settings, fence: &Fence, around: Around<'_>) -> Decided {
    let said = levels(fence, around).into_iter().find_map(|(by, labels)| Some((mode(labels?)?, by)));
    let (mode, by) = said.unwrap_or((settings.fence_mode, By::Setting));
    let is_broken = |namespace: Option<&Namespace>| namespace.is_some_and(|it| is_glass_broken(&it.labels));
    let glass =
        if is_broken(around.own) { Some(Glass::Mesh) } else { is_broken(around.namespace).then_some(Glass::Namespace) };
    Decided { mode, by, glass, wait: None }
}

/// One sentence for each label that names no mode.
#[must_use]
pub fn problems(fence: &Fence, around: Around<'_>) -> Vec<String> {
    let unknown = levels(fence, around).into_iter().filter_map(|(by, labels)| {
        let value = labels?.get(names::MODE_LABEL).filter(|value| Mode::of_name(value).is_none())?;
        Some(format!(
            "label {} of the {}: expected enforce, recommend or observe, got {value:?}; the next wider level decides",
            names::MODE_LABEL,
            by.name()
        ))
    });
    unknown.collect()
}

/// Whether a Namespace's labels break the glass. In an emergency nobody looks up how it is spelt: any value but a clear no does.
#[must_use]
pub fn is_glass_broken(labels: &Labels) -> bool {
    labels.get(names::BREAK_GLASS_LABEL).is_some_and(|value| !["off", "false", "no"].contains(&value.as_str()))
}

/// What of a Namespace's labels matters here, and in `lease`.
#[must_use]
pub fn said_by(namespace: Option<&Namespace>) -> ([Option<&str>; 3], bool) {
    let labels = namespace.map(|namespace| &namespace.labels);
    let said = [names::MODE_LABEL, names::ENFORCE_AFTER_LABEL, names::EXPIRE_UNUSED_AFTER_LABEL];
    let said = said.map(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str));
    (said, labels.is_some_and(is_glass_broken))
}

/// Whose labels say something, the narrowest first.
pub(super) fn levels<'a>(fence: &'a Fence, around: Around<'a>) -> [(By, Option<&'a Labels>); 3] {
    [
        (By::Fence, Some(&fence.labels)),
        (By::Service, around.service.map(|service| &service.labels)),
        (By::Namespace, around.namespace.map(|namespace| &namespace.labels)),
    ]
}

fn mode(labels: &Labels) -> Option<Mode> {
    labels.get(names::MODE_LABEL).and_then(|value| Mode::of_name(value))
}

impl By {
    /// The kind of the object.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fence => "ServiceFence",
            Self::Service => "Service",
            Self::Namespace => "Namespace",
            Self::Setting => "SlimeBoot",
        }
    }
}

impl Decided {
    /// Whether the fence may have a Sidecar.
    #[must_use]
    pub fn is_enforced(self) -> bool {
        self.mode == Mode::Enforce && self.glass.is_none() && self.wait.is_none()
    }

    /// For the status: nothing where it goes all the way.
    #[must_use]
    pub fn shown(self) -> Option<&'static str> {
        match self.glass {
            Some(_) => Some(BREAK_GLASS),
            None if self.mode == Mode::Enforce => self.wait.map(|_| WAITING),
            None => Some(self.mode.name()),
        }
    }

    /// Why there is no Sidecar, in one word; `None` where there is no such reason here.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match (self.glass, self.mode) {
            (Some(_), _) => Some("BreakGlass"),
            (None, Mode::Observe) => Some("Observing"),
            (None, Mode::Recommend) => Some("Recommending"),
            (None, Mode::Enforce) => self.wait.map(|_| "Waiting"),
        }
    }

    /// For people.
    #[must_use]
    pub fn sentence(self, settings: &Settings, fence: &Fence) -> String {
        let (glass, own, of) = (names::BREAK_GLASS_LABEL, &settings.slime_namespace, &fence.id.namespace);
        let (namespace, flag) = match self.glass {
            Some(Glass::Mesh) => (own.as_str(), String::new()),
            Some(Glass::Namespace) => (&**of, format!(" --namespace {of}")),
            None => return self.said(settings),
        };
        format!(
            "the label {glass} of Namespace {namespace} takes every Sidecar of a fence away for now; what was learned is kept. \
             To have them back: lazyload break-glass off{flag}"
        )
    }

    fn said(self, settings: &Settings) -> String {
        let by = match self.by {
            By::Setting => "general.fenceMode, and no label says otherwise".to_owned(),
            by => format!("the label {} of the {}", names::MODE_LABEL, by.name()),
        };
        if let (Mode::Enforce, Some(wait)) = (self.mode, self.wait) {
            let hears = settings.hears_what_is_not_fenced();
            let deaf = if hears { "" } else { ". Its calls are not heard until then: general.callerLogs is off" };
            return format!("mode enforce ({by}), but {}{deaf}", wait.sentence());
        }
        let what = match self.mode {
            Mode::Enforce => "it has a Sidecar",
            Mode::Recommend => {
                "it learns and hides nothing; `lazyload recommend` prints the Sidecar that it would have"
            }
            Mode::Observe => "it learns and hides nothing",
        };
        format!("mode {} ({by}): {what}", self.mode.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::types::{Object, ObjectRef};

    fn labels(key: &str, value: Option<&str>) -> Labels {
        value.map(|value| (key.to_owned(), value.to_owned())).into_iter().collect()
    }

    fn fence(mode: Option<&str>) -> Fence {
        let labels: Value = serde_json::to_value(labels(names::MODE_LABEL, mode)).unwrap();
        let object = json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": "a", "labels": labels}, "spec": {"enable": true}});
        match convert::object(&object).unwrap() {
            Some(Object::Fence(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    fn service(mode: Option<&str>) -> Service {
        let id = ObjectRef::new("default", "a");
        Service { id, labels: labels(names::MODE_LABEL, mode), ..Service::default() }
    }

    fn namespace(name: &str, key: &str, value: Option<&str>) -> Namespace {
        Namespace { name: name.into(), labels: labels(key, value) }
    }

    fn settings(mode: &str) -> Settings {
        resolve(&json!({"general": {"fenceMode": mode}}), &Context::default()).unwrap().settings
    }

    #[test]
    fn the_narrowest_level_that_names_a_mode_counts() {
        let (observe, recommend, enforce) = (Some("observe"), Some("recommend"), Some("enforce"));
        for (of_fence, of_service, of_namespace, setting, expected) in [
            (None, None, None, "", (Mode::Enforce, By::Setting)),
            (None, None, None, "observe", (Mode::Observe, By::Setting)),
            (None, None, recommend, "observe", (Mode::Recommend, By::Namespace)),
            (None, enforce, recommend, "observe", (Mode::Enforce, By::Service)),
            (observe, enforce, recommend, "", (Mode::Observe, By::Fence)),
            (Some("Observe"), Some(""), recommend, "", (Mode::Recommend, By::Namespace)),
            (Some("off"), None, None, "observe", (Mode::Observe, By::Setting)),
        ] {
            let (service, namespace) = (service(of_service), namespace("default", names::MODE_LABEL, of_namespace));
            let around = Around { service: Some(&service), namespace: Some(&namespace), own: None };
            let decided = decide(&settings(setting), &fence(of_fence), around);
            assert_eq!((decided.mode, decided.by), expected, "{of_fence:?} {of_service:?} {of_namespace:?} {setting}");
            let unknown = [of_fence, of_service].iter().flatten().filter(|it| Mode::of_name(it).is_none()).count();
            assert_eq!(problems(&fence(of_fence), around).len(), unknown);
        }
    }

    #[test]
    fn break_glass_rules_over_every_mode_and_only_a_clear_no_means_no() {
        for (value, broken) in
            [("on", true), ("true", true), ("", true), ("yes", true), ("off", false), ("false", false), ("no", false)]
        {
            let own = namespace("mesh-operator", names::BREAK_GLASS_LABEL, Some(value));
            let of_fence = namespace("default", names::BREAK_GLASS_LABEL, Some(value));
            for (around, glass) in [
                (Around { service: None, namespace: None, own: Some(&own) }, Glass::Mesh),
                (Around { service: None, namespace: Some(&of_fence), own: None }, Glass::Namespace),
            ] {
                let decided = decide(&settings(""), &fence(Some("enforce")), around);
                assert_eq!(decided.glass, broken.then_some(glass), "{value:?}");
                assert_eq!(decided.is_enforced(), !broken);
                assert_eq!(decided.shown(), broken.then_some("break-glass"));
            }
        }
    }

    #[test]
    fn what_is_said_is_told_with_who_says_it() {
        let settings = settings("observe");
        let around = Around { service: None, namespace: None, own: None };
        let decided = decide(&settings, &fence(None), around);
        assert_eq!(
            decided.sentence(&settings, &fence(None)),
            "mode observe (general.fenceMode, and no label says otherwise): it learns and hides nothing"
        );
        let of_fence = namespace("default", names::BREAK_GLASS_LABEL, Some("on"));
        let broken = decide(&settings, &fence(None), Around { namespace: Some(&of_fence), ..around });
        assert!(broken.sentence(&settings, &fence(None)).ends_with("lazyload break-glass off --namespace default"));
    }
}
