//! Every row with every peer, in turns: what disturbs the machine disturbs them all.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;

use crate::load::Seen;
use crate::peers::{ENDS_CORE, Listening, Peer, Programs, backend, pinned};
use crate::report;
use crate::rows::{Protocol, Row};

#[derive(Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    programs: Programs,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Before each measurement.
    #[arg(long, default_value_t = 400)]
    warm_ms: u64,
    /// Of each measurement.
    #[arg(long, default_value_t = 2000)]
    measure_ms: u64,
    /// Rows whose name has all of these words.
    #[arg(long, value_delimiter = ' ', default_value = "")]
    only: Vec<String>,
    /// Leave out all but ours and Envoy.
    #[arg(long)]
    two: bool,
    /// Fail if ours answers less than so many times as many requests in a CPU-second as Envoy, in any row.
    #[arg(long)]
    at_least: Option<f64>,
    /// Where the JSON goes.
    #[arg(long)]
    json: PathBuf,
    /// Where the tables go; otherwise to standard output.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// What one peer has shown in one row, round by round.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub peer: Peer,
    pub rounds: Vec<Seen>,
}

/// All of one row.
#[derive(Debug, Serialize)]
pub struct RowMeasured {
    pub name: String,
    pub row: Row,
    pub peers: Vec<Measured>,
}

pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut measured = Vec::new();
    let rows = Row::all().into_iter().filter(|row| {
        let name = row.name();
        let words: Vec<&str> = name.split([' ', ',']).collect();
        arguments.only.iter().all(|word| words.contains(&word.as_str()))
    });
    for row in rows {
        eprintln!("{}", row.name());
        measured.push(of_row(arguments, row).await.with_context(|| row.name())?);
        std::fs::write(&arguments.json, serde_json::to_string_pretty(&measured)?)?;
    }
    let text = report::markdown(&measured);
    match &arguments.markdown {
        Some(path) => std::fs::write(path, text)?,
        None => print!("{text}"),
    }
    let Some(least) = arguments.at_least else {
        return Ok(());
    };
    for row in &measured {
        let ratio = report::to_envoy(row).context("no ratio without both")?;
        ensure!(
            ratio >= least,
            "{}: {ratio:.2} times Envoy's requests per CPU-second, at least {least} expected",
            row.name
        );
    }
    Ok(())
}

/// Fresh processes for each row: their memory is that row's.
async fn of_row(arguments: &Arguments, row: Row) -> anyhow::Result<RowMeasured> {
    let (backend, http2) = backend().await?;
    let destination = if row.protocol == Protocol::Http2 { http2 } else { backend.address };
    let mut running = Vec::new();
    let mut peers = Vec::new();
    for peer in Peer::ALL.into_iter().filter(|peer| !arguments.two || matches!(peer, Peer::Ours | Peer::Envoy)) {
        let mut started = Listening::start(peer, &arguments.programs)?;
        if let Some(proxy) = &mut started {
            proxy.ready().await.with_context(|| peer.name())?;
        }
        running.push(started);
        peers.push(Measured { peer, rounds: Vec::new() });
    }
    for round in 0..arguments.rounds {
        for turn in 0..peers.len() {
            // Each begins a round once.
            let index = (turn + round) % peers.len();
            let (target, pid) =
                running[index].as_ref().map_or((destination, backend.pid), |proxy| (proxy.address, proxy.pid));
            let seen =
                load(arguments, row, target, destination, pid).await.with_context(|| peers[index].peer.name())?;
            peers[index].rounds.push(seen);
        }
    }
    for proxy in running.into_iter().flatten().chain([backend]) {
        proxy.end().await?;
    }
    Ok(RowMeasured { name: row.name(), row, peers })
}

async fn load(
    arguments: &Arguments,
    row: Row,
    target: SocketAddr,
    destination: SocketAddr,
    pid: u32,
) -> anyhow::Result<Seen> {
    let mut command = pinned(ENDS_CORE, &std::env::current_exe()?);
    command.arg("load").arg("--target").arg(target.to_string());
    command.arg("--destination").arg(destination.to_string()).arg("--pid").arg(pid.to_string());
    command.arg("--protocol").arg(if row.protocol == Protocol::Http2 { "http2" } else { "http1" });
    command.arg("--bytes").arg(row.bytes.to_string()).arg("--connections").arg(row.connections.to_string());
    command.arg("--streams").arg(row.streams.to_string());
    command.arg("--warm-ms").arg(arguments.warm_ms.to_string());
    command.arg("--measure-ms").arg(arguments.measure_ms.to_string());
    if row.churn {
        command.arg("--churn");
    }
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "the load failed: {}", String::from_utf8_lossy(&output.stderr));
    let seen: Seen = serde_json::from_slice(&output.stdout)?;
    if seen.requests == 0 {
        eprintln!("nothing was answered within {:.1} s: {:?}", seen.seconds, seen.failure);
    }
    Ok(seen)
}
