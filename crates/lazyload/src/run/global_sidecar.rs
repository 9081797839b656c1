//! `lazyload global-sidecar`: environment -> [`GlobalSidecarConfig`] -> a running forwarder.
//!
//! [`start`] also serves the demo and tests: with [`Listen::Addresses`] and [`Services::Given`] nothing outside this process is needed.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::forward::guard::Guard;
use crate::forward::limits::Limits;
use crate::forward::loops::Loops;
use crate::forward::metrics::Metrics;
use crate::forward::port_list::{self, PortSet};
use crate::forward::ports::{PortRules, Ports};
use crate::forward::services::{self, Names, ServiceNames};
use crate::forward::{Forwarder, probe};
use crate::process::exit::BadInput;
use crate::process::listen::{bind, listen_everywhere};
use crate::process::readiness::Readiness;
use crate::process::{logging, signals};

/// Port of the health probes unless PROBE_PORT says otherwise.
const DEFAULT_PROBE_PORT: u16 = 18181;

/// What a global-sidecar is to do.
#[derive(Clone, Debug)]
pub struct GlobalSidecarConfig {
    /// Where to listen.
    pub listen: Listen,
    /// Where the names of Services come from.
    pub services: Services,
    /// Port of the health probes; none without.
    pub probe_port: Option<u16>,
    /// Requests without Slime-Orig-Dest are dialled on the port on which they came.
    pub prefer_listener_port: bool,
    /// Close a port that is not listed any more.
    pub clean_up_ports: bool,
    /// One log line for each request.
    pub access_log: bool,
    /// Whom to believe, and what to dial.
    pub guard: Guard,
    /// Timeouts and sizes.
    pub limits: Limits,
    /// How many cores to use.
    pub cores: usize,
}

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Listen {
    /// Exactly here, no more and no less; port 0 is any free one.
    Addresses(Vec<SocketAddr>),
    /// On these ports of every interface, and 80.
    Ports(PortSet),
    /// On the ports that the ConfigMap lists, and 80.
    ConfigMap {
        /// Where the ConfigMap is; without, the namespace of the service account or of the kubeconfig.
        namespace: Option<String>,
    },
}

/// Where the names of Services come from.
#[derive(Clone, Debug)]
pub enum Services {
    /// From the API server.
    Watched,
    /// From the caller.
    Given(ServiceNames),
}

