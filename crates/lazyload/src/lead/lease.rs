//! The lease at the API server. Each write is of the version that was read, so that of two replicas one is refused.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use lazyload_logic::election::{LEASE, Record};

/// Longest wait for one answer: several fit into the time within which a lease must be renewed.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A request about the lease that came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    /// Somebody else wrote it first.
    #[error("somebody else has written the lease")]
    Conflict,
    /// There is none, where there was one.
    #[error("the lease was deleted")]
    Deleted,
    /// The API server refused, or cannot be reached.
    #[error("failed to {what} the lease: {source}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// No answer came.
    #[error("failed to {what} the lease: no answer within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut {
        /// What was tried.
        what: &'static str,
    },
}

/// One lease, and who asks for it.
#[derive(Clone)]
pub(super) struct LeaseClient {
    api: Api<Lease>,
    name: String,
    identity: String,
}

impl LeaseClient {
    pub(super) fn new(client: Client, namespace: &str, name: String, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name, identity }
    }

    /// The lease as it is.
    pub(super) async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        within("read", self.api.get_opt(&self.name)).await
    }

    /// Makes the lease, ours.
    pub(super) async fn create(&self) -> Result<Lease, LeaseError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.ours(0, None)) };
        within("create", self.api.create(&PostParams::default(), &lease)).await
    }

    /// Writes us into the lease that was read.
    pub(super) async fn take(&self, mut lease: Lease, transitions: i32) -> Result<Lease, LeaseError> {
        let kept = lease.spec.take().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        lease.spec = Some(self.ours(transitions, kept.and_then(|spec| spec.acquire_time)));
        self.replace("renew", &lease).await
    }

    /// Gives the lease up, so that nobody has to wait for its end.
    pub(super) async fn release(&self, mut lease: Lease) -> Result<Lease, LeaseError> {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        self.replace("give up", &lease).await
    }

    async fn replace(&self, what: &'static str, lease: &Lease) -> Result<Lease, LeaseError> {
        match within(what, self.api.replace(&self.name, &PostParams::default(), lease)).await {
            Err(LeaseError::Refused { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
                Err(LeaseError::Deleted)
            }
            replaced => replaced,
        }
    }

    fn ours(&self, transitions: i32, acquired: Option<MicroTime>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

async fn within<T>(what: &'static str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    match tokio::time::timeout(CALL_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(LeaseError::Conflict),
        Ok(Err(source)) => Err(LeaseError::Refused { what, source: Box::new(source) }),
        Err(_) => Err(LeaseError::TimedOut { what }),
    }
}

/// What a lease says. An empty holder is none: so client-go gives a lease up.
pub(super) fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|it| *it > 0);
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map(Duration::from_secs),
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
