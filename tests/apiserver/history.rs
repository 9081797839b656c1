//! Every version of every Sidecar, as a watcher sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::DEADLINE;
use super::cluster::Cluster;
use super::objects::name_of;
use crate::support::waiting::eventually;

/// Records from its start to its end.
pub struct History {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// One version, or a deletion.
#[derive(Clone, Debug)]
pub struct Seen {
    pub name: String,
    pub version: String,
    pub generation: Option<i64>,
    pub hosts: BTreeSet<String>,
    pub deleted: bool,
}

impl History {
    pub fn record(cluster: &Cluster) -> Self {
        let mut stream = watcher(cluster.objects.all("Sidecar"), watcher::Config::default()).boxed();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                let (object, deleted) = match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => (object, false),
                    Ok(watcher::Event::Delete(object)) => (object, true),
                    Ok(_) => continue,
                    Err(error) => panic!("the watch of Sidecars failed: {error}"),
                };
                let object: Value = serde_json::to_value(&object).unwrap();
                // The default listener is the last one.
                let default = object["spec"]["egress"].as_array().and_then(|listeners| listeners.last()).cloned();
                let hosts = default.map(|listener| listener["hosts"].clone()).unwrap_or_default();
                let hosts = serde_json::from_value(hosts).unwrap_or_default();
                let generation = object["metadata"]["generation"].as_i64();
                let version = object["metadata"]["resourceVersion"].to_string();
                into.lock().unwrap().push(Seen { name: name_of(&object), version, generation, hosts, deleted });
            }
        });
        Self { seen, task }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        assert!(!self.task.is_finished(), "the watch has ended");
        self.seen.lock().unwrap().clone()
    }

    /// Fails if a Sidecar was deleted, if a host ever left one, or if a version was missed. Returns the number of versions of each.
    pub async fn assert_only_grown(&self, cluster: &Cluster) -> BTreeMap<String, i64> {
        eventually("the record is complete", DEADLINE, || async {
            let now = cluster.objects.versions("Sidecar").await;
            let seen: BTreeSet<_> = self.seen().into_iter().map(|it| (it.name, it.version)).collect();
            let missed: Vec<_> = now.into_iter().filter(|it| !seen.contains(it)).collect();
            if missed.is_empty() { Ok(()) } else { Err(missed) }
        })
        .await;
        let mut last: BTreeMap<String, Seen> = BTreeMap::new();
        for now in self.seen() {
            assert!(!now.deleted, "deleted: {now:?}");
            if let Some(before) = last.get(&now.name) {
                assert!(before.hosts.is_subset(&now.hosts), "a host left: {before:?} {now:?}");
                assert_eq!(before.generation.map(|it| it + 1), now.generation, "{before:?} {now:?}");
            } else {
                assert_eq!(now.generation, Some(1), "not seen from its creation: {now:?}");
            }
            last.insert(now.name.clone(), now);
        }
        last.into_iter().map(|(name, seen)| (name, seen.generation.unwrap())).collect()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}
