//! Cold start: from the start of the controller to the last Sidecar, beside a loop that applies the same objects; and memory.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures::{TryStreamExt, stream};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use lazyload_bench_common::{Spread, procfs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Setup;
use crate::cluster::{Cluster, Writes, since};
use crate::controller::Controller;
use crate::sidecars::{Watched, fences, sidecars, wipe};
use crate::world::{PODS_EACH, World};

/// Requests at once of the loop, as many as the controller has.
const AT_ONCE: usize = 32;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
    /// Services to be fenced.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 5_000, 10_000])]
    services: Vec<usize>,
    /// Pods of each.
    #[arg(long, default_value_t = PODS_EACH)]
    pods_each: usize,
    /// Fails if the largest size takes more than so many times the loop's time, in one step.
    #[arg(long)]
    at_most: Option<f64>,
    /// How long nothing may be written at the end of each size.
    #[arg(long, default_value_t = 20)]
    idle_seconds: u64,
}

/// What was measured at one size.
#[derive(Serialize, Deserialize)]
pub struct Cold {
    pub services: usize,
    pub pods: usize,
    /// With each way of changing a Sidecar.
    pub lossless: Vec<Start>,
    pub fastest: Vec<Start>,
    pub apply_loop: Vec<f64>,
    /// Writes of the last rounds, and of the idle time after them.
    pub lossless_writes: Writes,
    pub fastest_writes: Writes,
    pub loop_writes: Writes,
    pub idle_writes: Writes,
    pub idle_cpu_seconds: f64,
    pub idle_seconds: u64,
}

