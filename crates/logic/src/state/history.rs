//! What happened to fences since the controller began: which call taught which host, and how the Sidecar followed. In memory alone and bounded, for
//! those who look; nothing is decided by it.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::State;
use crate::fence::switch::{EVERYTHING, Form};
use crate::index::Caller;
use crate::observation::{Call, Identity};
use crate::types::{Kind, ObjectRef, Sidecar};

/// Moments that are remembered, of all fences together: some weeks of a settled mesh.
const MAX_MOMENTS: usize = 8192;
/// Hosts that a moment names; the others are counted.
const MAX_NAMES: usize = 8;

/// Something that happened to a fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When (Unix seconds); nothing for what was there when the controller began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum What {
    /// The fence was made.
    Made,
    /// These hosts were learned already when the controller began.
    Known {
        /// Which.
        hosts: Names,
    },
    /// A call taught a host.
    Called {
        /// The host, completed.
        host: String,
        /// As the client wrote it.
        written: String,
        /// The pod that called, `NAMESPACE/NAME`, or its address where no pod has it.
        caller: String,
        /// Whether the caller's certificate says the same.
        verified: bool,
    },
    /// Prometheus told of a host.
    Measured {
        /// The key of the evidence.
        key: String,
        /// The query that told it.
        handler: String,
    },
    /// A host was not called for the window, or was forgotten as its user asked.
    Forgotten {
        /// The key of the evidence.
        key: String,
        /// Whether a user asked for it.
        asked: bool,
    },
    /// A host was not called for its lease, and leaves the Sidecar.
    Quarantined {
        /// The host.
        host: String,
    },
    /// A host that was in quarantine is called.
    Returned {
        /// The host.
        host: String,
    },
    /// The Sidecar came, or changed.
    Sidecar {
        /// Whether it was not there before.
        is_new: bool,
        /// Hosts whose clusters came, without a route yet.
        announced: Names,
        /// Hosts that got their route.
        routed: Names,
        /// Hosts that lost their route.
        unrouted: Names,
    },
    /// The Sidecar went.
    SidecarGone,
    /// A condition became what it is.
    Condition {
        /// Its type.
        kind: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// One word.
        reason: String,
        /// What was expected, and what to do.
        message: String,
    },
}

/// Some hosts: all are counted, the first ones named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// How many there are.
    pub count: usize,
    /// The first ones.
    pub first: Vec<String>,
}

impl Names {
    /// Of these.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut told = Self::default();
        for name in names {
            told.count += 1;
            if told.first.len() < MAX_NAMES {
                told.first.push(name.to_owned());
            }
        }
        told
    }
}

/// The last moments of all fences, in their order.
#[derive(Debug, Default)]
pub(super) struct History {
    moments: VecDeque<(ObjectRef, Moment)>,
    /// Fences of which another process has told what it remembers.
    recalled: BTreeSet<ObjectRef>,
}

impl History {
    pub(super) fn add(&mut self, fence: &ObjectRef, unix_seconds: i64, what: What) {
        if self.moments.len() >= MAX_MOMENTS {
            self.moments.pop_front();
        }
        self.moments.push_back((fence.clone(), Moment { at: Some(unix_seconds), what }));
    }
}

impl State {
    /// What happened to a fence since the controller began, as far as it is remembered; in its order.
    #[must_use]
    pub fn history(&self, fence: &ObjectRef) -> Vec<Moment> {
        let moments = self.history.moments.iter();
        moments.filter(|(of, _)| of == fence).map(|(_, moment)| moment.clone()).collect()
    }

    /// Takes in what controllers remember of a fence, for a process that asks once and remembers nothing itself.
    pub fn recall(&mut self, fence: &ObjectRef, moments: impl IntoIterator<Item = Moment>) {
        self.history.recalled.insert(fence.clone());
        let all = self.history.moments.drain(..).chain(moments.into_iter().map(|moment| (fence.clone(), moment)));
        let mut all: Vec<(ObjectRef, Moment)> = all.collect();
        all.sort_by_key(|(_, moment)| moment.at);
        self.history.moments = all.into();
    }

    /// Whether it was asked for what is remembered of a fence.
    pub(super) fn is_recalled(&self, fence: &ObjectRef) -> bool {
        self.history.recalled.contains(fence)
    }

    /// The same as [`State::history`], the newest first and as it is.
    pub(super) fn newest_moments<'a>(&'a self, fence: &'a ObjectRef) -> impl Iterator<Item = &'a Moment> {
        let moments = self.history.moments.iter().rev();
        moments.filter(move |(of, _)| of == fence).map(|(_, moment)| moment)
    }

    /// A call has taught a host.
    pub(super) fn note_call(&mut self, fence: &ObjectRef, host: &str, call: &Call, unix_seconds: i64) {
        let caller = match self.index.find_caller(call.caller, call.peer.as_ref()) {
            Ok(Caller::Pod(pod)) => pod.id.to_string(),
            _ => call.caller.to_string(),
        };
        let verified = call.peer.as_ref().is_some_and(Identity::names_account);
        let (host, written) = (host.to_owned(), call.authority.clone());
        self.history.add(fence, unix_seconds, What::Called { host, written, caller, verified });
    }

    /// What a Sidecar of ours is in comparison with what is known of it; nothing where nothing is different, and before everything is listed: what
    /// is there then came before us.
    pub(super) fn difference_told(&self, sidecar: &Sidecar) -> Option<What> {
        if sidecar.owner_uid.is_none() || self.unlisted.contains(&Kind::Sidecar) {
            return None;
        }
        let known = self.index.find_sidecar(&sidecar.id);
        if known.is_some_and(|known| known.spec.egress == sidecar.spec.egress) {
            return None;
        }
        let (before, after) = (known.map(|known| Form::of(&known.spec)).unwrap_or_default(), Form::of(&sidecar.spec));
        let had = |host: &&&str| before.routed.contains(**host) || before.announced.contains(**host);
        Some(What::Sidecar {
            is_new: known.is_none(),
            announced: names(after.announced.iter().filter(|host| !had(host))),
            routed: names(after.routed.difference(&before.routed)),
            unrouted: names(before.routed.difference(&after.routed)),
        })
    }
}

fn names<'a>(hosts: impl Iterator<Item = &'a &'a str>) -> Names {
    // Every cluster for a moment is how a switch goes, and no host.
    let hosts: BTreeSet<&str> = hosts.copied().filter(|host| *host != EVERYTHING).collect();
    Names::of(hosts)
}
