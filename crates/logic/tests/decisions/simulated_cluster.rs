//! A tiny API server in memory: objects as JSON with uid, resourceVersion and generation; it takes changes and gives watch events.

use std::collections::BTreeMap;

use lazyload_api::names;
use lazyload_logic::state::{Change, Event, Outcome};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use lazyload_logic::{convert, manifest};
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedCluster {
    objects: BTreeMap<(Kind, ObjectRef), Value>,
    version: u64,
    events: Vec<Event>,
    /// Writes that came in, by the change's name.
    pub(crate) writes: BTreeMap<&'static str, usize>,
    /// Writes that changed something, by the change's name.
    pub(crate) effects: BTreeMap<&'static str, usize>,
    /// EnvoyFilters by name, which nobody watches.
    pub(crate) caller_logs: BTreeMap<String, Value>,
    /// A webhook that rewrites what is written.
    pub(crate) mutate: Option<fn(&mut Value)>,
    /// Deletions only set a deletionTimestamp, as with a finalizer that nobody removes.
    pub(crate) finalizers: bool,
}

pub(crate) fn key(value: &Value) -> (Kind, ObjectRef) {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == value["kind"]).expect("a watched kind");
    let name = value["metadata"]["name"].as_str().expect("a name");
    let namespace =
        if kind == Kind::Namespace { "" } else { value["metadata"]["namespace"].as_str().unwrap_or("default") };
    (kind, ObjectRef::new(namespace, name))
}

pub(crate) fn read(value: &Value) -> Object {
    convert::object(value).expect("readable").expect("of a watched kind")
}

impl SimulatedCluster {
    /// Creates or replaces an object as a user does: the status stays where the new form has none.
    pub(crate) fn put(&mut self, mut value: Value) {
        let key = key(&value);
        let status = self.objects.get(&key).and_then(|old| old.get("status"));
        if let Some(status) = status.filter(|_| value.get("status").is_none()) {
            value["status"] = status.clone();
        }
        self.store(value);
    }

    /// Stores an object if it differs from what is there; the answer tells whether it does.
    fn store(&mut self, mut value: Value) -> bool {
        let key = key(&value);
        let old = self.objects.get(&key);
        for field in ["uid", "generation", "resourceVersion"] {
            value["metadata"][field] = old.map_or(Value::Null, |old| old["metadata"][field].clone());
        }
        if old == Some(&value) {
            return false;
        }
        self.version += 1;
        match old {
            Some(old) if old["spec"] == value["spec"] => {}
            Some(old) => value["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap() + 1),
            None => {
                value["metadata"]["generation"] = json!(1);
                value["metadata"]["uid"] = json!(format!("uid-{}", self.version));
            }
        }
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push(Event::Applied(Box::new(read(&value))));
        self.objects.insert(key, value);
        true
    }

    pub(crate) fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.remove(&(kind, ObjectRef::new(namespace, name)));
    }

    fn remove(&mut self, key: &(Kind, ObjectRef)) -> bool {
        self.version += 1;
        let removed = self.objects.remove(key).is_some();
        if removed {
            self.events.push(Event::Deleted(key.0, key.1.clone()));
        }
        removed
    }

