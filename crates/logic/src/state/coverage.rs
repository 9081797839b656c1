//! How well it is known what the pods of a fence call that has no Sidecar yet: since when it is observed, how new its newest host is, who was
//! seen calling, how many calls a Sidecar would have sent through the global-sidecar. Its status keeps that over restarts, and is written for the
//! sake of counts the more rarely, the longer the fence is observed. Reasons: docs/adr/0036.
//! Next: `fence::wait` for what it is good for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use lazyload_api::service_fence::{Coverage, Destinations};

use super::State;
use super::explain::covers::covers;
use crate::fence::completion::complete_called;
use crate::fence::conditions::{READY, ours};
use crate::fence::sidecar::desired_hosts;
use crate::fence::wait::{self, Known, Wait};
use crate::index::Caller;
use crate::ledger::{Recorded, evidence_key};
use crate::observation::Call;
use crate::settings::Mode;
use crate::types::{Fence, Kind, Labels, Now, ObjectRef, Pod};

/// Pods that are remembered of a fence; more are not counted.
const MOST_PODS: usize = 1_000;
/// CronJobs that are named.
const MOST_CRON_JOBS: usize = 16;
/// Shortest and longest time between two writes of a status that are for the sake of counts alone.
const TELL: (i64, i64) = (60, 86_400);
/// By these labels Kubernetes says of which Job a pod is.
const JOB_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
/// Digits at least of what a CronJob puts behind its name for each Job: the minute that it is for.
const MINUTE_DIGITS: usize = 8;

/// What this process knows of a fence's coverage besides what its status tells.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The fence was looked at by this process.
    is_looked_at: bool,
    /// It learns only, so that what its pods call is counted; since when this process does so.
    began: Option<Now>,
    /// It waits for its first Sidecar.
    waits: bool,
    /// A status is due, or comes by itself: no news of counts needs another look.
    is_awaited: bool,
    /// When its status was written last.
    pub(super) told: Option<Now>,
    /// Since when it is observed (Unix seconds).
    since: i64,
    newest_host: Option<i64>,
    /// The pods that its status told of when this process began: among them are those that were there then.
    pods_before: u64,
    /// Pods that have called, and whether each has come since this process began.
    pods: BTreeMap<Arc<str>, bool>,
    cron_jobs: BTreeSet<String>,
    calls: u64,
    calls_to_fallback: u64,
}

/// A pod that has called.
struct SeenPod {
    name: Arc<str>,
    created: i64,
    cron_job: Option<String>,
}

impl SeenPod {
    fn of(pod: &Pod) -> Self {
        let cron_job = cron_job(&pod.labels).map(str::to_owned);
        Self { name: pod.id.name.clone(), created: pod.created, cron_job }
    }
}

impl Heard {
    fn begin(&mut self, since: i64, told: Option<&Coverage>, now: Now) {
        self.since = since;
        if self.began.is_none() {
            self.began = Some(now);
            self.pods_before = told.map_or(0, |told| told.pods);
            self.calls = told.map_or(0, |told| told.calls);
            self.calls_to_fallback = told.map_or(0, |told| told.calls_to_fallback);
        }
    }

    /// A pod has called; says whether that is news.
    fn saw(&mut self, seen: SeenPod) -> bool {
        let is_new_pod = self.began.is_some_and(|began| seen.created > began.unix_seconds);
        let mut is_news = self.pods.len() < MOST_PODS && self.pods.insert(seen.name, is_new_pod).is_none();
        if let Some(cron_job) = seen.cron_job.filter(|_| self.cron_jobs.len() < MOST_CRON_JOBS) {
            is_news |= self.cron_jobs.insert(cron_job);
        }
        is_news
    }

    /// Of the pods that were there when this process began it is not known whether they were counted before.
    fn pods(&self) -> u64 {
        let count =
            |is_new: bool| u64::try_from(self.pods.values().filter(|new| **new == is_new).count()).unwrap_or(u64::MAX);
        self.pods_before.max(count(false)) + count(true)
    }

    /// When a status is due that tells of nothing but counts.
    fn due(&self) -> Duration {
        let Some(last) = self.told.or(self.began) else { return Duration::ZERO };
        let age = last.unix_seconds.saturating_sub(self.since);
        let distance = u64::try_from((age / 2).clamp(TELL.0, TELL.1)).unwrap_or_default();
        last.monotonic + Duration::from_secs(distance)
    }
}

