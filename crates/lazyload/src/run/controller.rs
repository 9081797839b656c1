//! `lazyload controller`: watches, access logs and writes around one engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use lazyload_logic::boot::controller_needs;
use lazyload_logic::settings::{Context, MetricSource, Settings};
use lazyload_logic::state::State;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine::{EVENT_QUEUE, Engine};
use super::logs::{Logs, Security};
use super::reload::{Reload, warn};
use super::replica::Replica;
use super::self_check;
use crate::admin::metrics::Metrics;
use crate::admin::server::{self, Admin};
use crate::apply::kube::KubeWriter;
use crate::cli::ControllerArgs;
use crate::console::{self, Console};
use crate::observe;
use crate::observe::proxies::Proxies;
use crate::process::api_server;
use crate::process::exit::BadInput;
use crate::process::listen::{check, listen};
use crate::process::readiness::Readiness;
use crate::process::{logging, signals};
use crate::trace::Traces;
use crate::watch;
use crate::watch::settings::SettingsFile;

/// Batches of calls that wait for the engine at most; more are dropped and counted, and seen again with the next request.
const CALL_QUEUE: usize = 1024;

/// Runs the controller until a signal ends it.
///
/// # Errors
/// The settings cannot be used, an address cannot be listened on, or the API server cannot be reached.
pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let mut file = SettingsFile::new(&args.config, context());
    let (settings, warnings) = read_settings(&args.config, &mut file)?;
    let level_of_process = std::env::var("LOG_LEVEL").ok();
    let level_text = level_of_process.as_ref().unwrap_or(&settings.log_level);
    let started = logging::start_to(level_text, settings.log_file.as_ref());
    let (level, output) = started.map_err(|error| BadInput(error.to_string()))?;
    warn(&warnings);
    let pod = std::env::var("POD_NAME").ok();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pod, settings = settings.effective(), "effective settings");
    let shutdown = signals::shutdown()?;
    let traces = Traces::from_environment()?;
    let readiness = Readiness::default();
    // Whoever asks before the engine awaits its lists is told to wait, and nobody leads before.
    let starting = readiness.awaits("its own start");
    let metrics = Arc::new(Metrics::default());

    // With Prometheus as the source nobody sends access logs: that port stays closed.
    let log_source = match settings.source {
        MetricSource::AccessLog => Some(listen(&settings.log_source_address)?),
        MetricSource::Prometheus => None,
    };
    let admin = Admin { readiness: readiness.clone(), metrics: metrics.clone(), level: Some(level.clone()) };
    let (window, viewed) = console::window();
    let mut admin_tasks = serve_admin(&settings, &admin, console::timelines(window.clone()), &shutdown)?;
    let console = Console::new(window, metrics.clone(), readiness.clone(), &settings.console_hosts, shutdown.clone());
    admin_tasks.extend(serve_console(&settings, console.of_replica(pod)));

    let client = api_server::client().await?;
    let own_namespace = context().namespace.unwrap_or_else(|| settings.slime_namespace.clone());
    let needs = controller_needs(&settings, &own_namespace);
    let apply = "apply the roles that `lazyload render` prints for the SlimeBoot, or let the operator do so";
    let rights = tokio::spawn(self_check::check(client.clone(), needs, apply, readiness.clone(), None));
    let prometheus = settings.prometheus.clone();
    let (state, problems) = State::new(settings.clone());
    warn(&problems);
    let (events_tx, events_rx) = mpsc::channel(EVENT_QUEUE);
    let (calls_tx, calls_rx) = mpsc::channel(CALL_QUEUE);
    let (relist_tx, relist_rx) = tokio::sync::watch::channel(());
    let watches = watch::kube::watch_cluster(&client, &events_tx, &metrics, &relist_rx);
    let mut replica = Replica::start(&client, &settings, context().namespace, &metrics, &readiness)?;
    let security = Security::start(&settings, &metrics, &readiness, &shutdown);
    let relay = replica.as_ref().map(|replica| security.of_relay(replica.relay.clone()));
    let log_source = log_source.map(|listener| (listener, security.door()));
    let logs = Logs::serve(log_source, calls_tx, &metrics, relay, &shutdown)?;
    let level = Some(level).filter(|_| level_of_process.is_none());
    let (believed, events) = (security.believed, events_tx.downgrade());
    let reload = Reload { file, running: settings, level, output, believed, events, metrics: metrics.clone() };
    let reload = tokio::spawn(reload.run());
    let (questions_tx, questions_rx) = mpsc::channel(1);
    let asking = prometheus.map(|settings| {
        let counters = metrics.prometheus();
        tokio::spawn(observe::prometheus::run(settings, questions_tx, events_tx, counters, shutdown.clone()))
    });

    let writing = replica.as_ref().map_or_else(|| client.clone(), Replica::writing_client);
    let mut engine = Engine::new(state, KubeWriter::new(writing, metrics.events_dropped()), metrics, &readiness)
        .asking(Proxies::default())
        .traced(traces.clone())
        .viewed_by(viewed);
    if asking.is_some() {
        engine = engine.answering(questions_rx);
    }
    if let Some(replica) = &replica {
        engine = engine.led_by(replica.lead.clone(), relist_tx);
    }
    drop(starting);
    tokio::select! {
        () = engine.run(events_rx, calls_rx, shutdown.clone()) => {}
        lost = lost(&mut replica) => return lost,
    }
    if let Some(replica) = replica {
        replica.give_up().await?;
    }
    shutdown.cancel();
    reload.abort();
    rights.abort();
    drop(watches);
    logs.end().await?;
    traces.end().await;
    if let Some(asking) = asking {
        asking.await.context("asking Prometheus ended badly")??;
    }
    for task in admin_tasks {
        task.await.context("an auxiliary endpoint ended badly")??;
    }
    Ok(())
}

