//! Watches the API server. A lost watch is made anew with back-off; one malformed object stops nothing.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use lazyload_logic::convert;
use lazyload_logic::state::Event;
use lazyload_logic::types::{Kind, Object, ObjectRef};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch as changing};
use tokio::task::JoinSet;

use crate::admin::metrics::Metrics;

/// News that everything should be listed anew.
pub type Relist = changing::Receiver<()>;

const CUSTOM: [Kind; 7] = [
    Kind::Fence,
    Kind::Sidecar,
    Kind::VirtualService,
    Kind::ServiceEntry,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::AuthorizationPolicy,
];

/// Starts a watch for each kind. The tasks end when nobody receives their events any more. With each news of `relist` what we write, fences
/// and Sidecars, is listed anew, so that the state has everything that was written before.
///
/// An object that cannot be read is counted, named in the log, and left as it was known before. Kubernetes' own kinds are read as the
/// API server checked them; what can be malformed is a custom resource whose schema lets more through than we can read.
pub fn watch_cluster(
    client: &Client,
    events: &mpsc::Sender<Event>,
    metrics: &Arc<Metrics>,
    relist: &Relist,
) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let services = Api::<core::Service>::all(client.clone());
    watches.spawn(watch(services, Kind::Service, events.clone(), None, |object| {
        convert::service(&object).map(Object::Service)
    }));
    let namespaces = Api::<core::Namespace>::all(client.clone());
    watches.spawn(watch(namespaces, Kind::Namespace, events.clone(), None, |object| {
        convert::namespace(&object).map(Object::Namespace)
    }));
    let pods = Api::<core::Pod>::all(client.clone());
    watches.spawn(watch(pods, Kind::Pod, events.clone(), None, |object| convert::pod(&object).map(Object::Pod)));
    let slices = Api::<discovery::EndpointSlice>::all(client.clone());
    watches.spawn(watch(slices, Kind::EndpointSlice, events.clone(), None, |object| {
        convert::endpoint_slice(&object).map(Object::EndpointSlice)
    }));
    for kind in CUSTOM {
        let resource = resource(kind);
        let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
        let objects = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let metrics = metrics.clone();
        let relist = Some(relist.clone()).filter(|_| matches!(kind, Kind::Fence | Kind::Sidecar));
        watches
            .spawn(watch(objects, kind, events.clone(), relist, move |object| custom(object, &types, kind, &metrics)));
    }
    watches
}

/// Where objects of a kind are.
pub fn resource(kind: Kind) -> ApiResource {
    let (group, version) = kind.group_version();
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.name()))
}

/// Custom resources are read loosely first: a field of the wrong form in one of them must not end the list of all.
fn custom(object: DynamicObject, types: &TypeMeta, kind: Kind, metrics: &Metrics) -> Option<Object> {
    let converted = whole(object, types).ok().map(|value| convert::object(&value));
    match converted {
        Some(Ok(object)) => object,
        Some(Err(error)) => {
            metrics.malformed(kind);
            tracing::warn!(error = &error as &dyn std::error::Error, "object left as it was known before");
            None
        }
        None => None,
    }
}

/// The object in one piece, but for who wrote which field: nobody here reads that, and of most objects it is the longer half.
fn whole(mut object: DynamicObject, types: &TypeMeta) -> serde_json::Result<Value> {
    object.metadata.managed_fields = None;
    let metadata = serde_json::to_value(object.metadata)?;
    let TypeMeta { api_version, kind } = object.types.unwrap_or_else(|| types.clone());
    let mut fields = if let Value::Object(fields) = object.data { fields } else { Map::new() };
    fields.extend([
        ("apiVersion".to_owned(), api_version.into()),
        ("kind".to_owned(), kind.into()),
        ("metadata".to_owned(), metadata),
    ]);
    Ok(Value::Object(fields))
}

async fn watch<K>(
    api: Api<K>,
    kind: Kind,
    events: mpsc::Sender<Event>,
    mut relist: Option<Relist>,
    convert: impl Fn(K) -> Option<Object>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let anew = || watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
    let mut stream = anew();
    let mut sink = Sink { kind, events, known: BTreeSet::new(), listing: None, absent: false };
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            () = asked(&mut relist) => {
                stream = anew();
                continue;
            }
        };
        let Some(next) = next else { return };
        let sent = match next {
            Ok(watcher::Event::Init) => {
                sink.listing = Some(BTreeSet::new());
                Ok(())
            }
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                let id = id(&object);
                sink.apply(id, convert(object)).await
            }
            Ok(watcher::Event::Delete(object)) => sink.delete(&id(&object)).await,
            Ok(watcher::Event::InitDone) => {
                sink.absent = false;
                sink.listed().await
            }
            Err(error) => sink.failed(&error).await,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Waits until a new list is asked for; for ever where nobody does.
async fn asked(relist: &mut Option<Relist>) {
    let changed = match relist {
        Some(relist) => relist.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

fn id<K: Resource>(object: &K) -> ObjectRef {
    let metadata = object.meta();
    ObjectRef::new(metadata.namespace.as_deref().unwrap_or(""), metadata.name.as_deref().unwrap_or(""))
}

/// Turns one kind's watch into events, and what a new list no longer has into deletions.
struct Sink {
    kind: Kind,
    events: mpsc::Sender<Event>,
    known: BTreeSet<ObjectRef>,
    listing: Option<BTreeSet<ObjectRef>>,
    /// The kind's CRD is not installed, which has been said.
    absent: bool,
}

type Sent = Result<(), mpsc::error::SendError<Event>>;

impl Sink {
    async fn apply(&mut self, id: ObjectRef, object: Option<Object>) -> Sent {
        if let Some(listing) = &mut self.listing {
            listing.insert(id.clone());
        }
        self.known.insert(id);
        match object {
            Some(object) => self.events.send(Event::Applied(Box::new(object))).await,
            None => Ok(()),
        }
    }

    async fn delete(&mut self, id: &ObjectRef) -> Sent {
        self.known.remove(id);
        self.events.send(Event::Deleted(self.kind, id.clone())).await
    }

    async fn listed(&mut self) -> Sent {
        let listing = self.listing.take().unwrap_or_default();
        for gone in self.known.difference(&listing) {
            self.events.send(Event::Deleted(self.kind, gone.clone())).await?;
        }
        self.known = listing;
        tracing::debug!(kind = self.kind.name(), objects = self.known.len(), "listed");
        self.events.send(Event::Listed(self.kind)).await
    }

    async fn failed(&mut self, error: &watcher::Error) -> Sent {
        let kind = self.kind.name();
        if is_not_found(error) {
            let said = std::mem::replace(&mut self.absent, true);
            if said {
                return Ok(());
            }
            if self.kind.is_optional() {
                tracing::info!(kind, "its CRD is not installed; going on without, until it is");
                self.listing = None;
                return self.listed().await;
            }
            tracing::warn!(kind, "its CRD is not installed; waiting for it");
        } else {
            tracing::warn!(kind, error = error as &dyn std::error::Error, "watch failed; trying again");
        }
        Ok(())
    }
}

pub(super) fn is_not_found(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    status.code == 404
}