impl State {
    /// What a fence waits for that is to have its first Sidecar.
    pub(super) fn waits_for(&self, fence: &Fence, mode: Mode) -> Option<Wait> {
        if mode != Mode::Enforce || !fence.spec.enable {
            return None;
        }
        let asked = wait::asked(&self.settings, fence, self.around(fence))?;
        if wait::was_enforced(fence, self.index.find_sidecar(&fence.id)) {
            return None;
        }
        let (since, newest_host) = (self.observed_since(fence), self.newest_host(fence));
        wait::wait(asked, Known { since, newest_host, now: self.unix_seconds })
    }

    /// Takes in anew which fences wait that are to be looked at: those whose time is over claim their pods from now on.
    pub(super) fn refresh_waits(&mut self) {
        let is_other = |id: &&ObjectRef| {
            let waited = self.by_fence.get(*id).is_some_and(|work| work.heard.waits);
            let fence = self.index.find_fence(id);
            fence.is_some_and(|fence| self.mode(fence).wait.is_some() != waited)
        };
        let others: Vec<ObjectRef> = self.dirty.iter().filter(is_other).cloned().collect();
        for id in others {
            self.refresh_claim(Kind::Fence, &id);
        }
    }

    /// Begins or ends to count for a fence. Returns when it has waited long enough.
    pub(super) fn look_at_coverage(&mut self, fence: &Fence, now: Now) -> Option<Duration> {
        let decided = self.mode(fence);
        let (covers, since) = (self.is_covered(fence), self.observed_since(fence));
        let heard = &mut self.by_fence.entry(fence.id.clone()).or_default().heard;
        if covers {
            heard.begin(since, fence.status.coverage.as_deref(), now);
        } else {
            *heard = Heard::default();
        }
        heard.is_looked_at = true;
        // What a clock has told that was ahead does not hold anything back until then.
        heard.newest_host = heard.newest_host.map(|newest| newest.min(now.unix_seconds));
        heard.waits = decided.wait.is_some();
        let left = u64::try_from(decided.wait?.until.saturating_sub(now.unix_seconds)).ok()?;
        Some(now.monotonic.saturating_add(Duration::from_secs(left)))
    }

    /// It learns only: by its mode, or as long as it waits. Break-glass is no such reason.
    fn is_covered(&self, fence: &Fence) -> bool {
        let decided = self.mode(fence);
        fence.spec.enable && (decided.mode != Mode::Enforce || decided.wait.is_some())
    }

    /// What the status tells, what is known here, or since when the fence is ready, which it is while it learns; never later than now.
    fn observed_since(&self, fence: &Fence) -> i64 {
        let told = fence.status.coverage.as_ref().map(|coverage| coverage.since.0.as_second());
        let begun =
            || self.by_fence.get(&fence.id).filter(|work| work.heard.began.is_some()).map(|work| work.heard.since);
        let ready = || {
            let ready =
                ours(&fence.status.conditions).find(|condition| condition.type_ == READY && condition.status == "True");
            ready.map(|condition| condition.last_transition_time.0.as_second())
        };
        told.or_else(begun).or_else(ready).unwrap_or(self.unix_seconds).min(self.unix_seconds)
    }

    fn newest_host(&self, fence: &Fence) -> Option<i64> {
        let told = fence.status.coverage.as_ref().and_then(|coverage| coverage.newest_host.as_ref());
        let heard = self.by_fence.get(&fence.id).and_then(|work| work.heard.newest_host);
        heard.max(told.map(|time| time.0.as_second())).map(|newest| newest.min(self.unix_seconds))
    }

    /// What the status should tell.
    pub(super) fn shown_coverage(&self, fence: &Fence) -> Option<Box<Coverage>> {
        let heard = self.by_fence.get(&fence.id).map(|work| &work.heard).filter(|_| self.is_covered(fence))?;
        let told = fence.status.coverage.as_deref();
        let mut cron_jobs: BTreeSet<&String> = told.into_iter().flat_map(|told| &told.cron_jobs).collect();
        cron_jobs.extend(&heard.cron_jobs);
        let calls = heard.calls.max(told.map_or(0, |told| told.calls));
        Some(Box::new(Coverage {
            since: time(self.observed_since(fence))?,
            newest_host: self.newest_host(fence).and_then(time),
            pods: heard.pods().max(told.map_or(0, |told| told.pods)),
            cron_jobs: cron_jobs.into_iter().take(MOST_CRON_JOBS).cloned().collect(),
            calls,
            calls_to_fallback: heard.calls_to_fallback.max(told.map_or(0, |told| told.calls_to_fallback)).min(calls),
        }))
    }

