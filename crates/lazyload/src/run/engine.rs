//! The loop between what happens and what is written. One task owns the state; everything else sends it events.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lazyload_logic::fence::switch::Form;
use lazyload_logic::observation::Call;
use lazyload_logic::state::{Change, Event, Outcome, State, Word};
use lazyload_logic::types::{Kind, Object, ObjectRef};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::admin::metrics::Metrics;
use crate::apply::Writer;
use crate::console::{Asked, Viewed};
use crate::lead::Lead;
use crate::observe::prometheus::Question;
use crate::observe::proxies::Proxies;
use crate::process::clock::Clock;
use crate::process::readiness::{Awaited, Readiness};
use crate::trace::{Journey, Traces};

/// Events that wait for the loop at most; their senders wait then.
pub const EVENT_QUEUE: usize = 4096;
/// Events taken in before the next plan, so that a flood of news costs few plans.
const EVENTS_PER_PLAN: usize = 1024;
/// Writes on their way at the same time.
const WRITES_AT_ONCE: usize = 32;
/// Switches that are traced at the same time; more are not.
const JOURNEYS: usize = 1024;
/// A push that takes longer than this is told in the log.
const LATE: Duration = Duration::from_secs(2);
/// How often everything is looked at again, in case a message was lost.
const HEAL_EVERY: Duration = Duration::from_secs(600);
/// How often what streams have counted is put down to fences, and told.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// The controller's loop.
pub struct Engine<W> {
    state: State,
    writer: W,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// One guard for each kind whose first list is awaited.
    awaited: Vec<(Kind, Awaited)>,
    slots: Arc<Semaphore>,
    /// Who asks Prometheus asks here about what.
    questions: Option<mpsc::Receiver<Question>>,
    /// Who asks the proxies of fences how far they are.
    proxies: Option<Proxies>,
    traces: Traces,
    /// Switches with learned hosts that are under way, if they are traced.
    journeys: BTreeMap<ObjectRef, Journey>,
    /// Those who look at it.
    viewed: Option<Viewed>,
    lead: Lead,
    /// Whether this replica has taken over the writing.
    leading: bool,
    /// Has what is written listed anew.
    relist: Option<watch::Sender<()>>,
    finished_tx: mpsc::UnboundedSender<Event>,
    finished_rx: mpsc::UnboundedReceiver<Event>,
}

