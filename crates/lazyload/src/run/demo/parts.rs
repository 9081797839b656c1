//! Everything that runs in a demo, in one process: the real parts around the folder, the simulated ones where a mesh would be.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use lazyload_logic::settings::Settings;
use lazyload_logic::state::State;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;
use crate::apply::folder::FolderWriter;
use crate::ask;
use crate::console::{self, Console};
use crate::folder::{Folder, Keeping, Problem};
use crate::forward::guard::Guard;
use crate::forward::limits::Limits;
use crate::forward::services::ServiceNames;
use crate::observe::{self, Door};
use crate::process::listen::bind;
use crate::process::readiness::Readiness;
use crate::run::engine::{EVENT_QUEUE, Engine};
use crate::run::global_sidecar::{self, GlobalSidecarConfig, Listen, Services};
use crate::simulate::{self, Line, Mesh, Real};
use crate::watch::folder::watch_folder;

/// Batches of calls that wait for the engine at most.
const CALL_QUEUE: usize = 64;

/// A running demo.
pub struct Parts {
    /// The cluster.
    pub folder: Folder,
    /// The same, as a mesh.
    pub mesh: Mesh,
    /// The effective settings.
    pub settings: Settings,
    /// What is worth knowing about the settings.
    pub remarks: Vec<String>,
    /// What the simulated proxies log.
    pub lines: mpsc::UnboundedReceiver<Line>,
    /// What is wrong in the folder, as it happens.
    pub problems: mpsc::UnboundedReceiver<Vec<Problem>>,
    /// Where the forwarder listens.
    pub forwarder: Option<SocketAddr>,
    /// Where the access-log server listens.
    pub access_log: SocketAddr,
    /// Where the console is.
    pub console: SocketAddr,
    lines_tx: mpsc::UnboundedSender<Line>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    watches: JoinSet<()>,
}

/// Starts the controller on a folder, and the simulated mesh with its global-sidecar.
///
/// # Errors
/// The folder or an address in it cannot be used.
pub async fn start(directory: &Path, shutdown: &CancellationToken) -> anyhow::Result<Parts> {
    let mut parts = start_controller(directory, shutdown)?;
    let namespace = parts.settings.global_sidecar_namespace().to_owned();
    let pod = parts.mesh.find_service(lazyload_api::names::GLOBAL_SIDECAR, &namespace);
    let pod = pod.and_then(|service| parts.mesh.endpoints(&service).into_iter().next());
    let pod =
        pod.with_context(|| format!("the folder has no Pod of the Service global-sidecar in namespace {namespace}"))?;
    let limits = Limits { drain_grace: Duration::ZERO, drain_in_flight: Duration::from_secs(1), ..Limits::default() };
    let forwarder = global_sidecar::start(GlobalSidecarConfig {
        listen: Listen::Addresses(vec![SocketAddr::new(pod.address, 0)]),
        services: Services::Given(ServiceNames::Any),
        probe_port: None,
        prefer_listener_port: false,
        clean_up_ports: false,
        access_log: false,
        guard: Guard::Off,
        limits,
        cores: 1,
    })
    .await?;
    let address = forwarder.addresses.first().copied().context("the forwarder listens nowhere")?;
    parts.tasks.push(tokio::spawn(forwarder.serve_until(shutdown.clone())));
    let real = Real { forwarder: address, access_log: parts.access_log };
    let mesh = parts.mesh.clone();
    let simulation = simulate::start(mesh, parts.settings.clone(), real, parts.lines_tx.clone(), shutdown.clone())?;
    parts.tasks.push(simulation);
    parts.forwarder = Some(address);
    Ok(parts)
}

/// Starts the controller alone on a folder.
///
/// # Errors
/// The folder has a problem, or cannot be watched.
pub fn start_controller(directory: &Path, shutdown: &CancellationToken) -> anyhow::Result<Parts> {
    let folder = Folder::open(directory, Keeping::Files)?;
    let chosen = ask::choose(&folder)?;
    let (state, problems) = State::new(chosen.settings.clone());
    let mut remarks = chosen.remarks;
    remarks.extend(problems);

    let metrics = Arc::new(Metrics::default());
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let (calls_tx, calls) = mpsc::channel(CALL_QUEUE);
    let (problems_tx, problems) = mpsc::unbounded_channel();
    let (lines_tx, lines) = mpsc::unbounded_channel();
    let watches = watch_folder(&folder, events_tx, problems_tx)?;
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let access_log = listener.local_addr()?;
    let logs = observe::serve(listener, Door::open(), calls_tx, metrics.observed(), None, shutdown.clone());
    let logs = tokio::spawn(async move {
        if let Err(error) = logs.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the access-log server ended");
        }
    });
    let readiness = Readiness::default();
    let (window, viewed) = console::window();
    let console = Console::new(window, metrics.clone(), readiness.clone(), &[], shutdown.clone());
    let (console, at) = serve_console(console)?;
    let engine = Engine::new(state, FolderWriter::new(folder.clone()), metrics, &readiness).viewed_by(viewed);
    let engine = tokio::spawn(engine.run(events, calls, shutdown.clone()));
    Ok(Parts {
        mesh: Mesh::new(folder.clone()),
        folder,
        settings: chosen.settings,
        remarks,
        lines,
        problems,
        forwarder: None,
        access_log,
        console: at,
        lines_tx,
        shutdown: shutdown.clone(),
        tasks: vec![logs, engine, console],
        watches,
    })
}

fn serve_console(console: Console) -> anyhow::Result<(JoinHandle<()>, SocketAddr)> {
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let at = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        if let Err(error) = console::serve(listener, console).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the console ended");
        }
    });
    Ok((serving, at))
}

impl Parts {
    /// Ends everything and waits for it.
    ///
    /// # Errors
    /// A part did not end well.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.watches.shutdown().await;
        for task in self.tasks {
            task.await.context("a part of the demo ended badly")?;
        }
        Ok(())
    }
}
