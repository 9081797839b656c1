//! Asks istiod how long its pushes take: once at the start, and some time after a Sidecar was changed, never while nothing changes.

use std::sync::Arc;
use std::time::Duration;

use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lazyload_logic::fence::latency::{Counters, Learner, read};
use lazyload_logic::state::Event;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;

/// How long after a change istiod is asked, so that it has pushed it; and at least how long between two questions.
const AFTER: Duration = Duration::from_secs(2);
/// Longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes. istiod counts by cluster and reason, not by proxy.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("failed to reach it: {0}")]
    Unreachable(String),
    #[error("no answer within {TIMEOUT:?}")]
    TimedOut,
    #[error("expected metrics, got status {0}")]
    Status(StatusCode),
    #[error("expected istiod's metrics, got something without pilot_debounce_time")]
    Unreadable,
}

/// Asks at this address, after each change that is told, until the shutdown or until the engine has ended.
pub(crate) async fn run(
    address: String,
    changed: Arc<Notify>,
    events: mpsc::WeakSender<Event>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let mut asking = Asking { address, learner: Learner::default(), silent: false, metrics };
    tokio::select! {
        () = asking.run(&changed, &events) => {}
        () = shutdown.cancelled() => {}
    }
}

struct Asking {
    address: String,
    learner: Learner,
    /// It has been said that there is no answer.
    silent: bool,
    metrics: Arc<Metrics>,
}

impl Asking {
    async fn run(&mut self, changed: &Notify, events: &mpsc::WeakSender<Event>) {
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(HttpConnector::new());
        loop {
            let counters = match tokio::time::timeout(TIMEOUT, self.ask(&client)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure::TimedOut),
            };
            if let Some(latency) = self.take(counters) {
                self.metrics.pushes_take(&latency);
                let Some(events) = events.upgrade() else { return };
                if events.send(Event::PushesTake(latency)).await.is_err() {
                    return;
                }
            }
            changed.notified().await;
            tokio::time::sleep(AFTER).await;
        }
    }

    fn take(&mut self, counters: Result<Counters, Failure>) -> Option<lazyload_logic::fence::latency::Latency> {
        match counters {
            Ok(counters) => {
                self.silent = false;
                self.learner.take(counters)
            }
            Err(error) => {
                self.metrics.istiod_silent();
                if !std::mem::replace(&mut self.silent, true) {
                    let address = self.address.as_str();
                    tracing::info!(address, %error, "istiod does not say how long its pushes take; going on with what is known");
                }
                None
            }
        }
    }

    async fn ask(&self, client: &Client<HttpConnector, Empty<Bytes>>) -> Result<Counters, Failure> {
        let unreachable = |error: &dyn std::error::Error| Failure::Unreachable(error.to_string());
        let uri: Uri = format!("http://{}/metrics", self.address).parse().map_err(|error| unreachable(&error))?;
        let answer = client.get(uri).await.map_err(|error| unreachable(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(Failure::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::Unreachable(error.to_string()))?.to_bytes();
        read(&String::from_utf8_lossy(&body)).ok_or(Failure::Unreadable)
    }
}
