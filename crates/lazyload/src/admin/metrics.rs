//! What a controller counts. The first group has the original's names (contract 6.3) and is stable; the rest may still change.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lazyload_logic::fence::conditions::InShort;
use lazyload_logic::fence::mode::{BREAK_GLASS, WAITING};
use lazyload_logic::observation::Skipped;
use lazyload_logic::settings::Mode;
use lazyload_logic::state::census::Census;
use lazyload_logic::state::traffic::Busy;
use lazyload_logic::state::{Change, Event, Learned, Outcome, Word};
use lazyload_logic::types::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::identify::IdentityCounters;
use crate::observe::prometheus::PrometheusCounters;
use crate::observe::{Counters, Refused};

/// Everything counted by one controller.
#[derive(Debug, Default)]
pub struct Metrics {
    sidecar_creations: Gauge,
    sidecar_failed_creations: Gauge,
    sidecar_refreshes: Gauge,
    fence_creations: Gauge,
    fence_failed_creations: Gauge,
    fence_refreshes: Gauge,
    fence_deletions: Gauge,
    events: Family<EventLabels, Counter>,
    malformed: Family<KindLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    learned_hosts: Gauge,
    learned_known: Gauge,
    learned_verified: Gauge,
    learned_unverified: Gauge,
    learned_skipped: Family<ReasonLabels, Gauge>,
    events_dropped: Counter,
    config_reloads: Counter,
    config_reload_failed: Counter,
    learned_expired: Gauge,
    learned_quarantined: Gauge,
    learned_returned: Gauge,
    leader: Gauge,
    lease_transitions: Gauge,
    lease_failed: Counter,
    planned: Seconds,
    wrote: Seconds,
    pushes: Seconds,
    pushes_unseen: Counter,
    proxies_silent: Counter,
    fallback_stuck: Gauge,
    fallback_uncounted: Counter,
    fence_modes: Family<ModeLabels, Gauge>,
    break_glass: Gauge,
    busiest: watch::Sender<Arc<[Busy]>>,
    fences: Gauge,
    fence_dependencies: Gauge,
    quarantined: Gauge,
    fences_heard: Family<HeardLabels, Gauge>,
    /// Made anew with each count: what no fence says any more is gone.
    fence_conditions: Mutex<Family<ConditionLabels, Gauge>>,
    observed: Arc<Counters>,
    identity: Arc<IdentityCounters>,
    prometheus: Arc<PrometheusCounters>,
}

/// How long something took.
#[derive(Debug)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new([0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeardLabels {
    heard: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    change: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

impl Metrics {
    /// The counters of the access-log service.
    #[must_use]
    pub fn observed(&self) -> Arc<Counters> {
        self.observed.clone()
    }

    /// The counters of our identity in the mesh.
    #[must_use]
    pub fn identity(&self) -> Arc<IdentityCounters> {
        self.identity.clone()
    }

    /// Counts Kubernetes Events that could not be told.
    #[must_use]
    pub fn events_dropped(&self) -> Counter {
        self.events_dropped.clone()
    }

    /// The counters of the conversation with Prometheus.
    #[must_use]
    pub fn prometheus(&self) -> Arc<PrometheusCounters> {
        self.prometheus.clone()
    }

    /// Counts an event that the engine took in.
    pub fn event(&self, event: &Event) {
        let event = match event {
            Event::Applied(_) => "applied",
            Event::Deleted(..) => "deleted",
            Event::Listed(_) => "listed",
            Event::Called(_) => "called",
            Event::Counted(_) => "counted",
            Event::CountedByCallers(_) => "counted_by_callers",
            Event::Measured(_) => "measured",
            Event::Finished { .. } => "finished",
            Event::Proxies { .. } => "proxies",
            Event::Heal => "heal",
            Event::Settings(_) => "settings",
        };
        self.events.get_or_create(&EventLabels { event }).inc();
    }

    /// Counts news of an object of this kind that cannot be read.
    pub fn malformed(&self, kind: Kind) {
        self.malformed.get_or_create(&KindLabels { kind: kind.name() }).inc();
    }

    /// A write of a Sidecar sets out, so long after the first of the hosts was learned that it begins with.
    pub fn planned(&self, waited: Duration) {
        self.planned.0.observe(waited.as_secs_f64());
    }

