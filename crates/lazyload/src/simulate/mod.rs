//! Owns a SIMULATION of what only a mesh has: pods with their apps, their sidecar proxies, the addresses of Services. Real sockets on loopback.
//! Never decides anything of lazyload's: it obeys the Sidecars in the folder, as a proxy obeys istiod, and no more than that.
//! Next: `sidecar` for the rule that sends a request directly or to the global-sidecar, `listeners` for what listens where.

mod access_log;
mod apps;
mod global_sidecar;
mod http;
mod inbound;
mod listeners;
mod mesh;
mod outbound;
mod service;
mod sidecar;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use lazyload_logic::settings::Settings;
use lazyload_logic::types::ObjectRef;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

pub use access_log::Line;
pub use apps::call_from;
pub use listeners::ListenersError;
pub use mesh::Mesh;

use crate::observe::client::AccessLogSender;

/// Port of each simulated proxy for the requests of its own app; Istio's number.
pub const OUTBOUND_PORT: u16 = 15001;

/// The real parts that the simulated ones talk to.
#[derive(Clone, Copy, Debug)]
pub struct Real {
    /// The forwarder of the global-sidecar.
    pub forwarder: SocketAddr,
    /// The controller's access-log server.
    pub access_log: SocketAddr,
}

/// What every simulated part shares.
struct World {
    mesh: Mesh,
    settings: Settings,
    forwarder: SocketAddr,
    entries: Mutex<AccessLogSender>,
    lines: mpsc::UnboundedSender<Line>,
    /// How often each Service was called.
    turns: std::sync::Mutex<BTreeMap<ObjectRef, usize>>,
    shutdown: CancellationToken,
}

impl World {
    /// The next pod of a Service, one after the other.
    fn in_turn<T>(&self, service: &ObjectRef, pods: Vec<T>) -> Option<T> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(service.clone()).or_default();
        let place = turn.checked_rem(pods.len())?;
        *turn = turn.wrapping_add(1);
        pods.into_iter().nth(place)
    }
}

/// Starts everything that the folder's Pods and Services stand for; goes on with what is added to the folder, until the shutdown.
/// What the simulated proxies log goes to `lines`.
///
/// # Errors
/// An address of the folder cannot be listened on.
pub fn start(
    mesh: Mesh,
    settings: Settings,
    real: Real,
    lines: mpsc::UnboundedSender<Line>,
    shutdown: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, ListenersError> {
    let world = Arc::new(World {
        mesh,
        settings,
        forwarder: real.forwarder,
        entries: Mutex::new(AccessLogSender::new(real.access_log)),
        lines,
        turns: std::sync::Mutex::default(),
        shutdown,
    });
    listeners::start(world)
}
