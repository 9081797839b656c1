//! When Prometheus is asked: about every fence at each interval, about a new or changed one within about a second.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder, ExponentialBuilder};
use lazyload_logic::prometheus::Round;
use lazyload_logic::settings::Prometheus;
use lazyload_logic::state::{Event, InterestSet};
use lazyload_logic::types::ObjectRef;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::PrometheusClient;
use super::counters::PrometheusCounters;
use super::round::Asked;

/// How often it is looked for new and changed fences; what comes together is asked for together.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause while nobody answers, unless the interval is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Asks the engine which fences there are.
pub(crate) type Question = oneshot::Sender<InterestSet>;

/// Asks Prometheus until the shutdown, or until the engine has ended.
///
/// # Errors
/// The address cannot be used.
pub(crate) async fn run(
    settings: Prometheus,
    questions: mpsc::Sender<Question>,
    events: mpsc::Sender<Event>,
    counters: Arc<PrometheusCounters>,
    shutdown: CancellationToken,
) -> Result<(), http::uri::InvalidUri> {
    let client = PrometheusClient::new(&settings)?;
    let handlers = settings.handlers.iter().map(|(name, query)| Asked::new(name, query)).collect();
    tracing::info!(address = settings.address, handlers = settings.handlers.len(), "learning from Prometheus");
    let ticker = Ticker { settings, client, handlers, counters, known: InterestSet::new() };
    tokio::select! {
        () = ticker.tick(questions, events) => {}
        () = shutdown.cancelled() => {}
    }
    Ok(())
}

struct Ticker {
    settings: Prometheus,
    client: PrometheusClient,
    handlers: Vec<Asked>,
    counters: Arc<PrometheusCounters>,
    /// What was asked about, and as what.
    known: InterestSet,
}

impl Ticker {
    async fn tick(mut self, questions: mpsc::Sender<Question>, events: mpsc::Sender<Event>) {
        let mut next_full = Instant::now();
        let mut pauses = None;
        loop {
            let Some(interest) = interest(&questions).await else { return };
            let full = Instant::now() >= next_full;
            let fences = if full { interest.keys().cloned().collect() } else { self.news(&interest) };
            let fences_empty = fences.is_empty();
            if !fences_empty {
                let (round, anybody_there) = self.round(&fences, full).await;
                self.known = interest;
                if events.send(Event::Measured(Box::new(round))).await.is_err() {
                    return;
                }
                let wait = if anybody_there {
                    pauses = None;
                    self.settings.interval
                } else {
                    let pauses = pauses.get_or_insert_with(|| self.pauses());
                    pauses.next().unwrap_or(self.settings.interval)
                };
                if full || !anybody_there {
                    next_full = Instant::now() + wait;
                }
            }
            if full && fences_empty {
                next_full = Instant::now() + self.settings.interval;
            }
            // While nobody is there, news wait as well.
            let look = if pauses.is_some() { next_full } else { next_full.min(Instant::now() + LOOK) };
            tokio::time::sleep_until(look).await;
        }
    }

    /// Pauses that grow, each a little different, so that several controllers do not come back at once.
    fn pauses(&self) -> backon::ExponentialBackoff {
        let least = self.settings.interval.min(LONGEST_PAUSE);
        let most = LONGEST_PAUSE.max(self.settings.interval);
        ExponentialBuilder::default()
            .with_min_delay(least)
            .with_max_delay(most)
            .with_jitter()
            .without_max_times()
            .build()
    }

    /// Fences that are new or different since they were asked about.
    fn news(&self, interest: &InterestSet) -> BTreeSet<ObjectRef> {
        interest.iter().filter(|(id, now)| self.known.get(*id) != Some(*now)).map(|(id, _)| id.clone()).collect()
    }

    async fn round(&mut self, fences: &BTreeSet<ObjectRef>, full: bool) -> (Round, bool) {
        let mut round = Round { full, told: Vec::new() };
        let session = match self.client.session().await {
            Ok(session) => session,
            Err(failure) => {
                self.counters.failed(&failure);
                self.handlers.iter_mut().for_each(|handler| handler.complain(Some(&failure), 0, 0));
                return (round, false);
            }
        };
        let mut anybody_there = false;
        for handler in &mut self.handlers {
            let (told, there) = handler.ask(&session, fences, full, &self.counters).await;
            anybody_there |= there;
            round.told.push(told);
        }
        if full {
            self.counters.fences.store(u64::try_from(fences.len()).unwrap_or(u64::MAX), Relaxed);
            if round.told.iter().all(|told| told.fences.len() == fences.len()) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                self.counters.last_complete.store(now, Relaxed);
            }
        }
        (round, anybody_there)
    }
}

async fn interest(questions: &mpsc::Sender<Question>) -> Option<InterestSet> {
    let (question, answer) = oneshot::channel();
    questions.send(question).await.ok()?;
    answer.await.ok()
}
