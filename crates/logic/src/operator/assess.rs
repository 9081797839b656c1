//! The order of things for one SlimeBoot. New before old: what is added is ready before anything is sent to it, the redirections change,
//! proxies get time to follow, and only then goes what nobody uses any more. Deleting is the same with nothing wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::memory::{Memory, REPAIR_PAUSE, SETTLE};
use super::object::{Actual, REPLACE};
use super::slime_boot::Boot;
use super::{Act, Key};
use crate::boot::{Found, Installation, IstioVersion, desired_objects, labelled};
use crate::checksum::checksum;
use crate::types::ObjectRef;

/// Everything about one SlimeBoot.
pub(super) struct View<'a> {
    pub id: &'a ObjectRef,
    pub boot: &'a Boot,
    pub memory: &'a Memory,
    pub objects: &'a BTreeMap<Key, (ObjectRef, Actual)>,
    /// The ports beyond those that are written, if they are to be found.
    pub found: Option<Found>,
    /// The Istio that was found, and where, if its user does not say.
    pub istio: Option<(&'a ObjectRef, IstioVersion)>,
    pub now: Duration,
}

/// What is to be done, and what is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Assessment {
    pub act: Option<Act>,
    pub alarm: Option<Duration>,
    /// What is awaited.
    pub waiting: Vec<String>,
    /// What stops the SlimeBoot as a whole.
    pub stopped: Option<Stop>,
    /// What is wrong with single objects, and whether the first of them is somebody else's.
    pub problems: Vec<String>,
    pub occupied: bool,
    /// What the user should do besides.
    pub warnings: Vec<String>,
    /// Rights that the operator lacks.
    pub lacks: Option<String>,
    /// The ports that were found, and what was left out, one line each.
    pub ports: Option<(Vec<String>, Vec<String>)>,
}

/// Why nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Invalid(String),
    Conflict(String),
    Unsupported(String),
    /// The operator may not see what there is.
    Blind(String),
}

pub(super) type Bodies = Vec<(Key, Value)>;

