//! Programs that run beside a benchmark and end with it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Context;
use tokio::process::{Child, Command};

/// A process that ends with this value.
pub struct Running {
    child: Child,
    pub pid: u32,
}

impl Running {
    /// Starts a program that writes to a log.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let pid = child.id().context("ended at once")?;
        Ok(Self { child, pid })
    }

    /// Kills it, and waits for its end.
    pub async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => anyhow::bail!("it ended: {status}"),
            None => Ok(()),
        }
    }
}

/// A loopback port that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
