//! What the parts of an installation say of themselves, each fetched for itself: one that cannot be asked hides no other.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client};
use lazyload_api::slime_boot::SlimeBoot;
use lazyload_logic::boot;
use lazyload_logic::fence::proxy::PORT;
use lazyload_logic::report::doctor::{Asked, Controller, Known, Proxy, STATISTICS};
use serde::Serialize;
use serde_json::Value;

use super::dns::dns;
use super::pods::{self, Role};
use super::world;
use crate::cli::{Source, WorldSource};
use crate::process::api_server;
use crate::process::clock::Clock;
use crate::process::exit::chain;

/// Proxies that are asked at most: one of each fence.
const PROXIES: usize = 64;
/// Questions at once.
const AT_ONCE: usize = 8;

/// Asks everything.
pub async fn installation() -> Asked {
    let unix_seconds = Clock::start().now().unix_seconds;
    let client = match api_server::client().await {
        Ok(client) => client,
        Err(error) => return Asked::nothing(&said(&error), unix_seconds),
    };
    let api_server = match client.apiserver_version().await {
        Ok(version) => Ok(version.git_version),
        Err(error) => return Asked::nothing(&chain(&error), unix_seconds),
    };
    let ours = pods::deployments(&client).await.map_err(|error| said(&error));
    Asked {
        api_server,
        istiods: istiods(&client).await,
        crds: crds(&client).await,
        slime_boots: known(Api::<SlimeBoot>::all(client.clone()).list(&ListParams::default()).await)
            .and_then(|list| values(&list.items)),
        controllers: controllers(&client, ours.clone()).await,
        dns: dns(&client).await,
        proxies: proxies(&client, ours.as_deref().unwrap_or_default()).await,
        fallbacks: ours.and_then(|ours| values(&global_sidecars(&ours).collect::<Vec<_>>())),
        unix_seconds,
    }
}

fn said(error: &anyhow::Error) -> String {
    chain(error.as_ref())
}

fn known<T>(answer: kube::Result<T>) -> Known<T> {
    answer.map_err(|error| chain(&error))
}

fn values<T: Serialize>(objects: &[T]) -> Known<Vec<Value>> {
    objects.iter().map(|object| serde_json::to_value(object).map_err(|error| error.to_string())).collect()
}

async fn istiods(client: &Client) -> Known<Vec<Value>> {
    let api = Api::<Deployment>::all(client.clone());
    known(api.list(&ListParams::default().labels("app=istiod")).await).and_then(|list| values(&list.items))
}

fn global_sidecars(ours: &[Deployment]) -> impl Iterator<Item = &Deployment> {
    ours.iter().filter(|deployment| pods::role(deployment) == Some(Role::GlobalSidecar))
}

async fn crds(client: &Client) -> Known<Vec<Value>> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut there = Vec::new();
    for crd in boot::crds().map_err(|error| error.to_string())? {
        let name = crd.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        there.extend(known(api.get_opt(name).await)?);
    }
    values(&there)
}

async fn controllers(client: &Client, ours: Known<Vec<Deployment>>) -> Known<Vec<Controller>> {
    let found = pods::controllers_of(client, &ours?).await.map_err(|error| said(&error))?;
    let asked = found.iter().map(async |pod| Controller {
        name: pod.to_string(),
        readiness: pod.readiness().await.map_err(|error| said(&error)),
        metrics: pod.get("/metrics").await.map_err(|error| said(&error)),
    });
    Ok(futures::future::join_all(asked).await)
}

/// Of each fence one pod, and every global-sidecar.
async fn proxies(client: &Client, ours: &[Deployment]) -> Known<Vec<Proxy>> {
    let from = WorldSource { source: Source { namespace: None, mesh: None }, config: None };
    let world = world(&from).await.map_err(|error| said(&error))?;
    let mut asked = Vec::new();
    for deployment in global_sidecars(ours) {
        let found = pods::of(client, deployment, PORT).await.map_err(|error| said(&error))?;
        asked.extend(found);
    }
    let fenced = world.state.one_pod_of_each_fence();
    asked.extend(fenced.take(PROXIES).map(|id| pods::Asked::pod(client.clone(), &id, PORT)));
    let answers = asked.into_iter().map(|pod| async move {
        let statistics = pod.get(STATISTICS).await.map_err(|error| said(&error));
        Proxy { name: pod.to_string(), statistics }
    });
    Ok(stream::iter(answers).buffered(AT_ONCE).collect().await)
}