impl<W: Writer> Engine<W> {
    /// A loop that has not begun.
    pub fn new(state: State, writer: W, metrics: Arc<Metrics>, readiness: &Readiness) -> Self {
        let awaited =
            state.unlisted().iter().map(|kind| (*kind, readiness.awaits(format!("the list of {}s", kind.name()))));
        let awaited = awaited.collect();
        // Unbounded, but no fuller than there are writes on their way, one for each fence.
        let (finished_tx, finished_rx) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(WRITES_AT_ONCE));
        Self {
            state,
            writer,
            metrics,
            clock: Clock::start(),
            awaited,
            slots,
            questions: None,
            proxies: None,
            traces: Traces::default(),
            journeys: BTreeMap::new(),
            viewed: None,
            lead: Lead::alone(),
            leading: true,
            relist: None,
            finished_tx,
            finished_rx,
        }
    }

    /// Answers which fences there are.
    #[must_use]
    pub fn answering(self, questions: mpsc::Receiver<Question>) -> Self {
        Self { questions: Some(questions), ..self }
    }

    /// Asks the proxies of fences how far they are, instead of estimating it.
    #[must_use]
    pub fn asking(self, proxies: Proxies) -> Self {
        Self { proxies: Some(proxies), ..self }
    }

    /// Tells a collector of the way of learned hosts into Sidecars.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// Answers those who look, and tells them what is different while they do.
    #[must_use]
    pub fn viewed_by(self, viewed: Viewed) -> Self {
        Self { viewed: Some(viewed), ..self }
    }

    /// One replica of several: it writes only while it leads, and begins when what it writes was listed anew.
    #[must_use]
    pub fn led_by(self, lead: Lead, relist: watch::Sender<()>) -> Self {
        Self { lead, leading: false, relist: Some(relist), ..self }
    }

    /// Runs until the shutdown, or until all senders of events are gone. Writes that have begun are finished.
    pub async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut calls: mpsc::Receiver<Vec<Call>>,
        shutdown: CancellationToken,
    ) {
        let mut heal = tokio::time::interval(HEAL_EVERY);
        heal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = tokio::time::interval(COUNT_EVERY);
        count.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lead = self.lead.clone();
        loop {
            self.write();
            if let Some(viewed) = &self.viewed {
                viewed.tell(&mut self.state);
            }
            let alarm = self.alarm();
            tokio::select! {
                () = lead.begins(), if !self.leading => self.take_over(),
                () = shutdown.cancelled() => break,
                Some(event) = self.finished_rx.recv() => self.on(event),
                Some(calls) = calls.recv() => self.on(Event::Called(calls)),
                event = events.recv() => match event {
                    Some(event) => self.on(event),
                    None => break,
                },
                Some(question) = next_question(&mut self.questions) => {
                    // Who asked may have gone, with the shutdown.
                    drop(question.send(self.state.interest_set()));
                }
                asked = next_asked(&mut self.viewed) => asked.answer(&self.state, self.leading),
                () = alarm => {}
                _ = heal.tick() => self.heal(),
                _ = count.tick() => self.count(),
            }
            for _ in 0..EVENTS_PER_PLAN {
                let Ok(event) = events.try_recv() else { break };
                self.on(event);
            }
        }
        let all = u32::try_from(WRITES_AT_ONCE).unwrap_or(u32::MAX);
        if self.slots.acquire_many(all).await.is_err() {
            tracing::debug!("no write was on its way");
        }
    }

    fn on(&mut self, event: Event) {
        let listed = matches!(event, Event::Listed(_));
        self.metrics.event(&event);
        self.state.on(event, self.clock.now());
        if listed {
            let state = &self.state;
            self.awaited.retain(|(kind, _)| state.unlisted().contains(kind));
        }
    }

    fn heal(&mut self) {
        if self.leading {
            self.on(Event::Heal);
        } else {
            self.state.stand_by(self.clock.now());
        }
    }

    fn count(&mut self) {
        let (calls, uncounted) = self.metrics.observed().busy.take();
        if !calls.is_empty() {
            self.on(Event::Counted(calls));
        }
        let (calls, uncounted_direct) = self.metrics.observed().busy_callers.take();
        if !calls.is_empty() {
            self.on(Event::CountedByCallers(calls));
        }
        self.metrics.fallback(self.state.busiest(self.clock.now()), uncounted + uncounted_direct);
        if self.leading {
            self.state.tell_stuck();
        }
        self.metrics.fences(&self.state.census());
    }

    fn take_over(&mut self) {
        self.leading = true;
        self.state.take_over();
        if let Some(relist) = &self.relist {
            relist.send_replace(());
        }
        if let Some(viewed) = &self.viewed {
            viewed.leads();
        }
    }

    fn alarm(&self) -> impl Future<Output = ()> + use<W> {
        let now = self.clock.now().monotonic;
        let wait = self.state.next_alarm().filter(|_| self.leading).map(|at| at.saturating_sub(now));
        async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        }
    }

    fn write(&mut self) {
        if !self.leading {
            return self.metrics.learned(self.state.learned());
        }
        let changes = self.state.plan(self.clock.now());
        self.metrics.learned(self.state.learned());
        for (fence, waited) in self.state.take_waited() {
            self.metrics.planned(waited);
            if self.journeys.len() < JOURNEYS
                && let Some(journey) = self.traces.begins(&fence, waited)
            {
                self.journeys.insert(fence, journey);
            }
        }
        for notice in self.state.take_notices() {
            self.writer.tell(notice);
        }
        for change in changes {
            let asked = self.proxies.clone().map(|proxies| (proxies, self.state.proxies_of(&change)));
            let writing = Writing {
                writer: self.writer.clone(),
                slots: self.slots.clone(),
                metrics: self.metrics.clone(),
                finished: self.finished_tx.clone(),
                journey: self.journey_of(&change),
            };
            tokio::spawn(writing.carry_out(change, asked.filter(|(_, addresses)| !addresses.is_empty())));
        }
    }
}