    /// Counts a write, what became of it and how long that took.
    pub fn written(&self, change: &Change, outcome: &Outcome, took: Duration) {
        self.wrote.0.observe(took.as_secs_f64());
        let stored = matches!(outcome, Outcome::Stored(_));
        self.writes.get_or_create(&WriteLabels { change: change.name(), outcome: outcome.name() }).inc();
        match (change, stored) {
            (Change::ApplySidecar { uid: None, .. }, true) => self.sidecar_creations.inc(),
            (Change::ApplySidecar { uid: None, .. }, false) => self.sidecar_failed_creations.inc(),
            (Change::ApplySidecar { uid: Some(_), .. }, true) => self.sidecar_refreshes.inc(),
            (Change::CreateFence { .. }, true) => self.fence_creations.inc(),
            (Change::CreateFence { .. }, false) => self.fence_failed_creations.inc(),
            (Change::WriteStatus { .. }, true) => self.fence_refreshes.inc(),
            (Change::DeleteFence { .. }, true) => self.fence_deletions.inc(),
            _ => 0,
        };
    }

    /// Proxies did not answer when they were asked before a write.
    pub fn proxies_silent(&self, count: u64) {
        self.proxies_silent.inc_by(count);
    }

    /// Proxies said after this time that they have what was written, or nothing more was heard of them.
    pub fn proxies_said(&self, word: Word, took: Duration) {
        match word {
            Word::Arrived => self.pushes.0.observe(took.as_secs_f64()),
            Word::Asked | Word::Silent => {
                self.pushes_unseen.inc();
            }
        }
    }

    /// What goes on through the global-sidecar, and calls of pairs that were too many to be told.
    pub fn fallback(&self, busiest: Vec<Busy>, uncounted: u64) {
        let stuck = busiest.iter().filter(|busy| busy.stuck).count();
        self.fallback_stuck.set(i64::try_from(stuck).unwrap_or(i64::MAX));
        self.fallback_uncounted.inc_by(uncounted);
        self.busiest.send_if_modified(|known| {
            let is_news = **known != *busiest;
            if is_news {
                *known = busiest.into();
            }
            is_news
        });
    }

    /// What goes on through the global-sidecar, as it was told last.
    pub fn busiest(&self) -> Arc<[Busy]> {
        self.busiest.borrow().clone()
    }

    /// The same, each time that it is different.
    #[must_use]
    pub fn follow_busiest(&self) -> watch::Receiver<Arc<[Busy]>> {
        self.busiest.subscribe()
    }

    /// How many fences there are and what they say.
    pub fn fences(&self, census: &Census) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.fences.set(count(census.fences));
        self.fence_dependencies.set(count(census.dependencies));
        self.break_glass.set(count(census.glasses));
        self.quarantined.set(count(census.quarantined));
        for (heard, fences) in [("yes", census.heard), ("no", census.unheard)] {
            self.fences_heard.get_or_create(&HeardLabels { heard }).set(count(fences));
        }
        for mode in Mode::ALL.into_iter().map(Mode::name).chain([WAITING, BREAK_GLASS]) {
            let fences = census.by_mode.get(mode).copied().unwrap_or_default();
            self.fence_modes.get_or_create(&ModeLabels { mode }).set(count(fences));
        }
        let conditions = Family::<ConditionLabels, Gauge>::default();
        for (said, fences) in &census.said {
            let InShort { condition, status, reason } = *said;
            conditions.get_or_create(&ConditionLabels { condition, status, reason }).set(count(*fences));
        }
        *self.fence_conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// This replica writes, or not.
    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// How often the lease went from one replica to another.
    pub fn lease_transitions(&self, transitions: i32) {
        self.lease_transitions.set(transitions.into());
    }

    /// A request about the lease came to nothing.
    pub fn lease_failed(&self) {
        self.lease_failed.inc();
    }

    /// Changed settings are in force.
    pub fn config_reloaded(&self) {
        self.config_reloads.inc();
    }

    /// Changed settings cannot be used.
    pub fn config_reload_failed(&self) {
        self.config_reload_failed.inc();
    }

    /// Takes over what the state counts itself.
    pub fn learned(&self, learned: &Learned) {
        self.learned_hosts.set(clamped(learned.hosts));
        self.learned_known.set(clamped(learned.known));
        self.learned_expired.set(clamped(learned.expired));
        self.learned_quarantined.set(clamped(learned.quarantined));
        self.learned_returned.set(clamped(learned.returned));
        self.learned_verified.set(clamped(learned.verified));
        self.learned_unverified.set(clamped(learned.unverified));
        for (reason, count) in &learned.skipped {
            self.learned_skipped.get_or_create(&ReasonLabels { reason }).set(clamped(*count));
        }
    }

