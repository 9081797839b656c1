//! What a mesh saves, and what learning costs it: a real istiod, delta discovery by as many proxies as are wanted, a real Envoy.

mod envoy;
mod istiod;
mod proxy;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Setup;
use crate::access_log::{connect, messages, send};
use crate::cluster::Cluster;
use crate::controller::Controller;
use crate::world::{self, World};
use istiod::{Istiod, Work};
use proxy::{Proxy, Size, quiet};

/// Proxies that stand for the others.
const SAMPLE: usize = 20;
/// Services that each Service calls.
const CALLS: usize = 5;
/// Rounds in which endpoints change, to see what pushing costs.
const CHANGES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
    #[arg(long)]
    istiod: PathBuf,
    #[arg(long)]
    envoy: PathBuf,
    /// Services, five pods each: 190 in ten namespaces, more in fifty.
    #[arg(long, value_delimiter = ',', default_values_t = [190, 2_000])]
    services: Vec<usize>,
    /// Hosts that are learned at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 200])]
    burst: Vec<usize>,
}

/// What was measured.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    pub saved: Vec<Saved>,
    pub bursts: Vec<Burst>,
}

/// A mesh without and with.
#[derive(Serialize, Deserialize)]
pub struct Saved {
    pub services: usize,
    pub pods: usize,
    pub calls: usize,
    pub sample: usize,
    pub without: Mesh,
    pub with: Mesh,
}

/// Means over the sample.
#[derive(Serialize, Deserialize)]
pub struct Mesh {
    pub clusters: f64,
    pub endpoints: f64,
    pub routes: f64,
    pub config_bytes: f64,
    /// Of a real Envoy.
    pub envoy_mib: f64,
    pub envoy_clusters: usize,
    /// While endpoints of one Service in twenty changed, twenty times: istiod's, and what a proxy was told.
    pub cpu_seconds: f64,
    pub push_seconds: f64,
    pub pushed_bytes: f64,
}

/// Hosts that were learned at once.
#[derive(Serialize, Deserialize)]
pub struct Burst {
    pub fences: usize,
    pub hosts: usize,
    /// Rounds of pushing, answers to proxies, and istiod's CPU, for each round.
    pub contexts: Vec<f64>,
    pub pushes: Vec<f64>,
    pub cpu_seconds: Vec<f64>,
    pub sidecar_writes: Vec<u64>,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<Measured> {
    let mut saved = Vec::new();
    let mut bursts = Vec::new();
    for services in arguments.services.iter().copied() {
        let mesh = Bench::start(arguments, services).await?;
        let (result, mesh) = mesh.save(arguments).await?;
        saved.push(result);
        // The largest mesh has hosts enough.
        if Some(&services) == arguments.services.last() {
            bursts = mesh.bursts(arguments).await?;
        }
    }
    Ok(Measured { saved, bursts })
}

struct Bench {
    cluster: Cluster,
    world: World,
    istiod: Istiod,
    services: usize,
    controller: Option<Controller>,
}

impl Bench {
    async fn start(arguments: &Arguments, services: usize) -> anyhow::Result<Self> {
        let cluster = arguments.setup.cluster().await?;
        let mut world = World::with_endpoints();
        world.grow(&cluster, services).await?;
        let istiod = Istiod::start(&arguments.istiod, &cluster).await?;
        Ok(Self { cluster, world, istiod, services, controller: None })
    }

    async fn sample(&self, count: usize) -> anyhow::Result<Vec<Proxy>> {
        let port = self.istiod.port;
        try_join_all(self.world.callers().into_iter().take(count).map(|pod| Proxy::connect(port, pod))).await
    }