    pub(crate) fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, ObjectRef::new(namespace, name)))
    }

    pub(crate) fn all(&self, kind: Kind) -> Vec<&Value> {
        self.objects.iter().filter(|((of, _), _)| *of == kind).map(|(_, value)| value).collect()
    }

    /// Hosts of a Sidecar's default listener.
    pub(crate) fn hosts(&self, namespace: &str, name: &str) -> Vec<String> {
        let sidecar = self.get(Kind::Sidecar, namespace, name).expect("a Sidecar");
        let listeners = sidecar["spec"]["egress"].as_array().expect("egress listeners");
        let default = listeners.iter().find(|listener| listener.get("port").is_none()).expect("a default listener");
        serde_json::from_value(default["hosts"].clone()).unwrap()
    }

    /// What watches would deliver now.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Deletes Sidecars whose owner is gone, as Kubernetes does some time later.
    pub(crate) fn collect_garbage(&mut self) {
        let uids: Vec<Value> = self.all(Kind::Fence).iter().map(|fence| fence["metadata"]["uid"].clone()).collect();
        let orphan = |value: &Value| {
            let owner = &value["metadata"]["ownerReferences"][0]["uid"];
            !owner.is_null() && !uids.contains(owner)
        };
        let orphans: Vec<_> = self
            .objects
            .iter()
            .filter(|((kind, _), value)| *kind == Kind::Sidecar && orphan(value))
            .map(|(key, _)| key.clone())
            .collect();
        for key in orphans {
            self.remove(&key);
        }
    }

    /// Carries out a change as the API server would.
    pub(crate) fn apply(&mut self, change: &Change) -> Outcome {
        *self.writes.entry(change.name()).or_default() += 1;
        let before = self.version;
        let outcome = self.carry_out(change);
        if self.version != before {
            *self.effects.entry(change.name()).or_default() += 1;
        }
        outcome
    }

    fn carry_out(&mut self, change: &Change) -> Outcome {
        let mut body = match change {
            Change::DeleteFence { id, uid } => return self.carry_out_delete(Kind::Fence, id, uid),
            Change::DeleteSidecar { id, uid } => return self.carry_out_delete(Kind::Sidecar, id, uid),
            Change::ApplyCallerLog { name, .. } => {
                let body = manifest::body(change).expect("a body");
                self.caller_logs.insert(name.clone(), body);
                return Outcome::Stored(None);
            }
            Change::RemoveCallerLog { name, .. } => {
                self.caller_logs.remove(name);
                return Outcome::Stored(None);
            }
            _ => manifest::body(change).expect("a body"),
        };
        if let Some(mutate) = self.mutate {
            mutate(&mut body);
        }
        let key = key(&body);
        let known = self.objects.get(&key);
        let creates = matches!(change, Change::CreateFence { .. } | Change::ApplySidecar { uid: None, .. });
        let uid = body["metadata"]["uid"].as_str();
        let conflict = uid.is_some() && known.and_then(|known| known["metadata"]["uid"].as_str()) != uid;
        let absent = known.is_none() && matches!(change, Change::WriteStatus { .. });
        if conflict || absent || creates && known.is_some() {
            return Outcome::Rejected("no".to_owned());
        }
        let merged = known.map_or(body.clone(), |known| merged(known, &body));
        self.store(merged);
        Outcome::Stored(Some(Box::new(read(&self.objects[&key]))))
    }

    fn carry_out_delete(&mut self, kind: Kind, id: &ObjectRef, uid: &str) -> Outcome {
        let key = (kind, id.clone());
        match self.objects.get(&key) {
            Some(known) if known["metadata"]["uid"] != uid => Outcome::Rejected("no".to_owned()),
            Some(known) if self.finalizers => {
                let mut known = known.clone();
                known["metadata"]["deletionTimestamp"] = json!("2026-11-23T00:00:00Z");
                self.store(known);
                Outcome::Stored(None)
            }
            _ => {
                self.remove(&key);
                Outcome::Stored(None)
            }
        }
    }
}

/// Server-side apply, as far as it matters here: our fields replace what is there, others stay; a status replaces the status.
fn merged(known: &Value, body: &Value) -> Value {
    let mut merged = known.clone();
    if let Some(status) = body.get("status") {
        merged["status"] = status.clone();
        return merged;
    }
    for (field, value) in body["spec"].as_object().into_iter().flatten() {
        merged["spec"][field] = value.clone();
    }
    merged["metadata"]["ownerReferences"] = body["metadata"]["ownerReferences"].clone();
    let labels = body["metadata"]["labels"].as_object().cloned().unwrap_or_else(Map::new);
    // Labels that we set go when they are no longer applied.
    if let Some(known) = merged.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        known.retain(|label, _| ![names::LEAVING_LABEL, names::REVISION_LABEL].contains(&label.as_str()));
    }
    for (label, value) in labels {
        merged["metadata"]["labels"][label] = value;
    }
    merged
}
