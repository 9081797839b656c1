//! Mixed traffic for a long time while destinations die and come back: nothing may leak, and no request may be lost that could be answered.

mod clients;
mod mortal;
mod tally;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use tokio::task::{JoinSet, LocalSet};

use crate::peers::{Listening, forwarder};
use clients::Kind;
use lazyload_bench_common::procfs;
use mortal::Mortal;
use tally::Tally;

const DESTINATIONS: usize = 6;
/// Clients of each kind.
const CLIENTS: usize = 8;
/// Time for the last bytes to pass.
const CALM: Duration = Duration::from_secs(3);
/// Memory may differ so much from the first third to the last: buffers come and go.
const MEMORY_MIB: f64 = 4.0;

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[arg(long)]
    ours: PathBuf,
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// What chance begins with; a failure is told with it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the JSON goes.
    #[arg(long)]
    json: PathBuf,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    second: u64,
    memory_mib: f64,
    descriptors: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    seconds: u64,
    seed: u64,
    deaths: u64,
    tally: Tally,
    samples: Vec<Sample>,
    descriptors_before: usize,
    descriptors_after: usize,
    memory_first_third_mib: f64,
    memory_last_third_mib: f64,
    memory_peak_mib: f64,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let report = LocalSet::new().run_until(soak(&arguments)).await?;
    std::fs::write(&arguments.json, serde_json::to_string_pretty(&report)?)?;
    println!(
        "{} s, seed {}: {} requests answered, {} failed while their destination was dead, {} deaths",
        report.seconds, report.seed, report.tally.answered, report.tally.excused, report.deaths
    );
    for (kind, count) in &report.tally.by_kind {
        println!("  {kind}: {count}");
    }
    println!(
        "memory {:.1} MiB in the first third, {:.1} in the last, {:.1} at most; descriptors {} before, {} after",
        report.memory_first_third_mib,
        report.memory_last_third_mib,
        report.memory_peak_mib,
        report.descriptors_before,
        report.descriptors_after
    );
    ensure!(report.tally.lost == 0, "{} requests were lost: {:?}", report.tally.lost, report.tally.losses);
    ensure!(report.tally.answered > 0 && report.tally.excused > 0, "this run has shown nothing");
    ensure!(
        report.memory_last_third_mib <= report.memory_first_third_mib + MEMORY_MIB,
        "memory grew from {} to {} MiB",
        report.memory_first_third_mib,
        report.memory_last_third_mib
    );
    ensure!(report.descriptors_after <= report.descriptors_before, "descriptors were left open");
    Ok(())
}

async fn soak(arguments: &Arguments) -> anyhow::Result<Report> {
    let mut forwarder: Listening = forwarder(&arguments.ours)?;
    forwarder.ready().await?;
    let descriptors_before = procfs::descriptors(forwarder.pid)?;
    let mut destinations = Vec::new();
    for index in 0..DESTINATIONS {
        destinations.push(Rc::new(Mortal::start(arguments.seed + index as u64).await?));
    }
    let tally = Rc::default();
    let mut clients = JoinSet::new();
    for kind in Kind::ALL {
        for number in 0..CLIENTS {
            let seed = arguments.seed * 1000 + number as u64 * 17 + kind as u64;
            clients.spawn_local(clients::run(kind, forwarder.address, destinations.clone(), Rc::clone(&tally), seed));
        }
    }
    let began = Instant::now();
    let mut samples = Vec::new();
    for second in 1..=arguments.seconds {
        tokio::time::sleep_until((began + Duration::from_secs(second)).into()).await;
        let (memory_mib, _) = procfs::memory(forwarder.pid).context("the forwarder has ended")?;
        samples.push(Sample { second, memory_mib, descriptors: procfs::descriptors(forwarder.pid)? });
    }
    clients.shutdown().await;
    let deaths = destinations.iter().map(|destination| destination.deaths()).sum();
    drop(destinations);
    tokio::time::sleep(CALM).await;
    let descriptors_after = procfs::descriptors(forwarder.pid)?;
    let (_, memory_peak_mib) = procfs::memory(forwarder.pid)?;
    forwarder.end().await?;
    let third = samples.len() / 3;
    let tally = tally::take(&tally);
    Ok(Report {
        seconds: arguments.seconds,
        seed: arguments.seed,
        deaths,
        tally,
        descriptors_before,
        descriptors_after,
        memory_first_third_mib: median(&samples[..third]),
        memory_last_third_mib: median(&samples[samples.len() - third..]),
        memory_peak_mib,
        samples,
    })
}

fn median(samples: &[Sample]) -> f64 {
    let mut memory: Vec<f64> = samples.iter().map(|sample| sample.memory_mib).collect();
    memory.sort_by(f64::total_cmp);
    memory.get(memory.len() / 2).copied().unwrap_or(f64::NAN)
}