impl Cold {
    /// The time of a start in one step, divided by the loop's, round by round.
    pub fn to_the_loop(&self) -> Spread {
        Spread::of_ratios(self.fastest.iter().map(|start| start.settled_seconds), self.apply_loop.iter().copied())
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Until each Sidecar is there, and until each is in its last form.
    pub seconds: f64,
    pub settled_seconds: f64,
    pub cpu_seconds: f64,
    pub memory_mib: f64,
    pub peak_mib: f64,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<Vec<Cold>> {
    let cluster = arguments.setup.cluster().await?;
    let mut world = World::with_pods(arguments.pods_each);
    let mut sizes = Vec::new();
    for services in arguments.services.iter().copied() {
        eprintln!("{services} Services: making them");
        world.grow(&cluster, services).await?;
        sizes.push(measure(arguments, &cluster, services).await?);
    }
    if let (Some(at_most), Some(last)) = (arguments.at_most, sizes.last()) {
        let ratio = last.to_the_loop().median;
        anyhow::ensure!(
            ratio <= at_most,
            "a cold start takes {ratio:.2} times as long as a loop that applies the same; at most {at_most} is wanted"
        );
    }
    Ok(sizes)
}

async fn measure(arguments: &Arguments, cluster: &Cluster, services: usize) -> anyhow::Result<Cold> {
    let mut cold = Cold {
        services,
        pods: services * arguments.pods_each,
        lossless: Vec::new(),
        fastest: Vec::new(),
        apply_loop: Vec::new(),
        lossless_writes: Writes::new(),
        fastest_writes: Writes::new(),
        loop_writes: Writes::new(),
        idle_writes: Writes::new(),
        idle_cpu_seconds: 0.0,
        idle_seconds: arguments.idle_seconds,
    };
    let mut objects = None;
    for round in 0..arguments.setup.rounds {
        for switching in ["lossless", "fastest"] {
            eprintln!("{services} Services, round {round}: the controller, {switching}");
            let before = {
                wipe(cluster).await?;
                cluster.writes().await?
            };
            let (start, controller) = start(arguments, cluster, services, switching).await?;
            let after = cluster.writes().await?;
            if switching == "lossless" {
                cold.lossless_writes = since(&before, &after);
                cold.lossless.push(start);
            } else {
                cold.fastest_writes = since(&before, &after);
                cold.fastest.push(start);
            }
            if round + 1 == arguments.setup.rounds && switching == "lossless" {
                let cpu_before = procfs::cpu_seconds(controller.pid())?;
                tokio::time::sleep(Duration::from_secs(arguments.idle_seconds)).await;
                cold.idle_writes = since(&after, &cluster.writes().await?);
                cold.idle_cpu_seconds = procfs::cpu_seconds(controller.pid())? - cpu_before;
            }
            controller.end().await?;
        }
        if objects.is_none() {
            objects = Some(what_was_written(&cluster.client).await?);
        }

        eprintln!("{services} Services, round {round}: the loop");
        wipe(cluster).await?;
        let before = cluster.writes().await?;
        let watched = Watched::begin(&cluster.client, &sidecars()).await?;
        let began = Instant::now();
        apply(&cluster.client, objects.as_deref().unwrap_or_default()).await?;
        let seconds = (watched.count(services).await? - began).as_secs_f64();
        eprintln!("  {seconds:.1} s");
        cold.apply_loop.push(seconds);
        cold.loop_writes = since(&before, &cluster.writes().await?);
    }
    Ok(cold)
}

/// A start of the controller in a cluster without fences; returns when it is at rest.
async fn start(
    arguments: &Arguments,
    cluster: &Cluster,
    services: usize,
    switching: &str,
) -> anyhow::Result<(Start, Controller)> {
    let watched = Watched::begin(&cluster.client, &sidecars()).await?;
    let began = Instant::now();
    let controller = Controller::start(&arguments.setup.lazyload, cluster, &json!({"switching": switching}))?;
    let seconds = (watched.count(services).await? - began).as_secs_f64();
    controller.at_rest().await?;
    let last = watched.seen().values().map(|sight| sight.last).max().context("no Sidecar is there")?;
    let (memory_mib, peak_mib) = procfs::memory(controller.pid())?;
    let start = Start {
        seconds,
        settled_seconds: (last - began).as_secs_f64(),
        cpu_seconds: procfs::cpu_seconds(controller.pid())?,
        memory_mib,
        peak_mib,
    };
    eprintln!("  {start:?}");
    Ok((start, controller))
}

/// Each fence with its Sidecar, without what the API server adds.
async fn what_was_written(client: &Client) -> anyhow::Result<Vec<(Value, Value)>> {
    let (all_fences, all_sidecars) = (fences(), sidecars());
    let list =
        async |resource| Api::<DynamicObject>::all_with(client.clone(), resource).list(&ListParams::default()).await;
    let (written_fences, written_sidecars) = (list(&all_fences).await?, list(&all_sidecars).await?);
    let key = |object: &DynamicObject| (object.namespace(), object.name_any());
    let by_key: std::collections::HashMap<_, _> = written_sidecars.items.iter().map(|it| (key(it), it)).collect();
    let bare = |object: &DynamicObject, kind: &str, api_version: &str| -> anyhow::Result<Value> {
        let mut value = serde_json::to_value(object)?;
        value["apiVersion"] = api_version.into();
        value["kind"] = kind.into();
        let metadata = value["metadata"].as_object_mut().context("no metadata")?;
        metadata
            .retain(|key, _| ["name", "namespace", "labels", "annotations", "ownerReferences"].contains(&key.as_str()));
        Ok(value)
    };
    let both = written_fences.items.iter().map(|fence| {
        let sidecar = by_key.get(&key(fence)).context("a fence without a Sidecar")?;
        Ok((
            bare(fence, &all_fences.kind, &all_fences.api_version)?,
            bare(sidecar, &all_sidecars.kind, &all_sidecars.api_version)?,
        ))
    });
    both.collect()
}

/// Applies them: for each fence the fence, its status, then its Sidecar; many fences at once.
async fn apply(client: &Client, objects: &[(Value, Value)]) -> anyhow::Result<()> {
    let (all_fences, all_sidecars) = (fences(), sidecars());
    let parameters = PatchParams::apply("bench").force();
    stream::iter(objects.iter().map(anyhow::Ok))
        .try_for_each_concurrent(AT_ONCE, async |(fence, sidecar)| {
            let text = |field: &str| fence["metadata"][field].as_str().context("no name").map(str::to_owned);
            let (namespace, name) = (text("namespace")?, text("name")?);
            let of_fences = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &all_fences);
            let of_sidecars = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &all_sidecars);
            let (mut spec, mut status) = (fence.clone(), fence.clone());
            spec.as_object_mut().context("no fence")?.remove("status");
            let created = of_fences.patch(&name, &parameters, &Patch::Apply(&spec)).await?;
            status.as_object_mut().context("no fence")?.remove("spec");
            of_fences.patch_status(&name, &parameters, &Patch::Apply(&status)).await?;
            let mut sidecar = sidecar.clone();
            if let Some(owner) = sidecar["metadata"]["ownerReferences"].get_mut(0) {
                owner["uid"] = created.metadata.uid.context("no identity")?.into();
            }
            of_sidecars.patch(&name, &parameters, &Patch::Apply(&sidecar)).await?;
            Ok(())
        })
        .await
}