/// Waits until another replica leads instead of this one; for ever if there is no other.
async fn lost(replica: &mut Option<Replica>) -> anyhow::Result<()> {
    match replica {
        Some(replica) => replica.lost().await,
        None => std::future::pending().await,
    }
}

type AdminTask = tokio::task::JoinHandle<std::io::Result<()>>;

fn serve_admin(
    settings: &Settings,
    admin: &Admin,
    more: Router,
    shutdown: &CancellationToken,
) -> anyhow::Result<Vec<AdminTask>> {
    let aux = listen(&settings.aux_address)?;
    let metrics = listen(&settings.metrics_address)?;
    Ok(vec![
        tokio::spawn(server::serve(aux, admin.clone(), more, shutdown.clone())),
        tokio::spawn(server::serve_metrics(metrics, admin.clone(), shutdown.clone())),
    ])
}

/// Nobody depends on the console: a controller whose port for it is taken goes on without one.
fn serve_console(settings: &Settings, console: Console) -> Option<AdminTask> {
    let listener = listen(settings.console_address.as_deref()?);
    let listener = listener.inspect_err(|error| {
        let setting = "global.misc.console-addr: HOST:PORT moves it, off ends this warning";
        tracing::warn!(error = error as &dyn std::error::Error, setting, "there is no console");
    });
    Some(tokio::spawn(console::serve(listener.ok()?, console)))
}

/// What is known of the installation besides the settings.
fn context() -> Context {
    let own_namespace = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    Context {
        component_type: None,
        namespace: own_namespace("POD_NAMESPACE").or_else(|| own_namespace("WATCH_NAMESPACE")),
    }
}

fn read_settings(path: &Path, file: &mut SettingsFile) -> anyhow::Result<(Settings, Vec<String>)> {
    let read = file.read().context("the settings were read before")?;
    let resolved = read.map_err(|error| BadInput(error.to_string()))?;
    let settings = resolved.settings;
    let listeners = [
        ("logSourcePort", &settings.log_source_address),
        ("aux-addr", &settings.aux_address),
        ("metrics-addr", &settings.metrics_address),
    ];
    for (field, address) in listeners.into_iter().chain(settings.console_address.iter().map(|at| ("console-addr", at)))
    {
        check(address).map_err(|error| BadInput(format!("{}: global.misc.{field}: {error}", path.display())))?;
    }
    Ok((settings, resolved.warnings))
}
