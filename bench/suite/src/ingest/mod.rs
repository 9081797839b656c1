//! Entries of access logs for each second of CPU: known pairs, new ones, and what a flood costs somebody else's first call.

mod decoder;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures::future::try_join_all;
use lazyload_bench_common::process::free_port;
use lazyload_bench_common::{Spread, procfs};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use decoder::run as serve_decoder;

use crate::Setup;
use crate::access_log::{IN_A_MESSAGE, connect, messages, send};
use crate::controller::Controller;
use crate::process;
use crate::sidecars::{Watched, fences, sidecars};
use crate::world::{self, Pod, World};

/// Services of the mesh that calls.
const SERVICES: usize = 1_000;
/// Different calls of the known pairs: 200 callers with 5 hosts each.
const KNOWN_CALLERS: usize = 200;
const KNOWN_HOSTS: usize = 5;
/// First host that nobody calls before the flood.
const FRESH_HOST: usize = 900;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    setup: Setup,
    /// Entries of known pairs in each round.
    #[arg(long, default_value_t = 4_000_000)]
    entries: usize,
    /// Hosts that each pod of each caller calls for the first time: a round has 1,000 times as many new pairs, from 200 callers with 5 pods.
    #[arg(long, default_value_t = 60)]
    new_hosts: usize,
    /// Fails if a second of CPU takes in less than so many times what the decoding server takes in, by eight streams.
    #[arg(long)]
    at_least: Option<f64>,
    /// First calls beside a flood, beside one of another process, and without.
    #[arg(long, default_value_t = 100)]
    first_calls: usize,
}

/// What was measured.
#[derive(Serialize, Deserialize)]
pub struct Ingested {
    pub entry_bytes: usize,
    pub known: Vec<Known>,
    pub new: Vec<Rate>,
    /// Milliseconds from the first call's entry to the write of the fence's status.
    pub quiet_ms: Vec<f64>,
    /// The same while the decoding server is flooded: what a busy machine costs.
    pub busy_ms: Vec<f64>,
    /// The same while the controller is flooded.
    pub flooded_ms: Vec<f64>,
    /// Entries per second of that flood.
    pub flood: f64,
}

/// Known pairs by so many streams, round by round.
#[derive(Serialize, Deserialize)]
pub struct Known {
    pub streams: usize,
    pub ours: Vec<Rate>,
    pub prost: Vec<Rate>,
}

