//! Keeps the open ports equal to the wanted ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::failure::chain;
use super::port_list::PortSet;
use super::{Forwarder, Shared};
use crate::process::listen::listen_everywhere;
use crate::process::readiness::{Awaited, Readiness};

/// Served even if nobody lists it, as ever; but then it is no failure if the system does not allow it.
const ALWAYS_TRIED: u16 = 80;

/// How to treat ports.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortRules {
    /// Close a port that is not listed any more; otherwise it keeps serving.
    pub clean_up: bool,
    /// The probe's port, which serves no traffic.
    pub probe: Option<u16>,
}

/// The ports that are open or about to be.
pub struct Ports {
    forwarder: Forwarder,
    readiness: Readiness,
    rules: PortRules,
    by_port: BTreeMap<u16, Port>,
}

struct Port {
    listed: bool,
    is_open: Arc<AtomicBool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Ports {
    /// No ports yet.
    #[must_use]
    pub fn new(forwarder: Forwarder, readiness: Readiness, rules: PortRules) -> Self {
        Self { forwarder, readiness, rules, by_port: BTreeMap::new() }
    }

    /// Opens what is listed and not open. Each listed port is awaited by the readiness until it is open, and tried again until then.
    pub fn follow(&mut self, listed: &PortSet) {
        let mut listed = listed.clone();
        if let Some(probe) = self.rules.probe
            && listed.remove(&probe)
        {
            tracing::warn!(port = probe, "port is in the port list, but health probes are answered on it: skipped");
        }
        let mut redirected = listed.clone();
        redirected.insert(ALWAYS_TRIED);
        self.forwarder.shared.guarded.redirected(&redirected);
        for &port in &listed {
            self.want(port, true);
        }
        if !listed.contains(&ALWAYS_TRIED) && self.rules.probe != Some(ALWAYS_TRIED) {
            self.want(ALWAYS_TRIED, false);
        }
        let clean_up = self.rules.clean_up;
        self.by_port.retain(|&number, port| {
            if listed.contains(&number) || number == ALWAYS_TRIED {
                return true;
            }
            let keep = port.is_open.load(Ordering::Relaxed) && !clean_up;
            if keep && port.listed {
                tracing::info!(port = number, "port is not listed any more; it keeps serving (CLEAN_UP_WORMHOLE_PORT)");
            } else if !keep {
                tracing::info!(port = number, "port is not listed any more; closing it");
                port.stop.cancel();
            }
            port.listed = false;
            keep
        });
    }

    fn want(&mut self, number: u16, listed: bool) {
        if let Some(port) = self.by_port.get_mut(&number)
            && (!port.task.is_finished() || !listed)
        {
            port.listed = listed;
            return;
        }
        let awaited = listed.then(|| self.readiness.awaits(format!("port {number} to be open")));
        let is_open = Arc::new(AtomicBool::new(false));
        let stop = self.forwarder.shared.stop.child_token();
        let opening = Opening {
            shared: Arc::clone(&self.forwarder.shared),
            readiness: self.readiness.clone(),
            port: number,
            is_open: Arc::clone(&is_open),
            stop: stop.clone(),
        };
        let task = self.forwarder.shared.tasks.spawn(opening.run(awaited));
        self.by_port.insert(number, Port { listed, is_open, stop, task });
    }
}

struct Opening {
    shared: Arc<Shared>,
    readiness: Readiness,
    port: u16,
    is_open: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Opening {
    async fn run(self, awaited: Option<Awaited>) {
        let opened = match awaited {
            Some(awaited) => self.persist(awaited).await,
            None => self.try_once(),
        };
        if let Some(listener) = opened {
            tracing::info!(port = self.port, "serving");
            self.is_open.store(true, Ordering::Relaxed);
            self.shared.accept(listener, self.stop).await;
        }
    }

    fn try_once(&self) -> Option<TcpListener> {
        listen_everywhere(self.port)
            .inspect_err(|error| {
                let reason = describe(error);
                tracing::warn!(
                    port = self.port,
                    reason,
                    "port is not in the port list and could not be opened: not served"
                );
            })
            .ok()
    }

    async fn persist(&self, mut awaited: Awaited) -> Option<TcpListener> {
        let mut pause = self.shared.limits.bind_retry;
        loop {
            let reason = match listen_everywhere(self.port) {
                Ok(listener) => return Some(listener),
                Err(error) => describe(&error),
            };
            tracing::warn!(port = self.port, reason, "failed to open a port; trying again");
            let next = self.readiness.awaits(format!("port {} to be open: {reason}", self.port));
            drop(std::mem::replace(&mut awaited, next));
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(self.shared.limits.bind_retry_max),
                () = self.stop.cancelled() => return None,
            }
        }
    }
}

fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let parts: Vec<String> = chain(error).map(ToString::to_string).collect();
    parts.join(": ")
}