impl View<'_> {
    pub(super) fn assess(&self, rival: Option<String>, undeclared: Option<String>) -> Assessment {
        let mut seen = Assessment { ports: self.found.as_ref().map(Found::lines), ..Assessment::default() };
        match (&self.boot.reading, rival) {
            (Err(error), _) if !self.boot.leaving => seen.stopped = Some(Stop::Invalid(error.to_string())),
            _ if self.refused_istio().is_some() => seen.stopped = self.refused_istio().map(Stop::Unsupported),
            (_, Some(rival)) => seen.stopped = Some(Stop::Conflict(rival)),
            _ => {
                seen.waiting.extend(undeclared);
                self.steps(&mut seen);
            }
        }
        seen
    }

    fn refused_istio(&self) -> Option<String> {
        let (deployment, version) = self.istio?;
        Some(format!("Deployment {deployment}: {}, or say spec.istioVersion if this is wrong", version.refusal()?))
    }

    fn steps(&self, seen: &mut Assessment) {
        let installation = self.boot.installation();
        if installation.is_some() && !self.boot.has_finalizer {
            seen.act = Some(Act::Finalizer { uid: self.boot.uid.clone(), present: true });
            return;
        }
        let (standing, redirections) = self.wanted(installation);
        if !self.see_off(&standing, seen) {
            return;
        }
        for (key, body) in &standing {
            if key.is_controller() && !self.is_alone(key, seen) {
                return;
            }
            self.write(key, body, seen);
            if seen.act.is_some() {
                return;
            }
        }
        let switched = self.redirect(&redirections, seen);
        if seen.act.is_some() || !switched || !seen.problems.is_empty() {
            return;
        }
        self.prune(&standing, seen);
        if seen.act.is_some() {
            return;
        }
        for (key, _) in &standing {
            seen.waiting.extend(self.lacks(key));
        }
        if installation.is_none() && self.boot.has_finalizer && self.memory.inventory.is_empty() {
            seen.act = Some(Act::Finalizer { uid: self.boot.uid.clone(), present: false });
        }
    }

    /// What stands, with the ports that somebody may still be sent to; and the redirections as they are to be.
    fn wanted(&self, installation: Option<&Installation>) -> (Bodies, Bodies) {
        let Some(installation) = installation else { return (Vec::new(), Vec::new()) };
        let mut installation = installation.clone();
        if let Some(found) = &self.found {
            installation = installation.with_ports(found);
        }
        installation.istio = installation.istio.or(self.istio.map(|(_, version)| version));
        let installation = &installation;
        let mut in_use = self.memory.held(self.now).cloned().unwrap_or_default();
        self.mine().filter(|(key, _)| key.is_redirection()).for_each(|(_, actual)| in_use.add(&actual.routes));
        let bodies = |installation: &Installation, redirections: bool| -> Bodies {
            let all =
                desired_objects(installation).into_iter().map(|body| labelled(body, &self.id.namespace, &self.id.name));
            let keyed = all.filter_map(|body| Some((Key::of(&body)?, body)));
            keyed.filter(|(key, _)| key.is_redirection() == redirections).collect()
        };
        (bodies(&installation.serving_also(&in_use), false), bodies(installation, true))
    }

    pub(super) fn mine(&self) -> impl Iterator<Item = (&Key, &Actual)> {
        self.objects.iter().filter(|(_, (owner, _))| owner == self.id).map(|(key, (_, actual))| (key, actual))
    }

    fn actual(&self, key: &Key) -> Option<&Actual> {
        self.objects.get(key).filter(|(owner, _)| owner == self.id).map(|(_, actual)| actual)
    }

    /// Writes an object if it is not as it was written last.
    fn write(&self, key: &Key, body: &Value, seen: &mut Assessment) {
        let replaced = self.replaced_once_more(key, body);
        let body = replaced.as_ref().unwrap_or(body);
        let wanted = checksum(&body.to_string());
        if let Some(problem) = self.memory.problem(key, Some(&wanted)) {
            seen.occupied |= seen.problems.is_empty() && problem.occupied;
            seen.problems.push(problem.text.clone());
            if self.now < problem.retry_at {
                return seen.wake(problem.retry_at);
            }
        }
        let Some(actual) = self.actual(key) else {
            let uid = self.memory.inventory.get(key).cloned();
            seen.act = Some(Act::Create { key: key.clone(), uid, body: body.clone() });
            return;
        };
        if actual.leaving {
            seen.waiting.push(format!("{key} is being deleted"));
            return;
        }
        if let Some(written) = self.memory.written.get(key).filter(|written| written.wanted == wanted) {
            if written.stored == actual.fingerprint {
                return;
            }
            if self.now < written.at + REPAIR_PAUSE {
                return seen.wake(written.at + REPAIR_PAUSE);
            }
        }
        seen.act = Some(Act::Apply { key: key.clone(), uid: actual.uid.clone(), body: body.clone() });
    }

    /// Brings the redirections to what they are to be. Old ones go before new ones come: two for one proxy would give it two catch-all
    /// routes, and Envoy would refuse both. Returns whether they are as they are to be.
    fn redirect(&self, wanted: &Bodies, seen: &mut Assessment) -> bool {
        let awaited: Vec<String> = wanted
            .iter()
            .filter(|(key, _)| self.actual(key).is_none())
            .filter_map(|(_, body)| self.unready_target(body))
            .collect();
        let unwanted: Vec<&Key> = self
            .memory
            .inventory
            .keys()
            .filter(|key| key.is_redirection() && wanted.iter().all(|(wanted, _)| wanted != *key))
            .collect();
        if !seen.problems.is_empty() {
            return false;
        }
        if !unwanted.is_empty() && awaited.is_empty() {
            for key in &unwanted {
                if self.is_free(key, seen) {
                    self.delete(key, seen);
                }
                if seen.act.is_some() {
                    return false;
                }
            }
        }
        if !unwanted.is_empty() {
            seen.waiting.extend(awaited);
            return false;
        }
        let mut switched = true;
        for (key, body) in wanted {
            if let Some(awaited) = self.unready_target(body).filter(|_| !self.is_written(key, body)) {
                seen.waiting.push(awaited);
                switched = false;
                continue;
            }
            self.write(key, body, seen);
            if seen.act.is_some() {
                return false;
            }
        }
        switched
    }

    /// A Deployment that was replaced so far and is to be rolled from now on is replaced once more: its old pods know nothing of pods beside
    /// them, such as the lease by which controllers agree on who writes.
    fn replaced_once_more(&self, key: &Key, body: &Value) -> Option<Value> {
        let strategy = body.pointer("/spec/strategy/type")?;
        let actual = self.actual(key).filter(|actual| actual.is_replaced && *strategy != REPLACE)?;
        let mut replaced = body.clone();
        *replaced.pointer_mut("/spec/strategy")? = json!({"type": REPLACE});
        let is_done = actual.lacks.is_none() && self.is_written(key, &replaced);
        (!is_done).then_some(replaced)
    }

    fn is_written(&self, key: &Key, body: &Value) -> bool {
        let wanted = checksum(&body.to_string());
        let written = self.memory.written.get(key).filter(|written| written.wanted == wanted);
        self.actual(key).is_some_and(|actual| written.is_some_and(|written| written.stored == actual.fingerprint))
    }

    /// What the Deployment behind a redirection lacks.
    fn unready_target(&self, body: &Value) -> Option<String> {
        let text = body.to_string();
        let (_, host) = text.split_once("||global-sidecar.")?;
        let deployment = Key::new("Deployment", host.split('.').next()?, lazyload_api::names::GLOBAL_SIDECAR)?;
        self.lacks(&deployment)
    }

    fn lacks(&self, key: &Key) -> Option<String> {
        if key.kind().kind != "Deployment" {
            return None;
        }
        match self.actual(key) {
            Some(actual) => actual.lacks.as_ref().map(|lacks| format!("{key}: {lacks}")),
            None => Some(format!("{key} is not there")),
        }
    }

    /// Deletes what is not wanted any more, once nobody is sent to it.
    fn prune(&self, standing: &Bodies, seen: &mut Assessment) {
        let wanted: BTreeSet<&Key> = standing.iter().map(|(key, _)| key).collect();
        let unwanted: Vec<&Key> =
            self.memory.inventory.keys().filter(|key| !key.is_redirection() && !wanted.contains(key)).collect();
        let settled_at = self.memory.redirected_at + SETTLE;
        if self.now < settled_at && !(unwanted.is_empty() && self.memory.held(self.now).is_none()) {
            seen.waiting.push("the proxies follow before the rest is removed".to_owned());
            return seen.wake(settled_at);
        }
        for key in unwanted {
            self.delete(key, seen);
            if seen.act.is_some() {
                return;
            }
        }
    }

    pub(super) fn delete(&self, key: &Key, seen: &mut Assessment) {
        if self.actual(key).is_some_and(|actual| actual.leaving) {
            seen.waiting.push(format!("{key} is being deleted"));
            return;
        }
        if let Some(problem) = self.memory.problem(key, None) {
            seen.problems.push(problem.text.clone());
            if self.now < problem.retry_at {
                return seen.wake(problem.retry_at);
            }
        }
        let uid = self.memory.inventory.get(key).cloned().unwrap_or_default();
        seen.act = Some(Act::Delete { key: key.clone(), uid });
    }
}

impl Assessment {
    pub(super) fn wake(&mut self, at: Duration) {
        self.alarm = Some(self.alarm.map_or(at, |before| before.min(at)));
    }
}