    /// When a status is to be written for the sake of this coverage; `None` if there is nothing to tell, or it may be told at once.
    pub(super) fn coverage_waits(&self, fence: &Fence, shown: Option<&Coverage>, now: Duration) -> Option<Duration> {
        let (shown, told) = (shown?, fence.status.coverage.as_deref()?);
        let counts_alone =
            Coverage { pods: told.pods, calls: told.calls, calls_to_fallback: told.calls_to_fallback, ..shown.clone() };
        let due = self.by_fence.get(&fence.id).map(|work| work.heard.due())?;
        (shown != told && counts_alone == *told && due > now).then_some(due)
    }

    /// The look at a fence is over.
    pub(super) fn coverage_is_awaited(&mut self, id: &ObjectRef, is_awaited: bool) {
        if let Some(work) = self.by_fence.get_mut(id) {
            work.heard.is_awaited = is_awaited;
        }
    }

    /// Takes in a call of a fence that learns only.
    pub(super) fn seen_calling(&mut self, id: &ObjectRef, call: &Call, host: &str, recorded: Recorded, now: Now) {
        // A host may be learned before its fence was looked at for the first time.
        let is_early = recorded == Recorded::New && !self.is_looked_at(id);
        if !self.counts(id) && !is_early {
            return;
        }
        let is_new = recorded == Recorded::New && self.is_known_to_the_mesh(id, host);
        // A call that its own proxy tells is counted among all of them, too.
        let is_hidden = is_new && self.is_told_by_callers(id) && !self.recommends(id, host);
        let pod = match self.index.find_caller(call.caller, call.peer.as_ref()) {
            Ok(Caller::Pod(pod)) => Some(SeenPod::of(pod)),
            _ => None,
        };
        let heard = &mut self.by_fence.entry(id.clone()).or_default().heard;
        if is_new {
            heard.newest_host = Some(now.unix_seconds);
        }
        if is_hidden {
            heard.calls_to_fallback += call.count;
        }
        let is_news = pod.is_some_and(|pod| heard.saw(pod));
        if is_news && !heard.is_awaited {
            self.dirty.insert(id.clone());
        }
    }

    /// Prometheus has told of a new host.
    pub(super) fn measured_new(&mut self, id: &ObjectRef, host: &str, now: Now) {
        if (self.counts(id) || !self.is_looked_at(id)) && self.is_known_to_the_mesh(id, host) {
            self.by_fence.entry(id.clone()).or_default().heard.newest_host = Some(now.unix_seconds);
        }
    }

    /// Takes in how often the proxies of pods have told calls of their own since the last time.
    pub(super) fn counted_by_callers(&mut self, calls: &[Call]) {
        let mut entries: BTreeMap<ObjectRef, BTreeSet<String>> = BTreeMap::new();
        for call in calls {
            // Whoever is not known was counted as such when it was to be learned from.
            let Ok((namespace, fences)) = self.find_callers(call) else { continue };
            let host = complete_called(&call.authority, &namespace, &self.index);
            for id in fences {
                if !self.counts(&id) {
                    continue;
                }
                let recommended = entries.entry(id.clone()).or_insert_with(|| self.recommended_hosts(&id));
                let is_in = recommended.iter().any(|entry| covers(entry, &host, &id.namespace))
                    || (self.is_known_to_the_mesh(&id, &host) && self.has_learned(&id, &host));
                if let Some(work) = self.by_fence.get_mut(&id) {
                    work.heard.calls += call.count;
                    work.heard.calls_to_fallback += if is_in { 0 } else { call.count };
                }
            }
        }
        for id in entries.into_keys() {
            if self.by_fence.get(&id).is_some_and(|work| !work.heard.is_awaited) {
                self.dirty.insert(id);
            }
        }
    }

    fn counts(&self, id: &ObjectRef) -> bool {
        self.by_fence.get(id).is_some_and(|work| work.heard.began.is_some())
    }

    fn is_looked_at(&self, id: &ObjectRef) -> bool {
        self.by_fence.get(id).is_some_and(|work| work.heard.is_looked_at)
    }

    fn is_told_by_callers(&self, id: &ObjectRef) -> bool {
        self.index.find_fence(id).is_some_and(|fence| fence.status.caller_log.is_some())
    }

