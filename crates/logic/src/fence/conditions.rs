//! What the user is told about a fence: `status.conditions`. Each says which object it is about, what was expected, what to do.
//! Source: Kubernetes API conventions for conditions; issue "Every promise of the seed about fences and dependencies".

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::types::{Fence, ObjectRef};

/// Whether the fence's pods get what the fence says.
pub const READY: &str = "Ready";
/// Whether the fence's Sidecar is there, as it should be.
pub const SIDECAR_APPLIED: &str = "SidecarApplied";
/// Whether everything that the user wrote can be used.
pub const SPEC_VALID: &str = "SpecValid";
/// Only while it holds: another object stands in the fence's way.
pub const CONFLICT: &str = "Conflict";

/// Only while it holds: not all of a big fence fits into the objects that the API server stores.
pub const TRUNCATED: &str = "Truncated";

/// Only while it holds: calls that take the way through the global-sidecar may be denied there.
pub const FIRST_CALLS_DENIED: &str = "FirstCallsDenied";

/// Every type, in the order in which they are written.
const ORDER: [&str; 6] = [READY, SIDECAR_APPLIED, CONFLICT, SPEC_VALID, FIRST_CALLS_DENIED, TRUNCATED];

/// Every reason that is given here.
const REASONS: [&str; 19] = [
    "Applied",
    "Observing",
    "Recommending",
    "Waiting",
    "BreakGlass",
    "RuledByOther",
    "Disabled",
    "WithoutFallback",
    "ServiceMissing",
    "ServiceWithoutSelector",
    "ForeignSidecar",
    "Refused",
    "Overruled",
    "StatusRefused",
    "OverlappingFence",
    "Valid",
    "LeftOut",
    "PolicyWithoutGlobalSidecar",
    "TooLarge",
];

/// Longest message: enough for some dozens of hosts, and small beside what a big fence learns.
const MAX_MESSAGE: usize = 2048;

/// How it stands with the Sidecar of a fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SidecarState {
    /// It is there as it should be. Learned hosts follow within a second or so; that is no reason to say otherwise.
    Applied {
        /// The other fences that select only pods of this one: it has their hosts too.
        rules: Vec<ObjectRef>,
    },
    /// Another fence selects all pods of this one.
    Ruled {
        /// That fence.
        by: ObjectRef,
        /// Its Sidecar is there and has all that this one's would have.
        is_served: bool,
    },
    /// `spec.enable` is not true, and there is none.
    Disabled,
    /// Its mode, or break-glass, is that there is none.
    Held {
        /// Which of them, in one word.
        reason: &'static str,
        /// Who says so, and what to do.
        message: String,
    },
    /// Nothing would serve hosts that a Sidecar hides: the namespace has no global-sidecar, and so there is none.
    WithoutFallback,
    /// `fromService`, and there is no such Service.
    ServiceMissing,
    /// `fromService`, and the Service selects no pods.
    ServiceWithoutSelector,
    /// There is one of this name that is not ours.
    Foreign,
    /// Refused, in these words.
    Refused(String),
    /// It was written, and is not as it was written.
    Overruled,
}

/// What the conditions of one fence follow from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The fence, with the conditions that it has.
    pub fence: &'a Fence,
    /// How it stands with its Sidecar; `None` while that is still being written: what was said about it stays.
    pub sidecar: Option<&'a SidecarState>,
    /// What cannot be used of the spec and of the settings, one sentence each.
    pub problems: &'a [String],
    /// What does not fit, in a sentence.
    pub truncated: Option<&'a str>,
    /// Which calls may be denied on their way through the global-sidecar, in a sentence.
    pub denied: Option<&'a str>,
    /// The status as it should be was refused, in these words.
    pub refused_status: Option<&'a str>,
    /// Conditions that were written, and did not get there: the time in them holds all the same.
    pub attempted: &'a [Condition],
}

