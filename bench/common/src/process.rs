//! Programs that run beside a benchmark and end with it.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, bail};
use tokio::process::{Child, ChildStdout, Command};

/// A process that ends with this value.
pub struct Running {
    child: Child,
    pub pid: u32,
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let child = command.kill_on_drop(true).spawn().with_context(|| format!("failed to start {command:?}"))?;
        let pid = child.id().context("ended at once")?;
        Ok(Self { child, pid })
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended: {status}"),
            None => Ok(()),
        }
    }

    /// What it writes, if that was piped.
    pub fn output(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Kills it, and waits for its end.
    pub async fn end(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A loopback port that nobody listens on.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
