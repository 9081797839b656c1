//! The controller beside its peers: on a real API server (`cold-start`, `churn`, `ingest`), and what becomes of it (`report`).
//!
//! Each benchmark writes JSON; `report` makes tables and plots of all of them.

mod access_log;
mod churn;
mod cluster;
mod cold;
mod controller;
mod direct;
mod etcd;
mod ingest;
mod istio;
mod metrics;
mod process;
mod report;
mod sidecars;
mod world;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use cluster::Cluster;

#[derive(Parser)]
#[command(about = "The controller beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Where what was measured goes, as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// From the start of the controller to the last Sidecar, beside a loop that applies the same objects.
    ColdStart(cold::Arguments),
    /// From a new Service to its fence and its Sidecar while pods and Services change, beside a script that writes at once.
    Churn(churn::Arguments),
    /// Entries of access logs for each second of CPU, beside a server that decodes them with prost.
    Ingest(ingest::Arguments),
    /// What a mesh saves, and what learning costs it, with a real istiod and a real Envoy.
    Istio(istio::Arguments),
    /// Makes the page and its plots of what the others wrote.
    Report(report::Arguments),
    /// The peer of `ingest`, on a port of the loopback interface.
    #[command(hide = true)]
    Decoder { port: u16 },
}

/// What is measured, what it takes, and how often.
#[derive(Args)]
struct Setup {
    /// The product.
    #[arg(long)]
    lazyload: PathBuf,
    /// A folder with `etcd` and `kube-apiserver`.
    #[arg(long)]
    binaries: PathBuf,
    /// YAML with Istio's CRDs; of them only Sidecar's is needed.
    #[arg(long)]
    istio_crds: PathBuf,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Setup {
    /// A new API server that knows fences and Sidecars.
    async fn cluster(&self) -> anyhow::Result<Cluster> {
        let printed = tokio::process::Command::new(&self.lazyload).arg("crds").output().await?;
        anyhow::ensure!(printed.status.success(), "lazyload crds: {}", printed.status);
        let crds = [String::from_utf8(printed.stdout)?, std::fs::read_to_string(&self.istio_crds)?];
        Cluster::start(&self.binaries, &crds).await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // Nobody else chose one before.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut ended = signal(SignalKind::terminate())?;
    tokio::select! {
        result = run(cli) => result,
        // What was started ends with what holds it.
        _ = ended.recv() => anyhow::bail!("ended by a signal"),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let to = cli.json.as_deref();
    match cli.command {
        Command::ColdStart(arguments) => keep(&cold::run(&arguments).await?, to),
        Command::Churn(arguments) => keep(&churn::run(&arguments).await?, to),
        Command::Ingest(arguments) => keep(&ingest::run(&arguments).await?, to),
        Command::Istio(arguments) => keep(&istio::run(&arguments).await?, to),
        Command::Report(arguments) => report::run(&arguments),
        Command::Decoder { port } => ingest::serve_decoder(port).await,
    }
}

fn keep(measured: &impl Serialize, to: Option<&Path>) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(measured)?;
    match to {
        Some(path) => Ok(std::fs::write(path, text)?),
        None => {
            println!("{text}");
            Ok(())
        }
    }
}
