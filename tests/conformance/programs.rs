//! Other people's programs: started, waited for, read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::proxy::program;
use crate::apiserver::cluster::cache;
use crate::support::repository;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;

/// What a program did.
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a program to its end; one that takes longer than `limit` is killed.
pub async fn run(program: &Path, arguments: &[String], limit: Duration) -> anyhow::Result<Ended> {
    let mut command = Command::new(program);
    command.args(arguments).env("PYTHONPATH", cache().join("python")).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = || program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = tokio::time::timeout(limit, command.output()).await;
    let output = output.with_context(|| format!("{} took longer than {limit:?}", name()))?.with_context(name)?;
    Ok(Ended {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A program that serves while a test runs.
pub struct Serving {
    pub address: SocketAddr,
    _process: Running,
    _folder: TempDir,
}

impl Serving {
    /// Starts one whose arguments say the port.
    pub async fn start(name: &str, arguments: impl Fn(u16) -> Vec<String>) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let process = Running::start(&program(name), &arguments(port), &[], folder.path().join("log")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(&format!("{name} listens"), Duration::from_secs(30), || TcpStream::connect(address)).await;
        Self { address, _process: process, _folder: folder }
    }

    /// A destination of HTTP/1.1, HTTP/2 and WebSocket.
    pub async fn destination() -> Self {
        Self::start("conformance", |port| vec!["destination".to_owned(), format!("127.0.0.1:{port}")]).await
    }
}

/// A file of the suite.
pub fn source(name: &str) -> PathBuf {
    repository().join("testbed/conformance").join(name)
}
