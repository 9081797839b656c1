//! Which Services exist: for completing short names. Only names are watched, never specs.

use std::collections::{BTreeMap, BTreeSet};

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;

use crate::process::readiness::Awaited;

/// Names of Services by namespace.
pub type Names = BTreeMap<String, BTreeSet<String>>;

/// What the forwarder knows of Services. Reading takes a shared lock for the length of one lookup, and only for short names.
#[derive(Clone, Debug)]
pub enum ServiceNames {
    /// Nothing is watched: every short name is taken for a Service of its caller's namespace.
    Any,
    /// These, as they change.
    Known(watch::Receiver<Names>),
}

impl ServiceNames {
    /// Whether this Service exists.
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Known(names) => names.borrow().get(namespace).is_some_and(|names| names.contains(name)),
        }
    }
}

/// Watches the Services of all namespaces and keeps `names` equal to them. `synced` is dropped when the first list is complete. While the
/// API server cannot be reached the names stay as they are.
pub async fn follow(client: Client, names: watch::Sender<Names>, synced: Awaited) {
    let services: Api<Metadata> = Api::all(client);
    let events = watcher::watcher(services, watcher::Config::default()).default_backoff();
    apply(events, names, synced).await;
}

type Metadata = PartialObjectMeta<Service>;

async fn apply(
    events: impl Stream<Item = Result<Event<Metadata>, watcher::Error>>,
    names: watch::Sender<Names>,
    synced: Awaited,
) {
    let mut events = std::pin::pin!(events);
    let mut synced = Some(synced);
    let mut listed = Names::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(service)) => insert(&mut listed, service),
            Ok(Event::InitDone) => {
                names.send_replace(std::mem::take(&mut listed));
                drop(synced.take());
            }
            Ok(Event::Apply(service)) => names.send_modify(|names| insert(names, service)),
            Ok(Event::Delete(service)) => names.send_modify(|names| remove(names, &service)),
            Err(error) => tracing::warn!(%error, "failed to watch Services; DISABLE_SVC_CONTROLLER=true does without"),
        }
    }
}

fn insert(names: &mut Names, service: Metadata) {
    if let (Some(namespace), Some(name)) = (service.metadata.namespace, service.metadata.name) {
        names.entry(namespace).or_default().insert(name);
    }
}

fn remove(names: &mut Names, service: &Metadata) {
    let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else { return };
    if let Some(of_namespace) = names.get_mut(namespace) {
        of_namespace.remove(name);
        if of_namespace.is_empty() {
            names.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::readiness::Readiness;

    fn service(namespace: &str, name: &str) -> Metadata {
        let metadata = kube::core::ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            ..kube::core::ObjectMeta::default()
        };
        PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData }
    }

    async fn after(events: Vec<Event<Metadata>>) -> (Vec<String>, Readiness) {
        let readiness = Readiness::default();
        let (names_tx, names_rx) = watch::channel(Names::new());
        let events = futures::stream::iter(events.into_iter().map(Ok));
        apply(events, names_tx, readiness.awaits("Services")).await;
        let names = names_rx.borrow();
        let flat = names.iter().flat_map(|(ns, names)| names.iter().map(move |name| format!("{ns}/{name}")));
        (flat.collect(), readiness)
    }

    #[tokio::test]
    async fn services_come_and_go() {
        let (names, _) = after(vec![
            Event::Init,
            Event::InitApply(service("a", "one")),
            Event::InitApply(service("b", "two")),
            Event::InitDone,
            Event::Apply(service("a", "three")),
            Event::Delete(service("b", "two")),
        ])
        .await;
        assert_eq!(names, ["a/one", "a/three"]);
    }

    #[tokio::test]
    async fn a_new_list_replaces_the_names_only_when_it_is_complete() {
        let start = || vec![Event::Init, Event::InitApply(service("a", "one")), Event::InitDone, Event::Init];
        assert_eq!(after(start()).await.0, ["a/one"]);
        let mut complete = start();
        complete.extend([Event::InitApply(service("b", "two")), Event::InitDone]);
        assert_eq!(after(complete).await.0, ["b/two"]);
    }

    #[test]
    fn without_a_watch_every_name_is_taken_for_a_service() {
        assert!(ServiceNames::Any.contains("any", "name"));
        let (_names_tx, names_rx) = watch::channel(Names::new());
        assert!(!ServiceNames::Known(names_rx).contains("any", "name"));
    }
}
