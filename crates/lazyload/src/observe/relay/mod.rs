//! Owns telling the other replicas what the proxies told this one, so that any of them knows what it would have to write.
//! Never tells on what another replica told, and never waits for anybody: what a replica missed, it gets when it is connected again.
//! Next: `message` for what is sent, `link` for the stream to one replica.

mod link;
mod message;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lazyload_logic::observation::Call;
use lazyload_logic::settings::LogSecurity;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::seen::{Limits, Seen};
use crate::identify::Current;
use crate::lead::peers::Peers;
use link::Link;

/// Marks a stream of another replica: nothing of it is told on.
pub(super) const RELAYED: &str = "x-lazyload-relayed";
/// What a replica that comes, or comes back, is told first: the pairs of the last twenty minutes, so many at most in each ten.
const HEARD: Limits = Limits { period: Duration::from_secs(600), pairs: 8192, bytes: 1024 * 1024 };
/// Messages that wait for a slow replica; one that is further behind is told everything anew.
const BEHIND: usize = 1024;

/// Tells calls on.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    peers: watch::Receiver<Peers>,
    heard: Arc<Mutex<Seen>>,
    live: broadcast::Sender<Bytes>,
    counters: Arc<Counters>,
    security: LogSecurity,
    identity: Current,
}

impl Relay {
    /// A relay to these replicas.
    pub(crate) fn new(peers: watch::Receiver<Peers>, counters: Arc<Counters>) -> Self {
        let heard = Arc::new(Mutex::new(Seen::new(HEARD, Instant::now())));
        let live = broadcast::Sender::new(BEHIND);
        Self { peers, heard, live, counters, security: LogSecurity::Off, identity: watch::channel(None).1 }
    }

    /// The same over mutual TLS, where the settings want it.
    pub(crate) fn secured(self, security: LogSecurity, identity: Current) -> Self {
        Self { security, identity, ..self }
    }

    /// Tells on what a proxy told.
    pub(super) fn tell(&self, calls: &[Call], now: Instant) {
        {
            // First what a new stream begins with: it listens before it asks for that, so nothing falls in between.
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.turn(now);
            for call in calls {
                heard.insert(call, now);
            }
        }
        for message in message::messages(calls) {
            // Nobody may be listening.
            drop(self.live.send(message));
        }
        self.counters.relay_told.fetch_add(u64::try_from(calls.len()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Tells on who was heard, after all that it told. A replica that comes later hears of it the next time.
    pub(super) fn tell_marks(&self, marks: &[Call]) {
        for message in message::messages(marks) {
            // Nobody may be listening.
            drop(self.live.send(message));
        }
    }

    /// Whether somebody at this address is a replica.
    pub(super) fn is_peer(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.peers.borrow().has(address))
    }

    /// Everything that was heard lately.
    fn heard(&self) -> Vec<Call> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).calls()
    }

    /// Keeps a stream to every replica, on the port that this one has for access logs. At `shutdown` what is on its way is sent first.
    pub(crate) async fn run(mut self, port: u16, shutdown: CancellationToken) {
        let mut links: BTreeMap<IpAddr, JoinHandle<()>> = BTreeMap::new();
        loop {
            let peers = self.peers.borrow_and_update().clone();
            let wanted: Vec<IpAddr> = peers.others.values().filter_map(|all| reachable(all, &peers.own)).collect();
            links.retain(|address, link| {
                let stays = wanted.contains(address) && !link.is_finished();
                if !stays {
                    link.abort();
                }
                stays
            });
            for address in wanted {
                let own = peers.own.iter().find(|own| own.is_ipv4() == address.is_ipv4()).copied();
                let link =
                    || Link { relay: self.clone(), to: (address, port).into(), from: own, shutdown: shutdown.clone() };
                links.entry(address).or_insert_with(|| tokio::spawn(link().run()));
            }
            tokio::select! {
                changed = self.peers.changed() => if changed.is_err() { break },
                () = shutdown.cancelled() => break,
            }
        }
        for (address, link) in links {
            if let Err(error) = link.await {
                tracing::debug!(%address, %error, "a stream to another replica ended badly");
            }
        }
    }
}

/// The address of a replica that we can reach: of a family that we have, if ours are known.
fn reachable(all: &[IpAddr], own: &[IpAddr]) -> Option<IpAddr> {
    let same = |address: &&IpAddr| own.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    all.iter().find(same).or_else(|| all.first()).copied()
}
