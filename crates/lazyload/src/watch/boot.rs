//! Watches SlimeBoots, and what carries the label of one. A lost watch is made anew with back-off.

use std::collections::BTreeSet;

use futures::StreamExt;
use kube::api::{DynamicObject, TypeMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use lazyload_api::names;
use lazyload_logic::operator::{BOOT_KIND, Event, KINDS, Key, KindOf};
use lazyload_logic::types::ObjectRef;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::kube::is_not_found;
use crate::apply::boot::resource;

/// Starts a watch for each kind. The tasks end when nobody receives their events any more.
pub fn watch_installations(client: &Client, events: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for kind in KINDS.iter().chain([&BOOT_KIND]) {
        watches.spawn(watch(client.clone(), *kind, events.clone()));
    }
    watches
}

type Identity = (String, String);

async fn watch(client: Client, kind: KindOf, events: mpsc::Sender<Event>) {
    let resource = resource(kind);
    let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
    let config = watcher::Config::default();
    let config = if kind == BOOT_KIND { config } else { config.labels(names::SLIME_BOOT_LABEL) };
    let api = Api::<DynamicObject>::all_with(client, &resource);
    let mut stream = watcher(api, config).default_backoff().boxed();
    let mut known: BTreeSet<Identity> = BTreeSet::new();
    let mut listing: BTreeSet<Identity> = BTreeSet::new();
    while let Some(next) = stream.next().await {
        let mut news = Vec::new();
        match next {
            Ok(watcher::Event::Init) => listing.clear(),
            Ok(watcher::Event::InitApply(mut object) | watcher::Event::Apply(mut object)) => {
                let identity = identity(&object);
                listing.insert(identity.clone());
                known.insert(identity);
                object.types.get_or_insert_with(|| types.clone());
                news.extend(serde_json::to_value(&object).ok().map(|value| Event::Applied(Box::new(value))));
            }
            Ok(watcher::Event::Delete(object)) => {
                let identity = identity(&object);
                known.remove(&identity);
                news.extend(gone(kind, &identity));
            }
            Ok(watcher::Event::InitDone) => {
                news.extend(known.difference(&listing).filter_map(|identity| gone(kind, identity)));
                known.clone_from(&listing);
                news.push(Event::Listed(kind.kind));
            }
            Err(error) if is_not_found(&error) && kind != BOOT_KIND => {
                tracing::warn!(kind = kind.kind, "its CRD is not installed; going on without");
                news.push(Event::Listed(kind.kind));
            }
            Err(error) => {
                tracing::warn!(
                    kind = kind.kind,
                    error = &error as &dyn std::error::Error,
                    "watch failed; trying again"
                );
            }
        }
        for event in news {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

fn identity(object: &DynamicObject) -> Identity {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}

fn gone(kind: KindOf, (namespace, name): &Identity) -> Option<Event> {
    if kind == BOOT_KIND {
        return Some(Event::BootGone(ObjectRef::new(namespace.as_str(), name.as_str())));
    }
    Key::new(kind.kind, namespace, name).map(Event::Gone)
}