impl Known {
    /// Entries for each second of CPU, divided by the decoding server's, round by round.
    pub fn to_prost(&self) -> Spread {
        Spread::of_ratios(self.ours.iter().map(Rate::per_cpu_second), self.prost.iter().map(Rate::per_cpu_second))
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Rate {
    pub entries: usize,
    pub cpu_seconds: f64,
    pub seconds: f64,
    pub memory_mib: f64,
}

impl Rate {
    pub fn per_cpu_second(&self) -> f64 {
        self.entries as f64 / self.cpu_seconds
    }
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<Ingested> {
    let cluster = arguments.setup.cluster().await?;
    let mut world = World::default();
    world.grow(&cluster, SERVICES).await?;
    let mut controller = Controller::start(&arguments.setup.lazyload, &cluster, &json!({}))?;
    controller.ready().await?;
    Watched::begin(&cluster.client, &sidecars()).await?.count(SERVICES).await?;
    let decoder_port = free_port()?;
    let decoder_arguments = ["decoder".to_owned(), decoder_port.to_string()];
    let log = cluster.folder().join("decoder.log");
    let decoder = process::start(&std::env::current_exe()?, &decoder_arguments, &[], &log)?;

    let callers = world.callers();
    let known = messages(
        (0..KNOWN_HOSTS).flat_map(|host| callers.iter().take(KNOWN_CALLERS).map(move |caller| (*caller, host))),
    );
    let entry_bytes = known.iter().map(Bytes::len).sum::<usize>() / (known.len() * IN_A_MESSAGE);
    let known = Arc::new(known);
    // They become known.
    flood(controller.pid(), controller.log_source_port, 1, &known, known.len() * IN_A_MESSAGE).await?;
    controller.at_rest().await?;

    let mut measured = Vec::new();
    for streams in [1, 8] {
        let (mut ours, mut prost) = (Vec::new(), Vec::new());
        for round in 0..arguments.setup.rounds {
            eprintln!("known pairs, {streams} streams, round {round}");
            ours.push(flood(controller.pid(), controller.log_source_port, streams, &known, arguments.entries).await?);
            // It does a fraction of it in the same time.
            prost.push(flood(decoder.pid, decoder_port, streams, &known, arguments.entries / 4).await?);
        }
        measured.push(Known { streams, ours, prost });
    }
    let watched = Watched::begin(&cluster.client, &fences()).await?;
    let fresh = |which: usize| {
        let skipped = KNOWN_CALLERS + which * arguments.first_calls;
        callers.iter().copied().skip(skipped).take(arguments.first_calls)
    };
    let quiet_ms = first_calls(&controller, &watched, fresh(0)).await?;
    let first = first_calls(&controller, &watched, fresh(1));
    let (busy_ms, _) = beside_a_flood(first, (decoder.pid, decoder_port), &known).await?;
    let first = first_calls(&controller, &watched, fresh(2));
    let flooded = (controller.pid(), controller.log_source_port);
    let (flooded_ms, rate) = beside_a_flood(first, flooded, &known).await?;
    let new = new_pairs(arguments, &world, &controller).await?;
    decoder.end().await?;
    controller.end().await?;
    if let (Some(at_least), Some(last)) = (arguments.at_least, measured.last()) {
        let ratio = last.to_prost().median;
        anyhow::ensure!(
            ratio >= at_least,
            "{ratio:.2} times the entries of a server that decodes them; at least {at_least} is wanted"
        );
    }
    Ok(Ingested { entry_bytes, known: measured, new, quiet_ms, busy_ms, flooded_ms, flood: rate })
}

/// Sends so many entries by some streams, each of a connection of its own, and takes what the receiver used.
async fn flood(
    pid: u32,
    port: u16,
    streams: usize,
    messages: &Arc<Vec<Bytes>>,
    entries: usize,
) -> anyhow::Result<Rate> {
    let channels = try_join_all((0..streams).map(|_| connect(port))).await?;
    let each = entries / IN_A_MESSAGE / streams;
    let (began, before) = (Instant::now(), procfs::cpu_seconds(pid)?);
    try_join_all(channels.into_iter().map(|channel| {
        let messages = messages.clone();
        let all = (0..each).map(move |at| messages[at % messages.len()].clone());
        async move { tokio::spawn(send(channel, all)).await? }
    }))
    .await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu_seconds = procfs::cpu_seconds(pid)? - before;
    let (_, memory_mib) = procfs::memory(pid)?;
    Ok(Rate { entries: each * streams * IN_A_MESSAGE, cpu_seconds, seconds, memory_mib })
}

/// First calls while eight streams of others flood a server; the flood's entries per second too.
async fn beside_a_flood(
    first_calls: impl Future<Output = anyhow::Result<Vec<f64>>>,
    (pid, port): (u32, u16),
    known: &Arc<Vec<Bytes>>,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let (stop_tx, mut stop) = tokio::sync::oneshot::channel();
    let theirs = known.clone();
    let flooding = tokio::spawn(async move {
        let (mut entries, mut seconds) = (0, 0.0);
        while stop.try_recv().is_err() {
            let rate = flood(pid, port, 8, &theirs, 400_000).await?;
            (entries, seconds) = (entries + rate.entries, seconds + rate.seconds);
        }
        anyhow::Ok(entries as f64 / seconds)
    });
    let took = first_calls.await?;
    anyhow::ensure!(stop_tx.send(()).is_ok(), "the flood ended: {:?}", flooding.await?);
    Ok((took, flooding.await??))
}

/// Calls of a host that is new for their caller, one after the other, each by a Service of its own.
async fn first_calls(
    controller: &Controller,
    watched: &Watched,
    callers: impl Iterator<Item = Pod>,
) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::new();
    let channel = connect(controller.log_source_port).await?;
    for caller in callers {
        let key = format!("{}/{}", world::namespace(caller.service), world::name(caller.service));
        let changes = || watched.seen().get(&key).map(|seen| seen.times).context("no such fence");
        let before = changes()?;
        let began = Instant::now();
        send(channel.clone(), messages([(caller, FRESH_HOST)]).into_iter()).await?;
        while changes()? == before {
            anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "{key}: nothing was learned in a minute");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        let last = watched.seen().get(&key).map(|seen| seen.last).context("gone")?;
        took.push((last - began).as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(took)
}

/// Pairs that were never seen: all pods of 200 callers call hosts that are new for them.
async fn new_pairs(arguments: &Arguments, world: &World, controller: &Controller) -> anyhow::Result<Vec<Rate>> {
    let mut rates = Vec::new();
    for round in 0..arguments.setup.rounds {
        eprintln!("new pairs, round {round}");
        let first = KNOWN_HOSTS + round * arguments.new_hosts;
        let pods = (0..KNOWN_CALLERS).flat_map(|service| world.of(service));
        let calls = pods.flat_map(|pod| (first..first + arguments.new_hosts).map(move |host| (pod, host)));
        let messages = Arc::new(messages(calls));
        let entries = messages.len() * IN_A_MESSAGE;
        let mut rate = flood(controller.pid(), controller.log_source_port, 1, &messages, entries).await?;
        controller.at_rest().await?;
        rate.memory_mib = procfs::memory(controller.pid())?.1;
        rates.push(rate);
    }
    Ok(rates)
}