    async fn mesh(&mut self, arguments: &Arguments) -> anyhow::Result<Mesh> {
        let proxies = self.sample(SAMPLE.min(self.services)).await?;
        quiet(&proxies).await?;
        let sizes: Vec<Size> = proxies.iter().map(|proxy| proxy.held().size()).collect();
        let mean = |of: fn(&Size) -> usize| sizes.iter().map(|size| of(size) as f64).sum::<f64>() / sizes.len() as f64;
        let received = || proxies.iter().map(|proxy| proxy.held().received_bytes).sum::<usize>();
        let (before, received_before) = (self.istiod.work().await?, received());
        for _ in 0..CHANGES {
            self.world.restart(&self.cluster, self.services / 20 * world::PODS_EACH).await?;
            tokio::time::sleep(PAUSE).await;
        }
        quiet(&proxies).await?;
        let work = self.istiod.work().await?.since(before);
        let pushed = (received() - received_before) as f64 / proxies.len() as f64;
        drop(proxies);
        let Some(pod) = self.world.callers().first().copied() else { anyhow::bail!("there are no pods") };
        let envoy = envoy::figures(&arguments.envoy, self.cluster.folder(), self.istiod.port, pod).await?;
        Ok(Mesh {
            clusters: mean(|size| size.clusters),
            endpoints: mean(|size| size.endpoints),
            routes: mean(|size| size.routes),
            config_bytes: mean(|size| size.bytes),
            envoy_mib: envoy.allocated_mib,
            envoy_clusters: envoy.clusters,
            cpu_seconds: work.cpu_seconds,
            push_seconds: work.push_seconds,
            pushed_bytes: pushed,
        })
    }

    /// Measures without, fences everything, lets every Service call others, and measures again.
    async fn save(mut self, arguments: &Arguments) -> anyhow::Result<(Saved, Self)> {
        eprintln!("{} Services: without", self.services);
        let without = self.mesh(arguments).await?;
        eprintln!("{} Services: fencing and learning", self.services);
        let mut controller = Controller::start(&arguments.setup.lazyload, &self.cluster, &json!({}))?;
        controller.ready().await?;
        controller.at_rest().await?;
        let services = self.services;
        let calls = self
            .world
            .callers()
            .into_iter()
            .flat_map(|caller| (1..=CALLS).map(move |next| (caller, (caller.service + next * 7) % services)));
        send(connect(controller.log_source_port).await?, messages(calls).into_iter()).await?;
        controller.at_rest().await?;
        self.controller = Some(controller);
        eprintln!("{services} Services: with");
        let with = self.mesh(arguments).await?;
        let saved =
            Saved { services, pods: self.world.pods(), calls: CALLS, sample: SAMPLE.min(services), without, with };
        Ok((saved, self))
    }

    /// Bursts of hosts that are new, for one fence and for fifty.
    async fn bursts(mut self, arguments: &Arguments) -> anyhow::Result<Vec<Burst>> {
        let Some(controller) = self.controller.take() else { anyhow::bail!("nothing is fenced") };
        let proxies = self.sample(50).await?;
        quiet(&proxies).await?;
        let callers = self.world.callers();
        let mut next = 50 + 7 * (CALLS + 1);
        let mut bursts = Vec::new();
        for fences in [1, 50] {
            for hosts in arguments.burst.iter().copied() {
                eprintln!("{hosts} hosts for {fences} fences");
                let mut burst = Burst {
                    fences,
                    hosts,
                    contexts: Vec::new(),
                    pushes: Vec::new(),
                    cpu_seconds: Vec::new(),
                    sidecar_writes: Vec::new(),
                };
                for _ in 0..arguments.setup.rounds {
                    let (before, writes) = (self.istiod.work().await?, sidecar_writes(&self.cluster).await?);
                    let first = next;
                    next += hosts;
                    anyhow::ensure!(
                        next <= self.services,
                        "a mesh of {} Services has too few hosts for that",
                        self.services
                    );
                    let some = callers.iter().take(fences);
                    let calls = some.flat_map(|caller| (first..first + hosts).map(move |host| (*caller, host)));
                    send(connect(controller.log_source_port).await?, messages(calls).into_iter()).await?;
                    controller.at_rest().await?;
                    quiet(&proxies).await?;
                    let Work { contexts, pushes, cpu_seconds, .. } = self.istiod.work().await?.since(before);
                    burst.contexts.push(contexts);
                    burst.pushes.push(pushes);
                    burst.cpu_seconds.push(cpu_seconds);
                    burst.sidecar_writes.push(sidecar_writes(&self.cluster).await? - writes);
                }
                bursts.push(burst);
            }
        }
        Ok(bursts)
    }
}

async fn sidecar_writes(cluster: &Cluster) -> anyhow::Result<u64> {
    let writes = cluster.writes().await?;
    Ok(writes.iter().filter(|(what, _)| what.starts_with("sidecars ")).map(|(_, count)| count).sum())
}
