//! Watches SlimeBoots, what carries the label of one, what declares ports, Namespaces, and istiod. A lost watch is made anew with back-off.

use std::collections::BTreeSet;

use futures::StreamExt;
use kube::api::{DynamicObject, TypeMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use lazyload_api::names;
use lazyload_logic::boot::{Declared, IstioVersion};
use lazyload_logic::operator::{BOOT_KIND, DECLARING, Event, ISTIOD, Injection, KINDS, Key, KindOf, NAMESPACE_KIND};
use lazyload_logic::types::ObjectRef;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::kube::is_not_found;
use crate::apply::boot::resource;

/// Starts a watch for each kind. The tasks end when nobody receives their events any more.
pub fn watch_installations(client: &Client, events: &mpsc::Sender<Event>) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    for kind in KINDS.iter().chain([&BOOT_KIND]) {
        let config = watcher::Config::default();
        let config = if *kind == BOOT_KIND { config } else { config.labels(names::SLIME_BOOT_LABEL) };
        watches.spawn(watch(client.clone(), *kind, config, OF_INSTALLATIONS, events.clone()));
    }
    if let Some(deployment) = KINDS.iter().find(|kind| kind.kind == "Deployment") {
        let config = watcher::Config::default().labels(&format!("app={ISTIOD}"));
        watches.spawn(watch(client.clone(), *deployment, config, OF_ISTIODS, events.clone()));
    }
    watches
}

/// Starts a watch for each kind that declares ports. To be stopped as a whole: what they told is worth nothing without the rest.
pub fn watch_declarations(client: &Client, events: &mpsc::Sender<Event>) -> JoinSet<()> {
    let watches = DECLARING
        .iter()
        .map(|kind| watch(client.clone(), *kind, watcher::Config::default(), OF_DECLARATIONS, events.clone()));
    watches.collect()
}

/// Starts a watch of Namespaces, likewise.
pub fn watch_namespaces(client: &Client, events: &mpsc::Sender<Event>) -> JoinSet<()> {
    let config = watcher::Config::default();
    [watch(client.clone(), NAMESPACE_KIND, config, OF_NAMESPACES, events.clone())].into_iter().collect()
}

type Identity = (String, String);

/// How the operator is told of a kind.
#[derive(Clone, Copy)]
struct Telling {
    applied: fn(KindOf, &DynamicObject) -> Option<Event>,
    gone: fn(KindOf, &Identity) -> Option<Event>,
    listed: fn(KindOf) -> Event,
}

const OF_INSTALLATIONS: Telling = Telling {
    applied: |_, object| serde_json::to_value(object).ok().map(|value| Event::Applied(Box::new(value))),
    gone: |kind, (namespace, name)| {
        if kind == BOOT_KIND {
            return Some(Event::BootGone(ObjectRef::new(namespace.as_str(), name.as_str())));
        }
        Key::new(kind.kind, namespace, name).map(Event::Gone)
    },
    listed: |kind| Event::Listed(kind.kind),
};

const OF_DECLARATIONS: Telling = Telling {
    applied: |kind, object| {
        let (namespace, name) = identity(object);
        let declared = Declared::of(&serde_json::to_value(object).ok()?);
        Some(Event::Declares(kind.kind, ObjectRef::new(namespace, name), declared))
    },
    gone: |kind, (namespace, name)| {
        let object = ObjectRef::new(namespace.as_str(), name.as_str());
        Some(Event::Declares(kind.kind, object, Declared::default()))
    },
    listed: |kind| Event::DeclaringListed(kind.kind),
};

const OF_ISTIODS: Telling = Telling {
    applied: |_, object| {
        let (namespace, name) = identity(object);
        let version = IstioVersion::of_istiod(&serde_json::to_value(object).ok()?);
        Some(Event::Istiod(ObjectRef::new(namespace, name), version))
    },
    gone: |_, (namespace, name)| Some(Event::Istiod(ObjectRef::new(namespace.as_str(), name.as_str()), None)),
    listed: |_| Event::Listed(ISTIOD),
};

const OF_NAMESPACES: Telling = Telling {
    applied: |_, object| {
        let (_, name) = identity(object);
        Some(Event::Namespace(name.into(), Some(Injection::of(&serde_json::to_value(object).ok()?))))
    },
    gone: |_, (_, name)| Some(Event::Namespace(name.as_str().into(), None)),
    listed: |_| Event::NamespacesListed,
};

async fn watch(client: Client, kind: KindOf, config: watcher::Config, telling: Telling, events: mpsc::Sender<Event>) {
    let resource = resource(kind);
    let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
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
                news.extend((telling.applied)(kind, &object));
            }
            Ok(watcher::Event::Delete(object)) => {
                let identity = identity(&object);
                known.remove(&identity);
                news.extend((telling.gone)(kind, &identity));
            }
            Ok(watcher::Event::InitDone) => {
                news.extend(known.difference(&listing).filter_map(|identity| (telling.gone)(kind, identity)));
                known.clone_from(&listing);
                news.push((telling.listed)(kind));
            }
            Err(error) if is_not_found(&error) && kind != BOOT_KIND => {
                tracing::warn!(kind = kind.kind, "its CRD is not installed; going on without");
                news.push((telling.listed)(kind));
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
