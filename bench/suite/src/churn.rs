//! A mesh that does not stand still: what the controller writes then, and how soon, beside a script that writes at once.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use lazyload_bench_common::procfs;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Setup;
use crate::cluster::{Cluster, Writes, since};
use crate::controller::Controller;
use crate::sidecars::{PATIENCE, Watched, fences, sidecars, wipe};
use crate::world::{self, World};

/// Of all pods, each second.
const PODS_SHARE: f64 = 0.05;
/// Of all Services, each second.
const SERVICES_SHARE: f64 = 0.01;
/// Pause between two new Services.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
    #[arg(long, default_value_t = 1_000)]
    services: usize,
    /// Of churn without anything to write, and of a restart of all pods.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// New Services in each round, of the controller's and of the script's.
    #[arg(long, default_value_t = 40)]
    new: usize,
}

/// What was measured.
#[derive(Serialize, Deserialize)]
pub struct Churned {
    pub services: usize,
    pub pods: usize,
    pub steady: Steady,
    pub rolling: Steady,
    /// Milliseconds from the answer to the creation of a Service until its fence, and its Sidecar, are seen.
    pub ours: Vec<Reaction>,
    pub script: Vec<Reaction>,
}

/// Changes that ask for no write.
#[derive(Serialize, Deserialize)]
pub struct Steady {
    pub seconds: f64,
    pub pods_replaced: usize,
    pub services_changed: usize,
    pub writes: Writes,
    pub cpu_seconds: f64,
    pub memory_mib: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Reaction {
    pub fence_ms: f64,
    pub sidecar_ms: f64,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<Churned> {
    let cluster = arguments.setup.cluster().await?;
    let mut world = World::default();
    world.grow(&cluster, arguments.services).await?;
    let controller = start(arguments, &cluster).await?;
    let pods = world.pods();
    let each = (pods as f64 * PODS_SHARE) as usize;
    let changed = (arguments.services as f64 * SERVICES_SHARE) as usize;
    eprintln!("steady churn");
    let steady = without_news(&cluster, &mut world, &controller, arguments.seconds, (each, changed)).await?;
    eprintln!("all pods restart");
    let rolling =
        without_news(&cluster, &mut world, &controller, arguments.seconds, (pods / arguments.seconds as usize + 1, 0))
            .await?;
    controller.end().await?;

    let (mut ours, mut script) = (Vec::new(), Vec::new());
    for round in 0..arguments.setup.rounds {
        eprintln!("round {round}: the controller");
        let controller = start(arguments, &cluster).await?;
        ours.extend(reactions(&cluster, &mut world, arguments.new, (each, changed)).await?);
        controller.end().await?;
        eprintln!("round {round}: the script");
        wipe(&cluster).await?;
        let script_runs = tokio::spawn(write_at_once(cluster.client.clone()));
        script.extend(reactions(&cluster, &mut world, arguments.new, (each, changed)).await?);
        anyhow::ensure!(!script_runs.is_finished(), "the script ended: {:?}", script_runs.await?);
        script_runs.abort();
    }
    Ok(Churned { services: arguments.services, pods, steady, rolling, ours, script })
}

async fn start(arguments: &Arguments, cluster: &Cluster) -> anyhow::Result<Controller> {
    let mut controller = Controller::start(&arguments.setup.lazyload, cluster, &json!({}))?;
    controller.ready().await?;
    controller.at_rest().await?;
    Ok(controller)
}

/// Replaces so many pods and changes so many Services each second.
async fn change(
    cluster: &Cluster,
    world: &mut World,
    (pods, services): (usize, usize),
    tick: usize,
) -> anyhow::Result<()> {
    world.restart(cluster, pods).await?;
    for number in 0..services {
        world.annotate(cluster, tick * services + number, &tick.to_string()).await?;
    }
    Ok(())
}

async fn without_news(
    cluster: &Cluster,
    world: &mut World,
    controller: &Controller,
    seconds: u64,
    each: (usize, usize),
) -> anyhow::Result<Steady> {
    let (before, cpu_before, began) = (cluster.writes().await?, procfs::cpu_seconds(controller.pid())?, Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for tick in 0..seconds as usize {
        ticks.tick().await;
        change(cluster, world, each, tick).await?;
    }
    ticks.tick().await;
    Ok(Steady {
        seconds: began.elapsed().as_secs_f64(),
        pods_replaced: each.0 * seconds as usize,
        services_changed: each.1 * seconds as usize,
        writes: since(&before, &cluster.writes().await?),
        cpu_seconds: procfs::cpu_seconds(controller.pid())? - cpu_before,
        memory_mib: procfs::memory(controller.pid())?.0,
    })
}

/// Creates Services, one after the other, while everything else changes.
async fn reactions(
    cluster: &Cluster,
    world: &mut World,
    new: usize,
    each: (usize, usize),
) -> anyhow::Result<Vec<Reaction>> {
    let of_fences = Watched::begin(&cluster.client, &fences()).await?;
    let of_sidecars = Watched::begin(&cluster.client, &sidecars()).await?;
    let mut reactions = Vec::new();
    let mut ticked = Instant::now();
    for number in 0..new {
        if ticked.elapsed() > Duration::from_secs(1) {
            ticked = Instant::now();
            change(cluster, world, each, number).await?;
        }
        let service = world.add(cluster).await?;
        let began = Instant::now();
        let key = format!("{}/{}", world::namespace(service), world::name(service));
        let (fence, sidecar) = (seen(&of_fences, &key).await?, seen(&of_sidecars, &key).await?);
        let since = |at: Instant| at.saturating_duration_since(began).as_secs_f64() * 1000.0;
        reactions.push(Reaction { fence_ms: since(fence), sidecar_ms: since(sidecar) });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(reactions)
}

async fn seen(watched: &Watched, key: &str) -> anyhow::Result<Instant> {
    let began = Instant::now();
    loop {
        if let Some(sight) = watched.seen().get(key) {
            return Ok(sight.first);
        }
        anyhow::ensure!(began.elapsed() < PATIENCE, "{key} does not come");
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// The script: a fence and a Sidecar for each Service that it sees, at once, and nothing else.
async fn write_at_once(client: Client) -> anyhow::Result<()> {
    let (all_fences, all_sidecars) = (fences(), sidecars());
    let parameters = PatchParams::apply("script").force();
    let mut events = std::pin::pin!(watcher::watcher(Api::<Service>::all(client.clone()), watcher::Config::default()));
    while let Some(event) = events.next().await {
        let Event::Apply(service) = event? else { continue };
        let (namespace, name) = (service.namespace().context("no namespace")?, service.name_any());
        if service.annotations().contains_key("bench/seen") {
            continue;
        }
        let metadata = json!({"name": name, "namespace": namespace});
        let fence = json!({"apiVersion": all_fences.api_version, "kind": all_fences.kind, "metadata": metadata,
            "spec": {"enable": true, "workloadSelector": {"fromService": true}}});
        let sidecar = json!({"apiVersion": all_sidecars.api_version, "kind": all_sidecars.kind, "metadata": metadata,
            "spec": {"workloadSelector": {"labels": {"app": name}}, "egress": [{"hosts": ["istio-system/*", "mesh-operator/*"]}]}});
        let of_fences = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &all_fences);
        of_fences.patch(&name, &parameters, &Patch::Apply(&fence)).await?;
        let of_sidecars = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &all_sidecars);
        of_sidecars.patch(&name, &parameters, &Patch::Apply(&sidecar)).await?;
    }
    anyhow::bail!("the watch ended")
}