/// A condition without its time.
struct Said {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

/// The conditions that a fence should have now, in a fixed order. A time changes only when a status does.
#[must_use]
pub fn conditions(facts: Facts<'_>, unix_seconds: i64) -> Vec<Condition> {
    let known = |kind: &str| facts.fence.status.conditions.iter().find(|known| known.type_ == kind);
    let mut all = Vec::new();
    if let Some(sidecar) = facts.sidecar {
        let applied = applied(&facts.fence.id, sidecar);
        all.push(ready(&facts, sidecar, &applied));
        all.push(applied);
        all.extend(conflict(&facts.fence.id, sidecar));
    }
    all.push(spec_valid(facts.problems));
    let denied = |message: &str| Said {
        kind: FIRST_CALLS_DENIED,
        holds: true,
        reason: "PolicyWithoutGlobalSidecar",
        message: message.to_owned(),
    };
    all.extend(facts.denied.map(denied));
    let truncated =
        |message: &str| Said { kind: TRUNCATED, holds: true, reason: "TooLarge", message: message.to_owned() };
    all.extend(facts.truncated.map(truncated));
    let mut all: Vec<Condition> = all
        .into_iter()
        .map(|said| {
            let status = if said.holds { "True" } else { "False" };
            let attempted = facts.attempted.iter().find(|condition| condition.type_ == said.kind);
            let alike = known(said.kind).into_iter().chain(attempted).find(|condition| condition.status == status);
            let since = alike.map(|condition| condition.last_transition_time.clone());
            Condition {
                type_: said.kind.to_owned(),
                status: status.to_owned(),
                reason: said.reason.to_owned(),
                message: shortened(said.message),
                observed_generation: Some(facts.fence.generation).filter(|generation| *generation > 0),
                last_transition_time: since.unwrap_or_else(|| time(unix_seconds)),
            }
        })
        .collect();
    if facts.sidecar.is_none() {
        let kept = [READY, SIDECAR_APPLIED, CONFLICT].into_iter().filter_map(known).cloned();
        all.extend(kept);
    }
    all.sort_by_key(|condition| ORDER.iter().position(|kind| *kind == condition.type_));
    all
}

/// Conditions of a status that are ours to write; others have their own writers.
pub fn ours(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    conditions.iter().filter(|condition| ORDER.contains(&condition.type_.as_str()))
}

/// What a condition says, as a metric's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InShort {
    /// Its type.
    pub condition: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// Its reason; `other` for one that is none of ours.
    pub reason: &'static str,
}

