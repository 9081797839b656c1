//! What the operator remembers of an object.

use std::collections::BTreeSet;
use std::fmt;

use lazyload_api::names;
use serde_json::Value;

use super::kinds::{self, KindOf};
use super::realm::Realm;
use crate::boot::Routes;
use crate::checksum::checksum;
use crate::settings::{Context, resolve};
use crate::types::ObjectRef;

/// The strategy of a Deployment whose pods are ended before new ones are made.
pub(super) const REPLACE: &str = "Recreate";

/// Kind, namespace and name, in the order in which objects can be deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    rank: usize,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// The key of an object of a known kind.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let metadata = object.get("metadata")?;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        Self::new(object.get("kind")?.as_str()?, text("namespace"), text("name"))
    }

    /// The key of an object of that kind, if it is a known one.
    #[must_use]
    pub fn new(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let (rank, _) = kinds::known(kind)?;
        let namespace = if kinds::is_of_the_cluster(kind) { "" } else { namespace };
        Some(Self { rank, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> KindOf {
        kinds::KINDS.get(self.rank).copied().unwrap_or(super::BOOT_KIND)
    }

    /// Whether callers reach a global-sidecar by it.
    pub(super) fn is_entrance(&self) -> bool {
        self.kind().kind == "Service" && self.name == names::GLOBAL_SIDECAR
    }

    /// Whether it is the Deployment of a controller.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.kind().kind == "Deployment" && self.name != names::GLOBAL_SIDECAR
    }

    /// Whether it has the settings of a controller.
    pub(super) fn is_settings(&self) -> bool {
        self.kind().kind == "ConfigMap"
            && ![names::GLOBAL_SIDECAR, names::ACCESS_LOG_SOURCE].contains(&self.name.as_str())
    }

    /// Whether it sends callers to a global-sidecar.
    #[must_use]
    pub fn is_redirection(&self) -> bool {
        self.kind().kind == "EnvoyFilter" && self.name == names::TO_GLOBAL_SIDECAR
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind().kind;
        if self.namespace.is_empty() {
            return write!(f, "{kind} {}", self.name);
        }
        write!(f, "{kind} {}/{}", self.namespace, self.name)
    }
}

/// An object that carries the label of a SlimeBoot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Actual {
    pub uid: String,
    /// Changes with everything but the status, what the API server counts, and what Kubernetes reports elsewhere than in the status.
    pub fingerprint: String,
    /// Of a Deployment: what its newest pods still lack; nothing if they are all there, and no others.
    pub lacks: Option<String>,
    /// Of a Deployment: its pods are ended before new ones are made.
    pub is_replaced: bool,
    /// Of a redirection: what it needs at the global-sidecar.
    pub routes: Routes,
    /// Of the Service of a global-sidecar: its ports.
    pub ports: Vec<u16>,
    /// Of the settings of a controller: what it looks after.
    pub looks_after: Option<Realm>,
    /// It is being deleted.
    pub leaving: bool,
}

impl Actual {
    /// Reads an object and whose it is; nothing if it is nobody's.
    pub(super) fn of(object: &Value) -> Option<(Key, ObjectRef, Self)> {
        let key = Key::of(object)?;
        let owner = owner(object)?;
        let metadata = object.get("metadata")?;
        let actual = Self {
            uid: metadata.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
            fingerprint: fingerprint(object),
            lacks: (key.kind().kind == "Deployment").then(|| lacks(object)).flatten(),
            is_replaced: object.pointer("/spec/strategy/type").is_some_and(|strategy| strategy == REPLACE),
            routes: if key.is_redirection() { Routes::of(object) } else { Routes::default() },
            ports: if key.is_entrance() { service_ports(object) } else { Vec::new() },
            looks_after: if key.is_settings() { looks_after(object, &key.namespace) } else { None },
            leaving: metadata.get("deletionTimestamp").is_some(),
        };
        Some((key, owner, actual))
    }
}

/// The SlimeBoot that an object's labels name.
#[must_use]
pub(super) fn owner(object: &Value) -> Option<ObjectRef> {
    let labels = object.pointer("/metadata/labels")?;
    let text = |label: &str| labels.get(label).and_then(Value::as_str);
    let [name, namespace] = kinds::OWNER_LABELS;
    Some(ObjectRef::new(text(namespace)?, text(name)?))
}

fn fingerprint(object: &Value) -> String {
    let reported = reported_annotations(object);
    let mut object = object.clone();
    if let Value::Object(fields) = &mut object {
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.retain(|name, _| !reported.contains(name));
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
            for counted in ["creationTimestamp", "generation", "managedFields", "resourceVersion"] {
                metadata.remove(counted);
            }
        }
    }
    checksum(&object.to_string())
}

/// Annotations that only somebody wrote who writes the status, such as the revision of a Deployment: a report on the object like the status
/// itself, and no change of it.
fn reported_annotations(object: &Value) -> BTreeSet<String> {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let annotations = |of_status: bool| -> BTreeSet<String> {
        let entries = managers.into_iter().flatten();
        let entries = entries.filter(|entry| entry.get("subresource").is_some_and(|it| it == "status") == of_status);
        let fields = entries.filter_map(|entry| entry.pointer("/fieldsV1/f:metadata/f:annotations")?.as_object());
        fields.flat_map(|fields| fields.keys()).filter_map(|field| Some(field.strip_prefix("f:")?.to_owned())).collect()
    };
    let (by_status, otherwise) = (annotations(true), annotations(false));
    by_status.difference(&otherwise).cloned().collect()
}

/// What a controller with these settings looks after; nothing if it cannot read them.
fn looks_after(config_map: &Value, namespace: &str) -> Option<Realm> {
    let entry = serde_json::from_str(config_map.pointer("/data/cfg")?.as_str()?).ok()?;
    let context = Context { namespace: Some(namespace.to_owned()), ..Context::default() };
    Some(Realm::of(&resolve(&entry, &context).ok()?.settings))
}

fn service_ports(service: &Value) -> Vec<u16> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|port| u16::try_from(port.get("port")?.as_u64()?).ok()).collect()
}

fn lacks(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let wanted = deployment.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Some("not looked at yet by Kubernetes".to_owned());
    }
    let (updated, available, all) =
        (number("/status/updatedReplicas"), number("/status/availableReplicas"), number("/status/replicas"));
    if updated >= wanted && available >= wanted && all <= updated {
        return None;
    }
    Some(format!("{available} of {wanted} pods available, {updated} of {all} up to date"))
}
