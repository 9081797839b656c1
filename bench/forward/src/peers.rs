//! The proxies, each as a process on its own core with one worker.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use lazyload_bench_common::process::{Running, free_port};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Where the proxies run.
const PROXY_CORE: &str = "0";
/// Where the two ends run.
pub const ENDS_CORE: &str = "1";

const STARTS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Peer {
    Ours,
    Envoy,
    Go,
    Direct,
}

impl Peer {
    pub const ALL: [Self; 4] = [Self::Ours, Self::Envoy, Self::Go, Self::Direct];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "Lazyload",
            Self::Envoy => "Envoy 1.40",
            Self::Go => "Go ReverseProxy",
            Self::Direct => "direct",
        }
    }
}

/// The programs.
#[derive(Args, Clone, Debug)]
pub struct Programs {
    #[arg(long)]
    pub ours: PathBuf,
    #[arg(long)]
    pub envoy: PathBuf,
    #[arg(long)]
    pub go: PathBuf,
    /// Envoy's configuration; PORT in it is replaced.
    #[arg(long)]
    pub envoy_config: PathBuf,
}

/// A process that listens.
pub struct Listening {
    process: Running,
    pub pid: u32,
    pub address: SocketAddr,
}

impl Listening {
    fn new(command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let process = Running::start(command)?;
        Ok(Self { pid: process.pid, process, address })
    }

    pub async fn end(self) -> anyhow::Result<()> {
        self.process.end().await
    }

    pub fn start(peer: Peer, programs: &Programs) -> anyhow::Result<Option<Self>> {
        let address = free_address()?;
        let mut command = match peer {
            Peer::Direct => return Ok(None),
            Peer::Ours => return forwarder(&programs.ours).map(Some),
            Peer::Envoy => {
                let config = std::fs::read_to_string(&programs.envoy_config)?;
                let mut command = pinned(PROXY_CORE, &programs.envoy);
                command.args(["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]);
                command.arg("--config-yaml").arg(config.replace("PORT", &address.port().to_string()));
                command
            }
            Peer::Go => {
                let mut command = pinned(PROXY_CORE, &programs.go);
                command.arg(address.to_string()).env("GOMAXPROCS", "1");
                command
            }
        };
        // Go tells of each client that leaves within a request, as they all do at a measurement's end.
        command.stdout(Stdio::null()).stderr(if peer == Peer::Go { Stdio::null() } else { Stdio::inherit() });
        Self::new(command, address).map(Some)
    }

    /// Waits until somebody listens.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let waiting = async {
            while TcpStream::connect(self.address).await.is_err() {
                self.process.check().context("a proxy")?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(STARTS_WITHIN, waiting).await.context("a proxy does not listen")?
    }
}

/// Ours, without a mesh and without probes.
pub fn forwarder(program: &Path) -> anyhow::Result<Listening> {
    let address = free_address()?;
    let mut command = pinned(PROXY_CORE, program);
    command.arg("global-sidecar").env("WORMHOLE_PORTS", address.port().to_string());
    command.env("DISABLE_SVC_CONTROLLER", "true").env("GUARD", "off").env("PROBE_PORT", "").env("LOG_LEVEL", "error");
    command.stdout(Stdio::null());
    Listening::new(command, address)
}

/// The destination: its process, its port for HTTP/1.1, and its port for HTTP/2.
pub async fn backend() -> anyhow::Result<(Listening, SocketAddr)> {
    let mut command = pinned(ENDS_CORE, &std::env::current_exe()?);
    command.arg("backend").stdout(Stdio::piped());
    let mut running = Listening::new(command, free_address()?)?;
    let output = running.process.output().context("no output")?;
    let line = BufReader::new(output).lines().next_line().await?.context("the destination did not start")?;
    let (http1, http2) = line.split_once(' ').context("two addresses expected")?;
    running.address = http1.parse()?;
    Ok((running, http2.parse()?))
}

/// A command on one core.
pub fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}
