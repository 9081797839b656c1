//! One controller of several, or the only one: who writes, and who is told what was heard.

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use lazyload_logic::settings::Settings;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;
use crate::lead::{Election, Lead, LeadLost, gated, label, peers};
use crate::observe::relay::Relay;
use crate::process::exit::BadInput;
use crate::process::readiness::Readiness;

/// What a controller needs to be one of several.
pub struct Replica {
    /// Whether this one writes.
    pub lead: Lead,
    /// Tells the others what was heard.
    pub relay: Relay,
    client: Client,
    election: JoinHandle<Result<(), LeadLost>>,
    give_up: CancellationToken,
    tasks: JoinSet<()>,
}

impl Replica {
    /// Takes part in the election of the settings' lease, once everything is listed; `None` if there is no other replica. `namespace` is the
    /// pod's own, where it is known.
    ///
    /// # Errors
    /// The pod does not know its name.
    pub fn start(
        client: &Client,
        settings: &Settings,
        namespace: Option<String>,
        metrics: &Arc<Metrics>,
        readiness: &Readiness,
    ) -> anyhow::Result<Option<Self>> {
        let Some(lease) = &settings.lease else { return Ok(None) };
        let namespace = namespace.unwrap_or_else(|| settings.slime_namespace.clone());
        let Some(pod) = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty()) else {
            let message = "global.misc.enableLeaderElection: expected the environment variable POD_NAME with the name of this pod, \
                           got nothing; set it by the downward API, as `lazyload render` does";
            return Err(BadInput(message.to_owned()).into());
        };
        let module = settings.module_name.clone();
        let (election, lead) =
            Election::new(client.clone(), &namespace, lease, &pod, metrics.clone(), readiness.clone());
        let (peers_tx, peers_rx) = watch::channel(peers::Peers::default());
        let relay = Relay::new(peers_rx, metrics.observed());
        let mut tasks = JoinSet::new();
        tasks.spawn(peers::watch(client.clone(), namespace.clone(), module.clone(), pod.clone(), peers_tx));
        tasks.spawn(label::keep(client.clone(), namespace, module, pod, lead.clone()));
        let give_up = CancellationToken::new();
        let stop = give_up.clone();
        let readiness = readiness.clone();
        let election = tokio::spawn(async move {
            tokio::select! {
                // Who cannot see everything is no good leader.
                () = readiness.reached() => {}
                () = stop.cancelled() => return Ok(()),
            }
            election.run(stop).await
        });
        Ok(Some(Self { lead, relay, client: client.clone(), election, give_up, tasks }))
    }

    /// A client that writes only while this replica leads.
    #[must_use]
    pub fn writing_client(&self) -> Client {
        gated(&self.client, self.lead.clone())
    }

    /// Waits until the lead is lost, if it ever is.
    ///
    /// # Errors
    /// It is lost.
    pub async fn lost(&mut self) -> anyhow::Result<()> {
        (&mut self.election).await.context("the election ended badly")??;
        std::future::pending().await
    }

    /// Lets another replica lead: nothing is written any more.
    ///
    /// # Errors
    /// The lead was lost before.
    pub async fn give_up(mut self) -> anyhow::Result<()> {
        self.give_up.cancel();
        self.tasks.shutdown().await;
        Ok(self.election.await.context("the election ended badly")??)
    }
}
