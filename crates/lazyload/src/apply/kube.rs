//! Writes by server-side apply, with one field manager. The only place that writes to the API server.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use lazyload_api::istio::Sidecar;
use lazyload_api::names;
use lazyload_api::service_fence::ServiceFence;
use lazyload_logic::state::{Change, Notice, Outcome};
use lazyload_logic::types::{Object, ObjectRef};
use lazyload_logic::{convert, manifest};
use prometheus_client::metrics::counter::Counter;
use serde_json::{Value, json};

use super::Writer;
use super::caller_logs::{envoy_filters, remove_caller_log};
use super::events::EventSender;
use super::gone;

/// Longest wait for one write; after that it counts as failed and is tried again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// A write that the API server did not do.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("failed to {change} {id}")]
    Refused { change: &'static str, id: ObjectRef, source: Box<kube::Error> },
    #[error("failed to {change} {id}: no answer within {} s", WRITE_TIMEOUT.as_secs())]
    TimedOut { change: &'static str, id: ObjectRef },
    #[error("failed to {change} {id}: its body cannot be written as JSON")]
    Body { change: &'static str, id: ObjectRef, source: serde_json::Error },
}

impl ApplyError {
    /// One line, with the API server's own words where it answered.
    fn brief(&self) -> String {
        match self {
            Self::Refused { source, .. } => match &**source {
                kube::Error::Api(status) => format!("{self}: {} {}: {}", status.code, status.reason, status.message),
                other => format!("{self}: {other}"),
            },
            Self::Body { source, .. } => format!("{self}: {source}"),
            Self::TimedOut { .. } => self.to_string(),
        }
    }
}

fn refused(change: &Change, source: kube::Error) -> ApplyError {
    ApplyError::Refused { change: change.name(), id: change.id().clone(), source: Box::new(source) }
}

/// Writes to the API server.
#[derive(Clone)]
pub struct KubeWriter {
    client: Client,
    events: EventSender,
}

impl KubeWriter {
    /// A writer with this client; Events have a task of their own.
    #[must_use]
    pub fn new(client: Client, events_dropped: Counter) -> Self {
        Self { events: EventSender::start(client.clone(), events_dropped), client }
    }

    async fn write(&self, change: &Change) -> Result<Option<Object>, ApplyError> {
        let sent = tokio::time::timeout(WRITE_TIMEOUT, self.send(change)).await;
        sent.map_err(|_| ApplyError::TimedOut { change: change.name(), id: change.id().clone() })?
    }

    async fn send(&self, change: &Change) -> Result<Option<Object>, ApplyError> {
        let id = change.id();
        let refused = |source| refused(change, source);
        let body = manifest::body(change);
        let stored = match (change, body) {
            (Change::CreateFence { .. }, Some(body)) => {
                convert::fence(self.create(change, body).await?).map(Object::Fence)
            }
            (Change::WriteStatus { .. }, Some(body)) => {
                let params = PatchParams::apply(names::FIELD_MANAGER).force();
                let api = self.api::<ServiceFence>(id);
                let stored = api.patch_status(&id.name, &params, &Patch::Apply(&body)).await.map_err(refused)?;
                convert::fence(stored).map(Object::Fence)
            }
            (Change::ApplySidecar { uid: None, .. }, Some(body)) => {
                // Server-side apply would merge into a Sidecar that somebody made a moment ago, and own it: creation cannot.
                convert::sidecar(self.create(change, body).await?).map(Object::Sidecar)
            }
            (Change::ApplySidecar { uid: Some(_), owner_uid: None, .. }, Some(body)) => {
                let stored = self.disown_sidecar(id, body).await.map_err(refused)?;
                convert::sidecar(stored).map(Object::Sidecar)
            }
            (Change::ApplySidecar { uid: Some(_), .. }, Some(body)) => {
                let stored = self.apply_sidecar(id, &body).await.map_err(refused)?;
                convert::sidecar(stored).map(Object::Sidecar)
            }
            (Change::AdoptSidecar { .. }, Some(body)) => {
                let stored = self.adopt_sidecar(id, body).await.map_err(refused)?;
                convert::sidecar(stored).map(Object::Sidecar)
            }
            (Change::DeleteFence { uid, .. }, _) => {
                gone::delete(&self.api::<ServiceFence>(id), &id.name, uid).await.map_err(refused)?;
                None
            }
            (Change::DeleteSidecar { uid, .. }, _) => {
                gone::delete(&self.api::<Sidecar>(id), &id.name, uid).await.map_err(refused)?;
                None
            }
            (Change::ApplyCallerLog { name, .. }, Some(body)) => {
                let params = PatchParams::apply(names::FIELD_MANAGER).force();
                let api = envoy_filters(&self.client, Some(&id.namespace));
                api.patch(name, &params, &Patch::Apply(&body)).await.map_err(refused)?;
                None
            }
            (Change::RemoveCallerLog { name, .. }, _) => {
                remove_caller_log(&envoy_filters(&self.client, Some(&id.namespace)), name).await.map_err(refused)?;
                None
            }
            (_, None) => None,
        };
        Ok(stored)
    }

    /// Makes a new object; one of its name that is there already is a conflict.
    async fn create<K>(&self, change: &Change, body: Value) -> Result<K, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let object: K = serde_json::from_value(body).map_err(|source| ApplyError::Body {
            change: change.name(),
            id: change.id().clone(),
            source,
        })?;
        let params = PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let created = self.api::<K>(change.id()).create(&params, &object).await;
        created.map_err(|source| refused(change, source))
    }

    /// Changes a Sidecar of ours, and only that one: the body has its uid, and another one of its name is a conflict.
    async fn apply_sidecar(&self, id: &ObjectRef, body: &Value) -> kube::Result<Sidecar> {
        let params = PatchParams::apply(names::FIELD_MANAGER).force();
        let api = self.api::<Sidecar>(id);
        let applied = api.patch(&id.name, &params, &Patch::Apply(body)).await;
        let stored = match &applied {
            Ok(stored) => stored.clone(),
            // An owner that could not leave, beside the new one: a second controller is refused.
            Err(kube::Error::Api(status)) if status.code == 422 => api.get(&id.name).await?,
            Err(_) => return applied,
        };
        if has_more_than(&stored, body) && self.own_by_apply(id, &stored).await? {
            return api.patch(&id.name, &params, &Patch::Apply(body)).await;
        }
        applied
    }

    /// Replaces of a user's Sidecar what a fence decides on, and its owners; the rest stays. Only the one with the uid in the body, and only
    /// if nobody has written it meanwhile.
    async fn adopt_sidecar(&self, id: &ObjectRef, mut body: Value) -> kube::Result<Sidecar> {
        let api = self.api::<Sidecar>(id);
        let theirs = api.get(&id.name).await?;
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!(theirs.metadata.resource_version));
        }
        if let Some(labels) = body.pointer_mut("/spec/workloadSelector/labels").and_then(Value::as_object_mut) {
            for key in theirs.spec.workload_selector.iter().flat_map(|selector| selector.labels.keys()) {
                // In a merge patch null takes a label out.
                labels.entry(key).or_insert(Value::Null);
            }
        }
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        api.patch(&id.name, &params, &Patch::Merge(&body)).await
    }

    /// Changes a Sidecar of ours so that it outlives its owner. In one request, whoever owns which field, because Kubernetes is about to
    /// remove the Sidecar; and only the one with the uid in the body.
    async fn disown_sidecar(&self, id: &ObjectRef, mut body: Value) -> kube::Result<Sidecar> {
        if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("ownerReferences".to_owned(), Value::Null);
        }
        let params = PatchParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.api::<Sidecar>(id).patch(&id.name, &params, &Patch::Merge(&body)).await
    }

    /// Makes what we own by creation ours by application, or else applying could never remove a label again. Returns whether there was
    /// something to do; somebody else's write in between is left for the next time.
    async fn own_by_apply(&self, id: &ObjectRef, stored: &Sidecar) -> kube::Result<bool> {
        let Some(managed_fields) =
            as_applied(stored.metadata.managed_fields.clone().unwrap_or_default(), names::FIELD_MANAGER)
        else {
            return Ok(false);
        };
        let metadata = json!({"resourceVersion": stored.metadata.resource_version, "managedFields": managed_fields});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        match self.api::<Sidecar>(id).patch_metadata(&id.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn api<K>(&self, id: &ObjectRef) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &id.namespace)
    }
}