/// What a condition says, in our words alone: whoever may write a status must not make up labels of metrics.
#[must_use]
pub fn in_short(condition: &Condition) -> InShort {
    let known = |words: &[&'static str], word: &str| words.iter().find(|known| **known == word).copied();
    InShort {
        condition: known(&ORDER, &condition.type_).unwrap_or("other"),
        status: known(&["True", "False"], &condition.status).unwrap_or("Unknown"),
        reason: known(&REASONS, &condition.reason).unwrap_or("other"),
    }
}

fn applied(id: &ObjectRef, sidecar: &SidecarState) -> Said {
    let (holds, reason, message) = match sidecar {
        SidecarState::Applied { rules } if rules.is_empty() => {
            (true, "Applied", format!("Sidecar {id} has every host of status.domains"))
        }
        SidecarState::Applied { rules } => (
            true,
            "Applied",
            format!(
                "Sidecar {id} has every host of status.domains, and those of other fences whose pods it selects too: {}",
                listed(rules)
            ),
        ),
        SidecarState::Ruled { by, is_served } => (
            false,
            "RuledByOther",
            format!(
                "ServiceFence {by} selects every pod of this fence, and a pod has one Sidecar: {} Sidecar {by}",
                if *is_served { "the hosts of this fence are in" } else { "its own stays until its hosts are in" }
            ),
        ),
        SidecarState::Held { reason, message } => (false, *reason, message.clone()),
        SidecarState::Disabled => (false, "Disabled", "spec.enable is not true: this fence has no Sidecar".to_owned()),
        SidecarState::WithoutFallback => (
            false,
            "WithoutFallback",
            format!(
                "no global-sidecar serves namespace {0}, which is not in general.namespace, so a Sidecar would hide hosts for good and there is \
                 none. What was learned is kept. Add {0} to general.namespace of the SlimeBoot",
                id.namespace
            ),
        ),
        SidecarState::ServiceMissing => (
            false,
            "ServiceMissing",
            format!(
                "spec.workloadSelector.fromService: expected a Service {id}, found none. Make it, or name the pods in \
                 spec.workloadSelector.labels. Until then the Sidecar stays as it is, or is not made"
            ),
        ),
        SidecarState::ServiceWithoutSelector => (
            false,
            "ServiceWithoutSelector",
            format!(
                "spec.workloadSelector.fromService: expected Service {id} to select pods, and its spec.selector is empty. Name the pods \
                 in spec.workloadSelector.labels. Until then the Sidecar stays as it is, or is not made"
            ),
        ),
        SidecarState::Foreign => {
            (false, "ForeignSidecar", format!("Sidecar {id} is not this fence's, and is left alone: see Conflict"))
        }
        SidecarState::Refused(words) => (
            false,
            "Refused",
            format!(
                "the API server refused Sidecar {id}: {words}. It is tried again when something changes, and every ten minutes"
            ),
        ),
        SidecarState::Overruled => (
            false,
            "Overruled",
            format!(
                "Sidecar {id} was written, and something (another controller, a webhook) made it different: look at its \
                 metadata.managedFields. It is tried again when something changes, and every ten minutes"
            ),
        ),
    };
    Said { kind: SIDECAR_APPLIED, holds, reason, message }
}

fn ready(facts: &Facts<'_>, sidecar: &SidecarState, applied: &Said) -> Said {
    if let Some(words) = facts.refused_status {
        let message = format!(
            "the API server refused the status of this fence, so that status.domains is not up to date: {words}"
        );
        return Said { kind: READY, holds: false, reason: "StatusRefused", message };
    }
    let holds = matches!(
        sidecar,
        SidecarState::Applied { .. }
            | SidecarState::Disabled
            | SidecarState::Held { .. }
            | SidecarState::Ruled { is_served: true, .. }
    );
    Said { kind: READY, holds, reason: applied.reason, message: applied.message.clone() }
}

fn conflict(id: &ObjectRef, sidecar: &SidecarState) -> Option<Said> {
    if let SidecarState::Ruled { by, .. } = sidecar {
        let message = format!(
            "ServiceFence {by} selects every pod of this fence and rules. Nothing is lost by that; to have it otherwise, delete one of the \
             two, or give this one a spec.workloadSelector.labels that is not part of the other's pods"
        );
        return Some(Said { kind: CONFLICT, holds: true, reason: "OverlappingFence", message });
    }
    let SidecarState::Foreign = sidecar else { return None };
    let message = format!(
        "Sidecar {id} was made by somebody else, so it decides what the pods see, and learned hosts do not reach it. Delete it, or hand \
         it over: kubectl -n {} annotate sidecar {} {}=true",
        id.namespace,
        id.name,
        lazyload_api::names::ADOPT_ANNOTATION,
    );
    Some(Said { kind: CONFLICT, holds: true, reason: "ForeignSidecar", message })
}

fn spec_valid(problems: &[String]) -> Said {
    if problems.is_empty() {
        return Said {
            kind: SPEC_VALID,
            holds: true,
            reason: "Valid",
            message: "everything in the spec can be used".to_owned(),
        };
    }
    Said { kind: SPEC_VALID, holds: false, reason: "LeftOut", message: problems.join("; ") }
}

/// What of a big fence does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Dependencies shown without `hosts`.
    pub shortened: usize,
    /// Dependencies that are not in `status.domains`.
    pub not_shown: usize,
    /// Dependencies that are not in the Sidecar.
    pub not_carried: usize,
    /// More hosts were called than can be kept.
    pub is_full: bool,
}

impl Truncated {
    /// What does not fit of `total` dependencies; `None` if all does.
    #[must_use]
    pub fn sentence(&self, total: usize) -> Option<String> {
        let mut parts = Vec::new();
        if self.shortened > 0 {
            parts.push(format!(
                "{} are shown in status.domains without hosts, which would repeat the name",
                self.shortened
            ));
        }
        if self.not_shown > 0 {
            parts.push(format!(
                "{} are not shown in status.domains; they are in the Sidecar, and follow from spec and status.metricStatus",
                self.not_shown
            ));
        }
        if self.not_carried > 0 {
            parts.push(format!("{} are not in the Sidecar: their calls take the global-sidecar", self.not_carried));
        }
        if self.is_full {
            parts.push("more hosts were called than can be kept: their calls take the global-sidecar".to_owned());
        }
        let what = format!("of {total} dependencies, what does not fit into an object of the API server (1.5 MiB): ");
        (!parts.is_empty()).then(|| what + &parts.join("; "))
    }
}

fn listed(fences: &[ObjectRef]) -> String {
    let names: Vec<String> = fences.iter().take(10).map(ToString::to_string).collect();
    let more = fences.len().saturating_sub(names.len());
    names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

fn time(unix_seconds: i64) -> Time {
    Time(Timestamp::from_second(unix_seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = message.floor_char_boundary(MAX_MESSAGE - 4);
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}