    /// All of it in OpenMetrics' text format.
    ///
    /// # Errors
    /// The text cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        for (name, help, gauge) in [
            ("lazyload_sidecar_creations", "Sidecars created", &self.sidecar_creations),
            ("lazyload_sidecar_failed_creations", "Sidecars not created", &self.sidecar_failed_creations),
            ("lazyload_sidecar_refreshes", "Sidecars changed", &self.sidecar_refreshes),
            ("lazyload_servicefence_creations", "Fences created", &self.fence_creations),
            ("lazyload_servicefence_failed_creations", "Fences not created", &self.fence_failed_creations),
            ("lazyload_servicefence_refreshes", "Statuses of fences written", &self.fence_refreshes),
            ("lazyload_servicefence_deletions", "Fences deleted", &self.fence_deletions),
            ("lazyload_leader", "1: this replica writes; 0: another one, or none", &self.leader),
            (
                "lazyload_leader_transitions",
                "Leaders since the lease was made, as the last one here knew",
                &self.lease_transitions,
            ),
            ("lazyload_learned_hosts", "Hosts that were new for a caller", &self.learned_hosts),
            ("lazyload_learned_known", "Calls that told nothing new", &self.learned_known),
            ("lazyload_learned_expired", "Hosts that left, not called for the window", &self.learned_expired),
            (
                "lazyload_learned_quarantined",
                "Hosts that left, not called for their lease; their first call brings them back",
                &self.learned_quarantined,
            ),
            ("lazyload_learned_returned", "Hosts that were called after all, and came back", &self.learned_returned),
            ("lazyload_quarantined_hosts", "Hosts of all fences that are in quarantine now", &self.quarantined),
            (
                "lazyload_calls_verified",
                "Calls whose caller's certificate agrees with its address",
                &self.learned_verified,
            ),
            (
                "lazyload_fallback_stuck",
                "Hosts of a fence that are called through the global-sidecar for long although their routes are there",
                &self.fallback_stuck,
            ),
            (
                "lazyload_break_glass",
                "Namespaces that have every Sidecar of fences taken away for now",
                &self.break_glass,
            ),
            ("lazyload_calls_unverified", "Calls put down to a caller by its address alone", &self.learned_unverified),
            ("lazyload_fences", "Fences that this controller looks after", &self.fences),
            ("lazyload_fence_dependencies", "Dependencies of all of them", &self.fence_dependencies),
        ] {
            registry.register(name, help, gauge.clone());
        }
        let conditions = self.fence_conditions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        registry.register("lazyload_fence_conditions", "Fences by what each of their conditions says", conditions);
        registry.register("lazyload_events", "Events that the engine took in", self.events.clone());
        let dropped = self.events_dropped.clone();
        registry.register("lazyload_kubernetes_events_dropped", "Events at fences that were not sent", dropped);
        registry.register(
            "lazyload_objects_malformed",
            "News of objects that cannot be read, by kind",
            self.malformed.clone(),
        );
        registry.register("lazyload_writes", "Writes by change and outcome", self.writes.clone());
        registry.register("lazyload_calls_skipped", "Calls left out, by reason", self.learned_skipped.clone());
        registry.register("lazyload_config_reloads", "Changed settings taken over", self.config_reloads.clone());
        let failed = self.config_reload_failed.clone();
        registry.register("lazyload_config_reload_failed", "Changed settings that cannot be used", failed);
        registry.register(
            "lazyload_lease_failed",
            "Requests about the lease that came to nothing",
            self.lease_failed.clone(),
        );
        let planned = self.planned.0.clone();
        registry.register(
            "lazyload_plan_seconds",
            "From a new host to the write of the Sidecar that brings it in",
            planned,
        );
        let wrote = self.wrote.0.clone();
        registry.register("lazyload_write_seconds", "From a write's setting out to the API server's answer", wrote);
        let pushes = self.pushes.0.clone();
        registry.register("lazyload_push_seconds", "From a Sidecar's write to the last of its proxies", pushes);
        let unseen = self.pushes_unseen.clone();
        registry.register("lazyload_pushes_unseen", "Writes of which proxies stopped telling, or not in time", unseen);
        let silent = self.proxies_silent.clone();
        registry.register("lazyload_proxies_silent", "Proxies that do not tell their statistics", silent);
        registry.register(
            "lazyload_fence_modes",
            "Fences that are enabled, by how far they go",
            self.fence_modes.clone(),
        );
        registry.register(
            "lazyload_fences_heard",
            "Fences whose hosts expire, by whether every pod is heard",
            self.fences_heard.clone(),
        );
        let uncounted = self.fallback_uncounted.clone();
        registry.register("lazyload_fallback_uncounted", "Calls of pairs too many to be told one by one", uncounted);
        self.register_observed(&mut registry);
        super::prometheus::register(&self.prometheus, &mut registry);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_observed(&self, registry: &mut Registry) {
        let observed = &self.observed;
        for (name, help, value) in [
            ("lazyload_accesslog_messages", "Access-log messages received", &observed.messages),
            ("lazyload_accesslog_messages_malformed", "Messages read only in part", &observed.messages_malformed),
            ("lazyload_accesslog_entries", "Access-log entries received", &observed.entries),
            ("lazyload_accesslog_absorbed", "Entries of pairs passed on a moment ago", &observed.absorbed),
            ("lazyload_accesslog_passed", "Pairs passed on", &observed.passed),
            ("lazyload_accesslog_overflow", "Pairs dropped because the engine was behind", &observed.overflow),
            ("lazyload_accesslog_forgotten_early", "Times a stream had too many pairs", &observed.forgotten_early),
            ("lazyload_accesslog_streams_open", "Streams open now", &observed.streams_open),
            ("lazyload_accesslog_streams_secured", "Streams open now over mutual TLS", &observed.streams_secured),
            ("lazyload_accesslog_streams_refused", "Streams refused", &observed.streams_refused),
            ("lazyload_accesslog_streams_broken", "Streams that ended with an error", &observed.streams_broken),
            ("lazyload_identity_issued", "Certificates of the mesh that were given", &self.identity.issued),
            ("lazyload_identity_failed", "Attempts to get one that came to nothing", &self.identity.failed),
            (
                "lazyload_identity_expires_seconds",
                "Unix time at which the certificate of the mesh ends; 0: there is none",
                &self.identity.expires,
            ),
            ("lazyload_relay_told", "Pairs told on to the other replicas", &observed.relay_told),
            ("lazyload_relay_heard", "Pairs passed on that another replica told", &observed.relay_heard),
            ("lazyload_relay_links", "Streams to other replicas that are open now", &observed.relay_links),
            ("lazyload_relay_refused", "Streams that claimed to be another replica's", &observed.relay_refused),
        ] {
            registry.register(name, help, gauge(value.load(Relaxed)));
        }
        registry.register(
            "lazyload_log_seconds",
            "From the beginning of a call to its log entry's taking in",
            observed.on_the_way.0.clone(),
        );
        let skipped = Family::<ReasonLabels, Gauge>::default();
        for reason in Skipped::ALL {
            let labels = ReasonLabels { reason: reason.name() };
            skipped.get_or_create(&labels).set(clamped(observed.skipped(reason)));
        }
        let refused = Family::<ReasonLabels, Gauge>::default();
        for reason in Refused::ALL {
            refused.get_or_create(&ReasonLabels { reason: reason.name() }).set(clamped(observed.refused(reason)));
        }
        registry.register(
            "lazyload_accesslog_connections_refused",
            "Connections closed at the door, by reason",
            refused,
        );
        registry.register("lazyload_accesslog_skipped", "Entries that told nothing, by reason", skipped);
    }
}