impl GlobalSidecarConfig {
    /// Reads the environment through `variable`.
    ///
    /// # Errors
    /// A variable that is neither absent nor of the expected form.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, BadInput> {
        let truth = |name: &str| match variable(name).as_deref() {
            None | Some("" | "false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(BadInput(format!("environment variable {name} is {other:?}: expected true or false"))),
        };
        let bad = |name: &'static str| move |error| BadInput(format!("environment variable {name}: {error}"));
        let bad_guard = |error: String| BadInput(format!("environment variable GUARD is {error}"));
        let probe_port = match variable("PROBE_PORT").as_deref() {
            None => Some(DEFAULT_PROBE_PORT),
            Some("") => None,
            Some(port) => Some(port_list::parse_port(port).map_err(bad("PROBE_PORT"))?),
        };
        let listen = match variable("WORMHOLE_PORTS").filter(|list| !list.is_empty()) {
            Some(list) => Listen::Ports(port_list::parse_list(&list).map_err(bad("WORMHOLE_PORTS"))?),
            None => {
                Listen::ConfigMap { namespace: variable("POD_NAMESPACE").filter(|namespace| !namespace.is_empty()) }
            }
        };
        let unwatched = truth("DISABLE_SVC_CONTROLLER")?;
        Ok(Self {
            listen,
            services: if unwatched { Services::Given(ServiceNames::Any) } else { Services::Watched },
            probe_port,
            prefer_listener_port: truth("WORMHOLE_PORT_PRIOR_TO_HOST_PORT")?,
            clean_up_ports: truth("CLEAN_UP_WORMHOLE_PORT")?,
            access_log: truth("ACCESS_LOG")?,
            guard: variable("GUARD").unwrap_or_default().parse::<Guard>().map_err(bad_guard)?,
            limits: Limits::default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

/// A running global-sidecar.
pub struct GlobalSidecar {
    /// Where it listens, in the order of [`Listen::Addresses`]; empty for the other kinds, whose ports come and go.
    pub addresses: Vec<SocketAddr>,
    /// What it waits for before it is ready.
    pub readiness: Readiness,
    forwarder: Forwarder,
    probes_end: CancellationToken,
    /// Watches and probes; they end with this value.
    tasks: JoinSet<()>,
}

/// Runs until SIGTERM or SIGINT, with everything from the environment.
///
/// # Errors
/// The environment cannot be used, or something that must be there from the start is not.
pub async fn run() -> anyhow::Result<()> {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    let level = if level.is_empty() { "info" } else { &level };
    logging::start(level).map_err(|error| BadInput(format!("environment variable LOG_LEVEL: {error}")))?;
    let config = GlobalSidecarConfig::from_env(|name| std::env::var(name).ok())?;
    let shutdown = signals::shutdown()?;
    tokio::select! {
        started = start(config) => started?.serve_until(shutdown).await,
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

/// Starts a global-sidecar; what it cannot have at once it waits for, see [`GlobalSidecar::readiness`].
///
/// # Errors
/// One of the addresses or the probe port cannot be opened, or there is no access to Kubernetes where it is asked for.
pub async fn start(config: GlobalSidecarConfig) -> anyhow::Result<GlobalSidecar> {
    let readiness = Readiness::default();
    let starting = readiness.awaits("the start");
    let probes_end = CancellationToken::new();
    let metrics = Arc::<Metrics>::default();
    let mut tasks = JoinSet::new();
    if let Some(port) = config.probe_port {
        let listener = listen_everywhere(port).context("health probes (PROBE_PORT)")?;
        tasks.spawn(probe::serve(listener, readiness.clone(), Arc::clone(&metrics), probes_end.clone()));
    }
    let needs_client =
        matches!(config.services, Services::Watched) || matches!(config.listen, Listen::ConfigMap { .. });
    let client = if needs_client { Some(kubernetes().await?) } else { None };
    let names = match (config.services, &client) {
        (Services::Given(names), _) => names,
        (Services::Watched, Some(client)) => {
            let (names_tx, names_rx) = watch::channel(Names::new());
            tasks.spawn(services::follow(client.clone(), names_tx, readiness.awaits("the list of Services")));
            ServiceNames::Known(names_rx)
        }
        (Services::Watched, None) => anyhow::bail!("Services cannot be watched without access to Kubernetes"),
    };
    let loops = Loops::of_cores(config.cores).context("event loops")?;
    let forwarder = Forwarder::new(
        names,
        config.prefer_listener_port,
        config.access_log,
        config.guard,
        config.limits,
        loops,
        metrics,
    );
    let rules = PortRules { clean_up: config.clean_up_ports, probe: config.probe_port };
    let mut ports = Ports::new(forwarder.clone(), readiness.clone(), rules);
    let mut addresses = Vec::new();
    match (config.listen, client) {
        (Listen::Addresses(wanted), _) => {
            for address in wanted {
                let listener = bind(address)?;
                addresses.push(listener.local_addr()?);
                forwarder.serve(listener);
            }
        }
        (Listen::Ports(listed), _) => ports.follow(&listed),
        (Listen::ConfigMap { namespace }, Some(client)) => {
            let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
            follow_config_map(&mut tasks, client, namespace, ports, &readiness);
        }
        (Listen::ConfigMap { .. }, None) => {
            anyhow::bail!("the port list cannot be watched without access to Kubernetes")
        }
    }
    drop(starting);
    Ok(GlobalSidecar { addresses, readiness, forwarder, probes_end, tasks })
}

impl GlobalSidecar {
    /// Serves until `shutdown`, then drains: not ready at once, no request lost, see [`Forwarder::drain`].
    pub async fn serve_until(mut self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        let _never_ready_again = self.readiness.awaits("the end: this process is shutting down");
        self.forwarder.drain().await;
        self.probes_end.cancel();
        self.tasks.shutdown().await;
    }
}

async fn kubernetes() -> anyhow::Result<kube::Client> {
    kube::Client::try_default()
        .await
        .context("no access to Kubernetes; WORMHOLE_PORTS=PORT,… and DISABLE_SVC_CONTROLLER=true together do without")
}

fn follow_config_map(
    tasks: &mut JoinSet<()>,
    client: kube::Client,
    namespace: String,
    mut ports: Ports,
    readiness: &Readiness,
) {
    let mut awaited = Some(readiness.awaits(format!("a readable port list in a ConfigMap of namespace {namespace}")));
    let (ports_tx, mut ports_rx) = watch::channel(None::<PortSet>);
    tasks.spawn(async move { port_list::follow(client, &namespace, ports_tx).await });
    tasks.spawn(async move {
        while ports_rx.changed().await.is_ok() {
            let listed = ports_rx.borrow_and_update().clone();
            if let Some(listed) = listed {
                tracing::info!(?listed, "port list");
                ports.follow(&listed);
                drop(awaited.take());
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<GlobalSidecarConfig, BadInput> {
        GlobalSidecarConfig::from_env(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_variables_the_config_map_and_the_services_are_watched() {
        let config = from(&[]).unwrap();
        assert!(matches!(config.listen, Listen::ConfigMap { namespace: None }));
        assert!(matches!(config.services, Services::Watched));
        assert_eq!(
            (config.probe_port, config.prefer_listener_port, config.clean_up_ports),
            (Some(18181), false, false)
        );
    }

    #[test]
    fn a_fixed_list_replaces_the_config_map() {
        let config = from(&[("WORMHOLE_PORTS", "9080,80"), ("DISABLE_SVC_CONTROLLER", "true")]).unwrap();
        assert!(matches!(config.listen, Listen::Ports(ports) if ports == PortSet::from([80, 9080])));
        assert!(matches!(config.services, Services::Given(ServiceNames::Any)));
    }

    #[test]
    fn an_empty_probe_port_means_no_probes() {
        assert_eq!(from(&[("PROBE_PORT", "")]).unwrap().probe_port, None);
    }

    #[test]
    fn a_variable_of_the_wrong_form_is_named() {
        for variable in
            [("GUARD", "maybe"), ("PROBE_PORT", "x"), ("WORMHOLE_PORTS", "80;90"), ("CLEAN_UP_WORMHOLE_PORT", "maybe")]
        {
            assert!(from(&[variable]).unwrap_err().0.contains(variable.0));
        }
    }
}
