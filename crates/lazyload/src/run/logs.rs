//! The access-log service beside the engine, and what the other replicas are told of it.

use std::sync::Arc;

use anyhow::Context as _;
use lazyload_logic::observation::Call;
use lazyload_logic::settings::{LogSecurity, MetricSource, Settings};
use lazyload_logic::trust::Believed;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;
use crate::identify::{Current, Keeper, Place};
use crate::observe::relay::Relay;
use crate::observe::{self, Door};
use crate::process::readiness::Readiness;

/// What access logs are secured by.
pub struct Security {
    level: LogSecurity,
    identity: Current,
    /// Whose access logs are believed; the settings may change it.
    pub believed: watch::Sender<Believed>,
}

impl Security {
    /// Keeps an identity in the mesh until the shutdown, where the settings ask for it. It is not waited for.
    pub fn start(
        settings: &Settings,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
        shutdown: &CancellationToken,
    ) -> Self {
        let without = match (settings.source, settings.log_security) {
            (MetricSource::Prometheus, _) | (_, LogSecurity::Off) => None,
            (_, LogSecurity::Permissive) => Some("access logs are taken in plaintext alone"),
            (_, LogSecurity::Strict) => Some("no access logs are taken"),
        };
        let identity = without.map(|without| {
            let (keeper, identity) = Keeper::new(Place::of(settings), metrics.identity(), readiness.clone(), without);
            tokio::spawn(keeper.run(shutdown.clone()));
            identity
        });
        let identity = identity.unwrap_or_else(|| watch::channel(None).1);
        Self { level: settings.log_security, identity, believed: watch::Sender::new(Believed::of(settings)) }
    }

    /// Who may come in.
    pub fn door(&self) -> Door {
        Door::new(self.level, self.identity.clone(), self.believed.subscribe())
    }

    /// How other replicas are told.
    pub fn of_relay(&self, relay: Relay) -> Relay {
        relay.secured(self.level, self.identity.clone())
    }
}

/// The access-log service, where it is the source, and what tells the other replicas.
pub struct Logs {
    server: Option<JoinHandle<Result<(), observe::ObserveError>>>,
    relay: Option<JoinHandle<()>>,
    heard_all: CancellationToken,
}

impl Logs {
    /// Serves until the shutdown. With other replicas, they are told what proxies tell.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn serve(
        listener: Option<(TcpListener, Door)>,
        calls: mpsc::Sender<Vec<Call>>,
        metrics: &Metrics,
        relay: Option<Relay>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let heard_all = CancellationToken::new();
        let Some((listener, door)) = listener else { return Ok(Self { server: None, relay: None, heard_all }) };
        let port = listener.local_addr().context("failed to read the address of the access-log listener")?.port();
        let telling = relay.clone().map(|relay| tokio::spawn(relay.run(port, heard_all.clone())));
        let server = tokio::spawn(observe::serve(listener, door, calls, metrics.observed(), relay, shutdown.clone()));
        Ok(Self { server: Some(server), relay: telling, heard_all })
    }

    /// Waits for the end of the service, then for what is to be told of it.
    ///
    /// # Errors
    /// The service failed.
    pub async fn end(self) -> anyhow::Result<()> {
        if let Some(server) = self.server {
            server.await.context("the access-log service ended badly")??;
        }
        self.heard_all.cancel();
        if let Some(relay) = self.relay {
            relay.await.context("telling the other replicas ended badly")?;
        }
        Ok(())
    }
}
