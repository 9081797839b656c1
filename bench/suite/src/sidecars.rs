//! What is seen of fences and Sidecars in the API server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Longest that a benchmark waits for an object.
pub const PATIENCE: Duration = Duration::from_secs(900);

pub fn fences() -> ApiResource {
    resource("microservice.slime.io", "v1alpha1", "ServiceFence", "servicefences")
}

pub fn sidecars() -> ApiResource {
    resource("networking.istio.io", "v1beta1", "Sidecar", "sidecars")
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: format!("{group}/{version}"),
        kind: kind.into(),
        plural: plural.into(),
    }
}

/// Deletes all fences and Sidecars, at once and whoever owns them.
pub async fn wipe(cluster: &Cluster) -> anyhow::Result<()> {
    for resource in [fences(), sidecars()] {
        cluster.etcd.delete(&format!("/registry/{}/{}/", resource.group, resource.plural)).await?;
        let api = Api::<DynamicObject>::all_with(cluster.client.clone(), &resource);
        while !api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// What was seen of an object.
#[derive(Clone, Copy)]
pub struct Sight {
    pub first: Instant,
    pub last: Instant,
    /// How often, the first time included.
    pub times: usize,
}

/// By `NAMESPACE/NAME`.
type Seen = HashMap<String, Sight>;

/// Watches the metadata of one kind; ends with this value.
pub struct Watched {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watched {
    /// Begins, and waits until what is there already was listed.
    pub async fn begin(client: &Client, resource: &ApiResource) -> anyhow::Result<Self> {
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client.clone(), resource);
        let seen = Arc::new(Mutex::new(Seen::new()));
        let (listed_tx, listed) = tokio::sync::oneshot::channel();
        let (theirs, mut listed_tx) = (seen.clone(), Some(listed_tx));
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let object = match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => object,
                    Ok(Event::InitDone) => {
                        if listed_tx.take().is_some_and(|listed| listed.send(()).is_err()) {
                            break; // nobody waits any more
                        }
                        continue;
                    }
                    Ok(_) => continue,
                    Err(error) => {
                        eprintln!("a watch failed: {error}");
                        continue;
                    }
                };
                let key = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
                let mut seen = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let sight = seen.entry(key).or_insert(Sight { first: now, last: now, times: 0 });
                *sight = Sight { last: now, times: sight.times + 1, ..*sight };
            }
        });
        tokio::time::timeout(PATIENCE, listed).await.context("nothing is listed")??;
        Ok(Self { seen, task })
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many were seen; returns when the last of them was.
    pub async fn count(&self, count: usize) -> anyhow::Result<Instant> {
        let began = Instant::now();
        while self.seen().len() < count {
            if began.elapsed() > PATIENCE {
                bail!("{} of {count} after {PATIENCE:?}", self.seen().len());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.seen().values().map(|sight| sight.first).max().context("none was expected")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}