impl Writer for KubeWriter {
    fn tell(&self, notice: Notice) {
        self.events.send(notice);
    }

    async fn apply_change(&self, change: &Change) -> Outcome {
        match self.write(change).await {
            Ok(stored) => {
                tracing::info!(change = change.name(), fence = %change.id(), "written");
                Outcome::Stored(stored.map(Box::new))
            }
            Err(error) if is_too_late(change, &error) => {
                tracing::debug!(
                    error = error.brief(),
                    "not written: it is gone already, with its namespace or by its owner's end"
                );
                Outcome::Rejected(error.brief())
            }
            Err(error) => {
                let outcome = outcome_of(&error);
                let again = matches!(outcome, Outcome::Failed);
                tracing::warn!(error = error.brief(), again, "not written");
                outcome
            }
        }
    }
}

/// Whether a stored Sidecar has an owner, a pod label, a revision or our mark that the body does not have. Lists such as the hosts are
/// replaced as a whole.
fn has_more_than(stored: &Sidecar, body: &Value) -> bool {
    let owners = body.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let wanted = |uid: &str| owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid));
    let labels = body.pointer("/spec/workloadSelector/labels");
    let selector = stored.spec.workload_selector.iter();
    let wanted_label = |label: &str| body.pointer("/metadata/labels").is_some_and(|labels| labels.get(label).is_some());
    let has_label = |label: &str| stored.metadata.labels.iter().flatten().any(|(key, _)| key == label);
    [names::LEAVING_LABEL, names::REVISION_LABEL].into_iter().any(|label| has_label(label) && !wanted_label(label))
        || stored.metadata.owner_references.iter().flatten().any(|owner| !wanted(&owner.uid))
        || selector.flat_map(|it| it.labels.keys()).any(|key| labels.is_none_or(|labels| labels.get(key).is_none()))
}

