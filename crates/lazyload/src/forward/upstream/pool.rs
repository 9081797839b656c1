//! Connections of HTTP/1.1 that are kept without a request, by destination. The one used last is used first, so that a quiet time closes many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::SendRequest;
use lazyload_logic::route::Dial;
use tokio::runtime::{self, Handle};
use tokio::sync::Notify;

use super::Upload;
use crate::forward::limits::Limits;
use crate::forward::metrics::{Metrics, Present};

/// Kept connections to all destinations.
#[derive(Debug)]
pub(super) struct Pool {
    destinations: RwLock<HashMap<Dial, Arc<Destination>, FixedState>>,
    longest: Duration,
    most: usize,
    metrics: Arc<Metrics>,
}

/// Kept connections to one destination.
#[derive(Debug)]
pub(super) struct Destination {
    kept: Mutex<Vec<Kept>>,
    returned: Notify,
    longest: Duration,
    most: usize,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Kept {
    sender: SendRequest<Upload>,
    home: Option<runtime::Id>,
    since: Instant,
    _present: Present,
}

/// A connection in use. Dropped, it returns to its destination as soon as its exchange is over, if it is then still good for another.
#[derive(Debug)]
pub(in crate::forward) struct Lease {
    /// Always there until the drop.
    sender: Option<SendRequest<Upload>>,
    destination: Arc<Destination>,
    /// The event loop that drives it: from there it is cheapest.
    home: Option<runtime::Id>,
    /// It has carried an exchange before: then its failure may mean no more than that it was stale.
    pub(super) is_reused: bool,
}

impl Pool {
    pub(super) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        Self { destinations: RwLock::default(), longest: limits.pool_idle, most: limits.pool_per_destination, metrics }
    }

    pub(super) fn destination(&self, dial: &Dial) -> Arc<Destination> {
        let known = self.destinations.read().unwrap_or_else(PoisonError::into_inner).get(dial).cloned();
        known.unwrap_or_else(|| {
            let mut destinations = self.destinations.write().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                let (longest, most, metrics) = (self.longest, self.most, Arc::clone(&self.metrics));
                Arc::new(Destination { kept: Mutex::default(), returned: Notify::new(), longest, most, metrics })
            };
            Arc::clone(destinations.entry(dial.clone()).or_insert_with(new))
        })
    }

    /// Closes what was kept for too long, and forgets destinations without a connection.
    pub(super) fn sweep(&self) {
        let mut destinations = self.destinations.write().unwrap_or_else(PoisonError::into_inner);
        destinations.retain(|_, destination| {
            destination.sweep();
            // Each connection holds one too.
            Arc::strong_count(destination) > 1
        });
    }
}

impl Destination {
    /// A kept connection, if there is a good one; of this event loop if it has one.
    pub(super) fn take(self: &Arc<Self>) -> Option<Lease> {
        let here = here();
        let mut all = self.kept();
        while !all.is_empty() {
            let nearest = all.iter().rposition(|kept| kept.home == here).unwrap_or(all.len() - 1);
            let Kept { sender, home, since, .. } = all.remove(nearest);
            if sender.is_ready() && since.elapsed() < self.longest {
                return Some(Lease { sender: Some(sender), destination: Arc::clone(self), home, is_reused: true });
            }
        }
        None
    }

    /// Waits until a connection returns that nobody else takes.
    pub(super) async fn returned(self: &Arc<Self>) -> Lease {
        loop {
            self.returned.notified().await;
            if let Some(lease) = self.take() {
                return lease;
            }
        }
    }

    /// Hands out a new connection.
    pub(super) fn lease(self: &Arc<Self>, sender: SendRequest<Upload>) -> Lease {
        Lease { sender: Some(sender), destination: Arc::clone(self), home: here(), is_reused: false }
    }

    /// Forgets those that are closed, closes those that were kept for too long.
    pub(super) fn sweep(&self) {
        self.kept().retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < self.longest);
    }

    fn keep(&self, sender: SendRequest<Upload>, home: Option<runtime::Id>) {
        let mut all = self.kept();
        if all.len() < self.most {
            let present = Present::on(&self.metrics.upstream_idle);
            all.push(Kept { sender, home, since: Instant::now(), _present: present });
        }
        drop(all);
        self.returned.notify_one();
    }

    /// The list is whole at any moment.
    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        match &mut self.sender {
            Some(sender) => sender.try_send_request(request).await,
            // Never so before the drop; waiting is what cannot do harm.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        if sender.is_ready() {
            self.destination.keep(sender, self.home);
        } else if !sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            // A body is still on its way, or the connection's task has not been told yet that it is not.
            let (destination, home) = (Arc::clone(&self.destination), self.home);
            runtime.spawn(async move {
                if sender.ready().await.is_ok() {
                    destination.keep(sender, home);
                }
            });
        }
    }
}

/// This event loop.
fn here() -> Option<runtime::Id> {
    Handle::try_current().ok().map(|runtime| runtime.id())
}
