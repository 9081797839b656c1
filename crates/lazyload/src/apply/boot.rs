//! Carries out the operator's acts, by server-side apply with a field manager of its own.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use lazyload_api::names;
use lazyload_logic::operator::{Act, Action, BOOT_KIND, Key, KindOf, News, Outcome};
use lazyload_logic::types::ObjectRef;
use serde_json::{Value, json};

use super::gone::is_gone;
use super::kube::as_applied;
use super::{farewell, takeover};

const MANAGER: &str = names::BOOT_FIELD_MANAGER;
/// Longest wait for one act; after that it counts as failed and is tried again.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The same for an act on every Sidecar.
const TIMEOUT_OF_MANY: Duration = Duration::from_secs(300);

/// Writes to the API server what the operator decides.
#[derive(Clone)]
pub struct BootWriter {
    client: Client,
    events: Recorder,
}

/// Where objects of a kind are.
#[must_use]
pub fn resource(kind: KindOf) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group, kind.version, kind.kind))
}

impl BootWriter {
    /// A writer with this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let reporter = Reporter { controller: names::SLIME_BOOT_OPERATOR.into(), instance: None };
        Self { events: Recorder::new(client.clone(), reporter), client }
    }

    /// Carries out one act; what went wrong is logged here.
    pub async fn carry_out(&self, action: &Action) -> Outcome {
        let limit = match action.act {
            Act::WidenSidecars { .. } | Act::RemoveSidecars { .. } => TIMEOUT_OF_MANY,
            _ => TIMEOUT,
        };
        let outcome = match tokio::time::timeout(limit, self.send(action)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(kube::Error::Api(status))) => Outcome::Failed(format!("{} ({})", status.message, status.code)),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Failed(format!("not done within {} s", limit.as_secs())),
        };
        let object = action.act.key().map(ToString::to_string);
        let (boot, act) = (&action.boot, action.act.name());
        match &outcome {
            Outcome::Changed(sidecars) => tracing::info!(%boot, act, sidecars, "done"),
            Outcome::Stored(_) | Outcome::Done => tracing::info!(%boot, object, act, "done"),
            Outcome::Occupied(whose) => tracing::warn!(%boot, object, act, whose, "not done: not ours"),
            Outcome::Failed(reason) => tracing::warn!(%boot, object, act, reason, "not done"),
        }
        outcome
    }

    async fn send(&self, action: &Action) -> kube::Result<Outcome> {
        let boot = &action.boot;
        match &action.act {
            Act::Finalizer { uid, present } => {
                let finalizers: &[&str] = if *present { &[names::SLIME_BOOT_FINALIZER] } else { &[] };
                let body = json!({"metadata": {"uid": uid, "finalizers": finalizers}});
                let api = self.api(BOOT_KIND, &boot.namespace);
                applied(api.patch(&boot.name, &params(), &Patch::Apply(&of_boot(boot, body))).await)
            }
            Act::Status { uid, status, news } => {
                let body = of_boot(boot, json!({"metadata": {"uid": uid}, "status": status}));
                let api = self.api(BOOT_KIND, &boot.namespace);
                let stored = applied(api.patch_status(&boot.name, &params(), &Patch::Apply(&body)).await);
                if let (Ok(_), Some(news)) = (&stored, news) {
                    self.tell(boot, uid, news).await;
                }
                stored
            }
            Act::Create { key, uid, body } => self.create(boot, key, uid.as_deref(), body).await,
            Act::Apply { key, uid, body } => self.apply(key, uid, body).await,
            Act::WidenSidecars { scope } => farewell::widen_sidecars(&self.client, scope).await.map(Outcome::Changed),
            Act::RemoveSidecars { scope } => farewell::remove_sidecars(&self.client, scope).await.map(Outcome::Changed),
            Act::Delete { key, uid } => {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
                // A pod that is ending still writes: a controller's Deployment goes when they are gone.
                let how = if key.is_controller() { DeleteParams::foreground() } else { DeleteParams::background() };
                let api = self.of(key);
                match api.delete(&key.name, &DeleteParams { preconditions: Some(preconditions), ..how }).await {
                    // Some kinds are handed back although they are gone.
                    Ok(answer) => match answer.left().filter(|left| left.metadata.deletion_timestamp.is_some()) {
                        Some(going) => applied(Ok(going)),
                        None => Ok(Outcome::Done),
                    },
                    Err(refusal) => is_gone(&api, &key.name, uid, refusal).await.map(|()| Outcome::Done),
                }
            }
        }
    }

    /// Server-side apply would merge into an object that somebody else made, and own it: creation cannot.
    async fn create(&self, boot: &ObjectRef, key: &Key, uid: Option<&str>, body: &Value) -> kube::Result<Outcome> {
        let api = self.of(key);
        let object: DynamicObject = serde_json::from_value(body.clone()).map_err(kube::Error::SerdeError)?;
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &object).await {
            Ok(created) => self.own_by_apply(key, created).await,
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let Some(found) = api.get_opt(&key.name).await? else {
                    return Ok(Outcome::Failed("it was there a moment ago, and is gone".to_owned()));
                };
                let owner = owner(&found);
                let known = owner.is_none() && uid.is_some() && found.metadata.uid.as_deref() == uid;
                match found.metadata.uid {
                    Some(uid) if known || owner.as_ref() == Some(boot) => self.apply(key, &uid, body).await,
                    _ => Ok(Outcome::Occupied(owner.map(|owner| format!("it belongs to SlimeBoot {owner}")))),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn apply(&self, key: &Key, uid: &str, body: &Value) -> kube::Result<Outcome> {
        let mut body = body.clone();
        if let Some(Value::Object(metadata)) = body.get_mut("metadata") {
            // Another object of that name is a conflict then.
            metadata.insert("uid".to_owned(), uid.into());
        }
        let api = self.of(key);
        let stored = api.patch(&key.name, &params(), &Patch::Apply(&body)).await?;
        let value = serde_json::to_value(&stored).map_err(kube::Error::SerdeError)?;
        // What somebody added to a list is theirs, and applying leaves it: it is made ours, and applied away.
        let Some(managed_fields) =
            takeover::exceeds(&value, &body).then(|| takeover::of_everyones_fields(&stored, MANAGER)).flatten()
        else {
            return Ok(Outcome::Stored(Box::new(value)));
        };
        self.set_managers(key, &stored, managed_fields).await?;
        applied(api.patch(&key.name, &params(), &Patch::Apply(&body)).await)
    }

    /// Makes what was created count as applied, or else applying could never remove a field again.
    async fn own_by_apply(&self, key: &Key, created: DynamicObject) -> kube::Result<Outcome> {
        let Some(managed_fields) = as_applied(created.metadata.managed_fields.clone().unwrap_or_default(), MANAGER)
        else {
            return applied(Ok(created));
        };
        match self.set_managers(key, &created, managed_fields).await {
            // Somebody wrote in between; the next write of ours does it.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => applied(Ok(created)),
            other => applied(other),
        }
    }

    /// Says who owns which field of an object; refused if somebody wrote it since.
    async fn set_managers(
        &self,
        key: &Key,
        seen: &DynamicObject,
        managers: Vec<ManagedFieldsEntry>,
    ) -> kube::Result<DynamicObject> {
        let metadata = json!({"resourceVersion": seen.metadata.resource_version, "managedFields": managers});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        self.of(key).patch(&key.name, &PatchParams::default(), &patch).await
    }

    async fn tell(&self, boot: &ObjectRef, uid: &str, news: &News) {
        let reference = ObjectReference {
            api_version: Some(names::SLIME_BOOT_API_VERSION.to_owned()),
            kind: Some(BOOT_KIND.kind.to_owned()),
            namespace: Some(boot.namespace.to_string()),
            name: Some(boot.name.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason.clone(),
            note: Some(news.message.chars().take(1000).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, &reference).await {
            tracing::warn!(%boot, error = &error as &dyn std::error::Error, "the Event was not written");
        }
    }

    fn of(&self, key: &Key) -> Api<DynamicObject> {
        self.api(key.kind(), &key.namespace)
    }

    fn api(&self, kind: KindOf, namespace: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        if namespace.is_empty() {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }
}

fn params() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}

fn applied(result: kube::Result<DynamicObject>) -> kube::Result<Outcome> {
    let value = serde_json::to_value(result?).map_err(kube::Error::SerdeError)?;
    Ok(Outcome::Stored(Box::new(value)))
}

/// A body about the SlimeBoot itself.
fn of_boot(boot: &ObjectRef, mut body: Value) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.insert("apiVersion".to_owned(), names::SLIME_BOOT_API_VERSION.into());
        fields.insert("kind".to_owned(), BOOT_KIND.kind.into());
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            metadata.insert("namespace".to_owned(), boot.namespace.as_ref().into());
            metadata.insert("name".to_owned(), boot.name.as_ref().into());
        }
    }
    body
}

fn owner(object: &DynamicObject) -> Option<ObjectRef> {
    let labels = object.metadata.labels.as_ref()?;
    let text = |label: &str| labels.get(label).map(String::as_str);
    Some(ObjectRef::new(text(names::SLIME_BOOT_NAMESPACE_LABEL)?, text(names::SLIME_BOOT_LABEL)?))
}