impl<W> Engine<W> {
    /// The trace that a write is a part of. With the last stage of a switch it is over, and so it is with the end of the Sidecar.
    fn journey_of(&mut self, change: &Change) -> Option<Journey> {
        if self.journeys.is_empty() {
            return None;
        }
        match change {
            Change::ApplySidecar { id, spec, .. } if Form::of(spec).announced.is_empty() => self.journeys.remove(id),
            Change::ApplySidecar { id, .. } => self.journeys.get(id).cloned(),
            Change::DeleteSidecar { id, .. } | Change::DeleteFence { id, .. } => {
                self.journeys.remove(id);
                None
            }
            Change::CreateFence { .. }
            | Change::WriteStatus { .. }
            | Change::AdoptSidecar { .. }
            | Change::ApplyCallerLog { .. }
            | Change::RemoveCallerLog { .. } => None,
        }
    }
}

async fn next_question(questions: &mut Option<mpsc::Receiver<Question>>) -> Option<Question> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_asked(viewed: &mut Option<Viewed>) -> Asked {
    match viewed {
        Some(viewed) => viewed.next().await,
        None => std::future::pending().await,
    }
}

/// What it takes to carry out a change.
struct Writing<W> {
    writer: W,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    finished: mpsc::UnboundedSender<Event>,
    journey: Option<Journey>,
}

impl<W: Writer> Writing<W> {
    /// Writes, and then asks the proxies at these addresses until they have it.
    async fn carry_out(self, change: Change, asked: Option<(Proxies, Vec<IpAddr>)>) {
        let Ok(slot) = self.slots.acquire().await else { return };
        let asked = match asked {
            Some((proxies, addresses)) => {
                let before = proxies.before(addresses).await;
                self.metrics.proxies_silent(before.silent);
                Some((proxies, before)).filter(|(_, before)| !before.is_empty())
            }
            None => None,
        };
        let begun = tokio::time::Instant::now();
        let step = self.journey.as_ref().map(|journey| journey.step("write"));
        let outcome = self.writer.apply_change(&change).await;
        drop(slot);
        if let Some(step) = step {
            step.end(outcome.name(), matches!(outcome, Outcome::Stored(_)));
        }
        self.metrics.written(&change, &outcome, begun.elapsed());
        let id = change.id().clone();
        let version = match &outcome {
            Outcome::Stored(Some(stored)) => version_of_sidecar(stored),
            _ => None,
        };
        self.tell(Event::Finished { id: id.clone(), outcome });
        let (Some((proxies, before)), Some(version)) = (asked, version) else { return };
        self.tell(Event::Proxies { id: id.clone(), version, word: Word::Asked });
        let begun = tokio::time::Instant::now();
        let step = self.journey.as_ref().map(|journey| journey.step("push"));
        let word = proxies.after(before).await;
        let took = begun.elapsed();
        if let Some(step) = step {
            step.end(word.name(), word == Word::Arrived);
        }
        self.metrics.proxies_said(word, took);
        if took > LATE {
            tracing::info!(fence = %id, seconds = took.as_secs_f64(), ?word, "istiod was slow to push a Sidecar; its switch waited");
        }
        self.tell(Event::Proxies { id, version, word });
    }

    /// Nobody receives after the shutdown; then nobody needs to know.
    fn tell(&self, event: Event) {
        if self.finished.send(event).is_err() {
            tracing::debug!("written after the end");
        }
    }
}

fn version_of_sidecar(stored: &Object) -> Option<u64> {
    match stored {
        Object::Sidecar(sidecar) => Some(sidecar.version),
        _ => None,
    }
}
