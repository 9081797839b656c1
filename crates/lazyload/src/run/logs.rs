//! The access-log service beside the engine, and what the other replicas are told of it.

use anyhow::Context as _;
use lazyload_logic::observation::Call;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;
use crate::observe;
use crate::observe::relay::Relay;

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
        listener: Option<TcpListener>,
        calls: mpsc::Sender<Vec<Call>>,
        metrics: &Metrics,
        relay: Option<Relay>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let heard_all = CancellationToken::new();
        let Some(listener) = listener else { return Ok(Self { server: None, relay: None, heard_all }) };
        let port = listener.local_addr().context("failed to read the address of the access-log listener")?.port();
        let telling = relay.clone().map(|relay| tokio::spawn(relay.run(port, heard_all.clone())));
        let server = tokio::spawn(observe::serve(listener, calls, metrics.observed(), relay, shutdown.clone()));
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