pub(super) fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(clamped(value));
    gauge
}

pub(super) fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use lazyload_logic::types::ObjectRef;

    use super::*;

    #[test]
    fn writes_are_counted_under_the_originals_names() {
        let metrics = Metrics::default();
        let change = Change::DeleteFence { id: ObjectRef::new("default", "a"), uid: "u".into() };
        metrics.written(&change, &Outcome::Stored(None), Duration::from_millis(3));
        metrics.written(&change, &Outcome::Failed, Duration::from_secs(1));
        let text = metrics.text().unwrap();
        assert!(text.contains("lazyload_servicefence_deletions 1\n"), "{text}");
        assert!(text.contains("lazyload_writes_total{change=\"delete_fence\",outcome=\"failed\"} 1\n"), "{text}");
        assert!(text.contains("lazyload_write_seconds_bucket{le=\"0.01\"} 1\n"), "{text}");
        assert!(text.contains("lazyload_write_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn what_fences_say_is_counted_and_what_none_says_any_more_is_gone() {
        let metrics = Metrics::default();
        let conflict = InShort { condition: "Conflict", status: "True", reason: "ForeignSidecar" };
        metrics.fences(&Census { fences: 3, dependencies: 7, said: [(conflict, 2)].into(), ..Census::default() });
        let line = "lazyload_fence_conditions{condition=\"Conflict\",status=\"True\",reason=\"ForeignSidecar\"} 2\n";
        let text = metrics.text().unwrap();
        assert!(text.contains(line) && text.contains("lazyload_fences 3\n"), "{text}");
        assert!(text.contains("lazyload_fence_dependencies 7\n"), "{text}");
        metrics.fences(&Census { fences: 3, dependencies: 7, ..Census::default() });
        let text = metrics.text().unwrap();
        assert!(!text.contains("ForeignSidecar") && text.contains("lazyload_fences 3\n"), "{text}");
    }
}