/// The field managers of an object with what we created counted as applied; `None` where there is nothing to change.
pub(super) fn as_applied(mut entries: Vec<ManagedFieldsEntry>, manager: &str) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = |entry: &ManagedFieldsEntry, operation: &str| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some(operation)
            && entry.subresource.is_none()
    };
    if !entries.iter().any(|entry| ours(entry, "Update")) {
        return None;
    }
    entries.retain(|entry| !ours(entry, "Apply"));
    for entry in entries.iter_mut().filter(|entry| ours(entry, "Update")) {
        entry.operation = Some("Apply".to_owned());
    }
    Some(entries)
}

/// Whether a farewell is refused because nobody is left to bid it to: the Sidecar is gone or not ours any more, or its namespace is being
/// deleted, in which nothing can be made.
fn is_too_late(change: &Change, error: &ApplyError) -> bool {
    let ApplyError::Refused { source, .. } = error else { return false };
    let kube::Error::Api(status) = &**source else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating");
    matches!(change, Change::ApplySidecar { owner_uid: None, .. }) && (terminating || [404, 409].contains(&status.code))
}

/// What the API server refuses for what it is (400, 422, an object that is too large) is not tried again as it is. A missing permission
/// (403) may be granted any moment, so that is. So is a conflict (409): somebody was faster, and the news of it changes the plan.
fn outcome_of(error: &ApplyError) -> Outcome {
    match error {
        ApplyError::Body { source, .. } => Outcome::Rejected(source.to_string()),
        ApplyError::TimedOut { .. } => Outcome::Failed,
        ApplyError::Refused { source, .. } => match &**source {
            kube::Error::Api(status) => match status.code {
                400 | 413 | 422 => Outcome::Rejected(status.message.clone()),
                500 if is_too_large(&status.message) => Outcome::Rejected(status.message.clone()),
                _ => Outcome::Failed,
            },
            _ => Outcome::Failed,
        },
    }
}

/// What the API server passes on when etcd, or its client in the API server, does not take an object for its size.
fn is_too_large(message: &str) -> bool {
    message.contains("request is too large") || message.contains("message larger than max")
}
