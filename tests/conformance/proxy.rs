//! The two proxies: our binary as a process, and Envoy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;

use super::envoy;
use crate::apiserver::cluster::cache;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;
use crate::support::{binary, can_run, process, repository};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Envoy,
}

/// A proxy that takes `Slime-Orig-Dest` for the address to dial.
pub struct Proxy {
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    process: Running,
    _folder: TempDir,
}

impl Proxy {
    /// Ours and Envoy; nothing if they cannot run here.
    pub async fn both(test: &str) -> Option<(Self, Self)> {
        if let Err(missing) = programs() {
            assert!(!can_run(&format!("conformance::{test}"), Some(missing)));
            return None;
        }
        Some((Self::ours("off").await, Self::envoy().await))
    }

    /// Our binary, with this `GUARD`.
    pub async fn ours(guard: &str) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let environment = [
            ("WORMHOLE_PORTS", port.to_string()),
            ("DISABLE_SVC_CONTROLLER", "true".to_owned()),
            ("PROBE_PORT", String::new()),
            ("GUARD", guard.to_owned()),
        ];
        let log = folder.path().join("log");
        let process = Running::start(&binary::lazyload(), &["global-sidecar".to_owned()], &environment, log).unwrap();
        Self::ready(Kind::Ours, port, process, folder).await
    }

    async fn envoy() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let config = folder.path().join("envoy.json");
        std::fs::write(&config, envoy::config(port).to_string()).unwrap();
        let config = config.to_string_lossy().into_owned();
        let arguments =
            ["-c", &config, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"].map(str::to_owned);
        let log = folder.path().join("log");
        let process = Running::start(&program("envoy"), &arguments, &[], log).unwrap();
        Self::ready(Kind::Envoy, port, process, folder).await
    }

    async fn ready(kind: Kind, port: u16, mut process: Running, folder: TempDir) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(&format!("{kind:?} listens"), Duration::from_secs(60), || {
            let alive = process.ended().map(|ended| ended.is_none());
            let log = process.log();
            async move {
                anyhow::ensure!(alive?, "ended: {log}");
                TcpStream::connect(address).await?;
                anyhow::Ok(())
            }
        })
        .await;
        Self { kind, address, process, _folder: folder }
    }

    /// SIGTERM.
    pub fn terminate(&mut self) {
        self.process.signal("TERM").unwrap();
    }

    /// Waits for its end; the exit code.
    pub async fn end(&mut self, deadline: Duration) -> Option<i32> {
        let process = &mut self.process;
        let ended = async {
            loop {
                if let Some(status) = process.ended().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(deadline, ended).await.expect("an end")
    }

    /// What it has written.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// A program of the testbed.
pub fn program(name: &str) -> PathBuf {
    cache().join("bin").join(name)
}

/// Builds what is missing; the script does nothing if all is there.
fn programs() -> Result<(), &'static str> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let script = repository().join("testbed/cluster.sh");
        process::run(script, &["build", "--only", "conformance"]).map(drop).map_err(|error| error.to_string())
    });
    built.as_ref().copied().map_err(String::as_str)
}
