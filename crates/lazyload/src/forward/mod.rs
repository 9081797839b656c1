//! Owns the data path of the global-sidecar: ports, connections, one exchange after another, upstream connections, the drain.
//! Never decides where a request goes: that is `lazyload_logic::route`, fed with the request head.
//! Next: `exchange`, the life of one request; `run::global_sidecar`, which starts all this.

mod access_log;
mod batched;
mod body;
mod downstream;
mod exchange;
mod failure;
mod failure_log;
mod gather;
pub mod guard;
mod headers;
mod latency;
pub mod limits;
pub mod loops;
pub mod metrics;
pub mod port_list;
pub mod ports;
pub mod probe;
mod server;
pub mod services;
mod tunnel;
mod unread;
mod upstream;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use failure_log::FailureLog;
use guard::{Guard, Guarded};
use limits::Limits;
use loops::Loops;
use metrics::Metrics;
use services::ServiceNames;
use upstream::Upstream;

/// A running forwarder. Clones share everything: connections to upstreams, names of Services, the drain.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    services: ServiceNames,
    prefer_listener_port: bool,
    guarded: Guarded,
    upstream: Upstream,
    limits: Limits,
    loops: Loops,
    /// Room for connections of clients.
    client_places: Arc<Semaphore>,
    failures: FailureLog,
    /// One line for each request, if that is wanted.
    logs_access: bool,
    metrics: Arc<Metrics>,
    /// Cancelled when the end has begun: each answer asks its client to connect anew, which is elsewhere.
    draining: CancellationToken,
    /// Cancelled when no connection is accepted any more.
    stop: CancellationToken,
    /// Listeners, connections and tunnels.
    tasks: TaskTracker,
}

impl Forwarder {
    /// A forwarder without a listener.
    ///
    /// `logs_access`: one line for each request. `prefer_listener_port`: requests without Slime-Orig-Dest are dialled on the port on which they came.
    #[must_use]
    pub fn new(
        services: ServiceNames,
        prefer_listener_port: bool,
        logs_access: bool,
        guard: Guard,
        limits: Limits,
        loops: Loops,
        metrics: Arc<Metrics>,
    ) -> Self {
        let guarded = Guarded::new(guard);
        let shared = Shared {
            services,
            prefer_listener_port,
            upstream: Upstream::new(&limits, guarded.checks_addresses(), Arc::clone(&metrics)),
            guarded,
            client_places: Arc::new(Semaphore::new(limits.client_connections)),
            failures: FailureLog::default(),
            logs_access,
            metrics,
            limits,
            loops,
            draining: CancellationToken::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Ends without losing a request: keeps accepting for a grace, while endpoints are withdrawn; then accepts no more, lets requests in
    /// flight finish, closes each connection after its current answer; at the deadline drops what is left.
    pub async fn drain(&self) {
        self.shared.draining.cancel();
        tokio::time::sleep(self.shared.limits.drain_grace).await;
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}
