//! `lazyload controller`: watches, access logs and writes around one engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use lazyload_api::names;
use lazyload_logic::settings::{Context, MetricSource, Settings, resolve};
use lazyload_logic::state::State;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::engine::{EVENT_QUEUE, Engine};
use crate::admin::metrics::Metrics;
use crate::admin::server::{self, Admin};
use crate::apply::kube::KubeWriter;
use crate::cli::ControllerArgs;
use crate::observe;
use crate::process::exit::BadInput;
use crate::process::listen::{check, listen};
use crate::process::readiness::Readiness;
use crate::process::{logging, signals};
use crate::watch;

/// Batches of calls that wait for the engine at most; more are dropped and counted, and seen again with the next request.
const CALL_QUEUE: usize = 1024;

/// Runs the controller until a signal ends it.
///
/// # Errors
/// The settings cannot be used, an address cannot be listened on, or the API server cannot be reached.
pub async fn run(args: ControllerArgs) -> anyhow::Result<()> {
    let (settings, warnings) = read_settings(&args.config)?;
    let level_text = std::env::var("LOG_LEVEL").unwrap_or_else(|_| settings.log_level.clone());
    let level = logging::start(&level_text).map_err(|error| BadInput(error.to_string()))?;
    for warning in warnings {
        tracing::warn!(warning, "settings");
    }
    let pod = std::env::var("POD_NAME").ok();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pod, ?settings, "effective settings");
    let shutdown = signals::shutdown()?;
    let readiness = Readiness::default();
    let metrics = Arc::new(Metrics::default());

    // With Prometheus as the source nobody sends access logs: that port stays closed.
    let log_source = match settings.source {
        MetricSource::AccessLog => Some(listen(&settings.log_source_address)?),
        MetricSource::Prometheus => None,
    };
    let admin = Admin { readiness: readiness.clone(), metrics: metrics.clone(), level: Some(level) };
    let admin_tasks = serve_admin(&settings, &admin, &shutdown)?;

    let client =
        kube::Client::try_default().await.context("failed to find the API server (KUBECONFIG or in-cluster)")?;
    let prometheus = settings.prometheus.clone();
    let (state, problems) = State::new(settings);
    for problem in problems {
        tracing::warn!(problem, "settings");
    }
    let (events_tx, events_rx) = mpsc::channel(EVENT_QUEUE);
    let (calls_tx, calls_rx) = mpsc::channel(CALL_QUEUE);
    let watches = watch::kube::watch_cluster(&client, &events_tx, &metrics);
    let logs = log_source
        .map(|listener| tokio::spawn(observe::serve(listener, calls_tx, metrics.observed(), shutdown.clone())));
    let (questions_tx, questions_rx) = mpsc::channel(1);
    let asking = prometheus.map(|settings| {
        let counters = metrics.prometheus();
        tokio::spawn(observe::prometheus::run(settings, questions_tx, events_tx, counters, shutdown.clone()))
    });

    let mut engine = Engine::new(state, KubeWriter::new(client), metrics, &readiness);
    if asking.is_some() {
        engine = engine.answering(questions_rx);
    }
    engine.run(events_rx, calls_rx, shutdown.clone()).await;
    shutdown.cancel();
    drop(watches);
    if let Some(logs) = logs {
        logs.await.context("the access-log service ended badly")??;
    }
    if let Some(asking) = asking {
        asking.await.context("asking Prometheus ended badly")??;
    }
    for task in admin_tasks {
        task.await.context("an auxiliary endpoint ended badly")??;
    }
    Ok(())
}

type AdminTask = tokio::task::JoinHandle<std::io::Result<()>>;

fn serve_admin(settings: &Settings, admin: &Admin, shutdown: &CancellationToken) -> anyhow::Result<Vec<AdminTask>> {
    let aux = listen(&settings.aux_address)?;
    let metrics = listen(&settings.metrics_address)?;
    Ok(vec![
        tokio::spawn(server::serve(aux, admin.clone(), shutdown.clone())),
        tokio::spawn(server::serve_metrics(metrics, admin.clone(), shutdown.clone())),
    ])
}

/// Reads a module entry; a missing file at the default place means default settings.
fn read_settings(path: &Path) -> anyhow::Result<(Settings, Vec<String>)> {
    let entry = match std::fs::read_to_string(path) {
        Ok(text) => serde_saphyr::from_str::<serde_json::Value>(&text)
            .map_err(|error| BadInput(format!("{}: expected a module entry: {error}", path.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == Path::new(names::DEFAULT_CONFIG_PATH) => {
            serde_json::json!({})
        }
        Err(error) => return Err(BadInput(format!("failed to read {}: {error}", path.display())).into()),
    };
    let own_namespace = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let context = Context {
        component_type: None,
        namespace: own_namespace("POD_NAMESPACE").or_else(|| own_namespace("WATCH_NAMESPACE")),
    };
    let resolved = resolve(&entry, &context).map_err(|error| BadInput(format!("{}: {error}", path.display())))?;
    let settings = resolved.settings;
    for (field, address) in [
        ("logSourcePort", &settings.log_source_address),
        ("aux-addr", &settings.aux_address),
        ("metrics-addr", &settings.metrics_address),
    ] {
        check(address).map_err(|error| BadInput(format!("{}: global.misc.{field}: {error}", path.display())))?;
    }
    Ok((settings, resolved.warnings))
}