    /// What the mesh does not know goes through the global-sidecar, whatever is learned.
    fn is_known_to_the_mesh(&self, id: &ObjectRef, host: &str) -> bool {
        self.index.import_of(host, &id.namespace).is_some()
    }

    fn has_learned(&self, id: &ObjectRef, host: &str) -> bool {
        self.ledger.evidence(id).is_some_and(|evidence| evidence.contains_key(&evidence_key(host)))
    }

    fn recommends(&self, id: &ObjectRef, host: &str) -> bool {
        self.recommended_hosts(id).iter().any(|entry| covers(entry, host, &id.namespace))
    }

    /// The entries of the Sidecar that follows from what a fence's status tells.
    pub(super) fn recommended_hosts(&self, id: &ObjectRef) -> BTreeSet<String> {
        let domains = self.index.find_fence(id).into_iter().flat_map(|fence| &fence.status.domains);
        let domains: BTreeMap<String, Destinations> = domains
            .filter(|(_, domain)| !domain.external)
            .map(|(host, domain)| (host.clone(), domain.clone()))
            .collect();
        desired_hosts(&self.settings, id, &domains)
    }
}

fn time(unix_seconds: i64) -> Option<Time> {
    Timestamp::from_second(unix_seconds).ok().map(Time)
}

/// The CronJob of a pod's Job: its name is the CronJob's and the minute that it is for.
fn cron_job(labels: &Labels) -> Option<&str> {
    let job = JOB_LABELS.into_iter().find_map(|label| labels.get(label))?;
    let (name, minute) = job.rsplit_once('-')?;
    let is_minute = minute.len() >= MINUTE_DIGITS && minute.bytes().all(|byte| byte.is_ascii_digit());
    is_minute.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix_seconds: i64::try_from(seconds).unwrap() }
    }

    #[test]
    fn the_longer_a_fence_is_observed_the_more_rarely_counts_are_told_and_at_least_once_a_day() {
        let mut heard = Heard::default();
        heard.begin(100, None, at(100));
        let mut told = Vec::new();
        for _ in 0..40 {
            let due = heard.due();
            heard.told = Some(at(due.as_secs()));
            told.push(due.as_secs() - 100);
        }
        assert_eq!(told[..5], [60, 120, 180, 270, 405]);
        let of_first_day = told.iter().filter(|seconds| **seconds <= 86_400).count();
        assert_eq!(of_first_day, 18);
        assert_eq!(told[39] - told[38], 86_400);
    }

    #[test]
    fn pods_that_were_there_when_the_controller_began_are_not_counted_twice() {
        let mut told = Coverage {
            since: time(50).unwrap(),
            newest_host: None,
            pods: 3,
            cron_jobs: Vec::new(),
            calls: 7,
            calls_to_fallback: 1,
        };
        let pod = |name: &str, created| SeenPod { name: name.into(), created, cron_job: None };
        for (before, expected) in [(3, 4), (1, 3)] {
            told.pods = before;
            let mut heard = Heard::default();
            heard.begin(50, Some(&told), at(100));
            assert!(heard.saw(pod("old-1", 60)) && heard.saw(pod("old-2", 60)) && heard.saw(pod("new", 101)));
            assert!(!heard.saw(pod("old-1", 60)), "it was seen");
            assert_eq!((heard.pods(), heard.calls, heard.calls_to_fallback), (expected, 7, 1));
        }
    }

    #[test]
    fn a_cron_job_is_known_by_its_jobs_and_no_more_are_remembered_than_are_told() {
        let labels = |job: &str| Labels::from([("batch.kubernetes.io/job-name".to_owned(), job.to_owned())]);
        assert_eq!(cron_job(&labels("nightly-report-29384400")), Some("nightly-report"));
        for job in ["migrate", "migrate-2", "nightly-2938440x"] {
            assert_eq!(cron_job(&labels(job)), None, "{job}");
        }
        let mut heard = Heard::default();
        for number in 0..MOST_PODS + 10 {
            let cron_job = cron_job(&labels(&format!("job{number}-29384400"))).map(str::to_owned);
            heard.saw(SeenPod { name: format!("p{number}").into(), created: 1, cron_job });
        }
        assert_eq!((heard.pods.len(), heard.cron_jobs.len()), (MOST_PODS, MOST_CRON_JOBS));
    }
}
