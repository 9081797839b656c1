//! The life of a candidate: look, take, renew, give up. A process that lost the lease ends; it never leads twice.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use lazyload_logic::election::{Candidate, LOOK_EVERY, RENEW_EVERY, RENEW_WITHIN, Step};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::hold::{Lead, Until};
use super::lease::{LeaseClient, LeaseError, record};
use crate::admin::metrics::Metrics;
use crate::process::readiness::Readiness;

/// The lease is gone: another replica writes now, or will.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeadLost {
    /// Another replica has it.
    #[error("lost the lease {lease} to {holder}; ending, so that only one replica writes")]
    Taken {
        /// The lease.
        lease: String,
        /// Its holder.
        holder: String,
    },
    /// It could not be renewed.
    #[error(
        "failed to renew the lease {lease} within {} s; ending, so that only one replica writes (look at the API server, and at \
         what is between it and this pod): {last}",
        RENEW_WITHIN.as_secs()
    )]
    NotRenewed {
        /// The lease.
        lease: String,
        /// What went wrong last.
        last: String,
    },
}

/// Of what is told beside the readiness.
const TOPIC: &str = "leader";

/// One replica's part in the election.
pub(crate) struct Election {
    client: LeaseClient,
    name: String,
    candidate: Candidate,
    grant: watch::Sender<Until>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    clock: Instant,
    told: Option<String>,
}

/// A lease that is ours, and when the request was sent that made it so.
struct Held {
    lease: Lease,
    since: Instant,
}

impl Election {
    /// A replica that runs in this pod, and what it may do. Another process of the same pod is another replica. Who leads is told beside
    /// the readiness.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        lease: &str,
        pod: &str,
        metrics: Arc<Metrics>,
        readiness: Readiness,
    ) -> (Self, Lead) {
        let random = RandomState::new().hash_one(pod) ^ u64::from(std::process::id());
        let identity = format!("{pod}_{random:016x}{:016x}", RandomState::new().hash_one(random));
        let (grant, lead) = Lead::granted();
        let client = LeaseClient::new(client, namespace, lease.to_owned(), identity.clone());
        let name = format!("{namespace}/{lease}");
        let candidate = Candidate::new(identity);
        (Self { client, name, candidate, grant, metrics, readiness, clock: Instant::now(), told: None }, lead)
    }

    /// Takes part until `stop`; then the lease is given up, so `stop` must come after the last write.
    ///
    /// # Errors
    /// The lease was held and is lost. Nothing may be written any more, and the gate sees to it.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), LeadLost> {
        let held = tokio::select! {
            held = self.take() => held,
            () = stop.cancelled() => return Ok(()),
        };
        let lost = self.keep(held, &stop).await;
        self.metrics.leads(false);
        self.readiness.note(TOPIC, None);
        self.grant.send_replace(Until::Never);
        let lease = lost?;
        match self.client.release(lease).await {
            Ok(_) => tracing::info!(lease = self.name, "gave the lease up"),
            Err(error) => tracing::warn!(lease = self.name, %error, "the next leader waits for the lease's end"),
        }
        Ok(())
    }

    /// Stands by until the lease is ours.
    async fn take(&mut self) -> Held {
        loop {
            let since = Instant::now();
            match self.try_take().await {
                Ok(Some(lease)) => return Held { lease, since },
                Ok(None) | Err(LeaseError::Conflict | LeaseError::Deleted) => {}
                Err(error) => {
                    self.metrics.lease_failed();
                    tracing::warn!(lease = self.name, %error, "standing by");
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn try_take(&mut self) -> Result<Option<Lease>, LeaseError> {
        let lease = self.client.read().await?;
        let seen = lease.as_ref().map(record);
        match (self.candidate.look(seen.as_ref(), self.clock.elapsed()), lease) {
            (Step::Create, _) => self.client.create().await.map(Some),
            (Step::Take(transitions), Some(lease)) => self.client.take(lease, transitions).await.map(Some),
            _ => {
                let holder = seen.and_then(|seen| seen.holder);
                if self.told != holder {
                    tracing::info!(lease = self.name, holder, "standing by: another replica writes");
                    let pod = holder.as_deref().map(|holder| holder.split('_').next().unwrap_or(holder));
                    self.readiness.note(TOPIC, pod.map(|pod| format!("standing by: {pod} leads")));
                    self.told = holder;
                }
                Ok(None)
            }
        }
    }

    /// Renews the lease until `stop`; returns it as it is then.
    async fn keep(&mut self, held: Held, stop: &CancellationToken) -> Result<Lease, LeadLost> {
        let Held { mut lease, since } = held;
        let mut until = since + RENEW_WITHIN;
        let transitions = record(&lease).transitions;
        self.grant.send_replace(Until::At(until));
        self.metrics.leads(true);
        self.metrics.lease_transitions(transitions);
        self.readiness.note(TOPIC, Some("leading: this replica writes".to_owned()));
        tracing::info!(lease = self.name, transitions, "leading: this replica writes from now on");
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW_EVERY) => {}
                () = stop.cancelled() => return Ok(lease),
            }
            let mut last = String::from("it slept for too long");
            loop {
                let sent = Instant::now();
                if sent >= until {
                    return Err(LeadLost::NotRenewed { lease: self.name.clone(), last });
                }
                let renewed = tokio::time::timeout_at(until.into(), self.renew(&lease)).await;
                match renewed {
                    Ok(Ok(renewed)) => {
                        lease = renewed;
                        // An answer that came after its time may be old news: the next one decides.
                        until = until.max(sent + RENEW_WITHIN);
                        self.grant.send_replace(Until::At(until));
                        break;
                    }
                    Ok(Err(Renewal::Taken(holder))) => {
                        return Err(LeadLost::Taken { lease: self.name.clone(), holder });
                    }
                    Ok(Err(Renewal::Failed(error))) => {
                        self.metrics.lease_failed();
                        tracing::warn!(lease = self.name, %error, "not renewed");
                        last = error.to_string();
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    Err(_) => last = "no answer".to_owned(),
                }
            }
        }
    }

    /// Renews once. Somebody may have written the lease and left us its holder: that is read, and renewed.
    async fn renew(&self, lease: &Lease) -> Result<Lease, Renewal> {
        let transitions = record(lease).transitions;
        match self.client.take(lease.clone(), transitions).await {
            Err(LeaseError::Conflict) => {}
            Err(LeaseError::Deleted) => return Err(deleted()),
            renewed => return renewed.map_err(Renewal::Failed),
        }
        let read = self.client.read().await.map_err(Renewal::Failed)?.ok_or_else(deleted)?;
        let (ours, now) = (record(lease).holder, record(&read).holder);
        if ours != now {
            return Err(Renewal::Taken(now.unwrap_or_else(|| "nobody: it was given up".to_owned())));
        }
        self.client.take(read, transitions).await.map_err(Renewal::Failed)
    }
}

fn deleted() -> Renewal {
    Renewal::Taken("nobody: it was deleted".to_owned())
}

enum Renewal {
    Taken(String),
    Failed(LeaseError),
}
