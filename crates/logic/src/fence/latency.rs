//! How long istiod really takes, from its own counters: what it waits for quiet before a push (`pilot_debounce_time`), and how long a push then
//! takes to reach the proxies (`pilot_proxy_convergence_time`). Reasons: docs/adr/0025.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::delivery::QUIET;

/// What is learned is never more than this, each.
pub const MOST: Duration = Duration::from_secs(5);
/// The share of pushes that have arrived after what is learned.
const QUANTILE: f64 = 0.99;
/// Readings that count together: an istiod that was slow is believed for that many.
const READINGS: usize = 8;
/// Processes of istiod that are told apart; the rest are forgotten.
const PROCESSES: usize = 16;

/// What is added up in a reading.
const DEBOUNCE: &str = "pilot_debounce_time";
const CONVERGENCE: &str = "pilot_proxy_convergence_time";

/// How long istiod takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// It pushes once there was no change for this long.
    pub quiet: Duration,
    /// What a push takes beyond the quiet before the next one, which comes no sooner than that.
    pub slack: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self { quiet: QUIET, slack: Duration::ZERO }
    }
}

/// The counters of one process of istiod at one time. They only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Which process: when it was started.
    process: String,
    debounced: f64,
    debounced_seconds: f64,
    /// Pushes that took at most so long, by the bound as it is written; `+Inf` has all.
    arrived: Vec<(f64, f64)>,
}

/// Reads what istiod's `/metrics` says; `None` if that is not istiod's, or says nothing of pushes.
#[must_use]
pub fn read(text: &str) -> Option<Counters> {
    let mut counters = Counters::default();
    let mut arrived: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
    let mut has_debounce = false;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        if name == "process_start_time_seconds" {
            value.clone_into(&mut counters.process);
            continue;
        }
        let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0) else {
            continue;
        };
        if name.strip_prefix(DEBOUNCE) == Some("_count") {
            has_debounce = true;
            counters.debounced += number;
        } else if name.strip_prefix(DEBOUNCE) == Some("_sum") {
            counters.debounced_seconds += number;
        } else if name.strip_prefix(CONVERGENCE) == Some("_bucket")
            && let Some(bound) = bound(labels)
        {
            arrived.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += number;
        }
    }
    counters.arrived = arrived.into_values().collect();
    has_debounce.then_some(counters)
}

/// The bound of a bucket: not negative, so that its bits sort as it does.
fn bound(labels: &str) -> Option<f64> {
    let (_, rest) = labels.split_once("le=\"")?;
    let (text, _) = rest.split_once('"')?;
    let bound = if text == "+Inf" { f64::INFINITY } else { text.parse().ok()? };
    (bound >= 0.0).then_some(bound)
}

/// What happened between two readings of a process.
#[derive(Clone, Debug, Default)]
struct Reading {
    debounced: f64,
    debounced_seconds: f64,
    arrived: Vec<(f64, f64)>,
}

/// Learns from readings.
#[derive(Clone, Debug, Default)]
pub struct Learner {
    /// By process, the last one read last.
    known: VecDeque<Counters>,
    recent: VecDeque<Reading>,
}

impl Learner {
    /// Takes in a reading. The first one of a process tells of all its life how long it waits, and nothing of how long its pushes take: while
    /// it starts they are slow. Returns what is known then; `None` if nothing is.
    pub fn take(&mut self, counters: Counters) -> Option<Latency> {
        let at = self.known.iter().position(|known| known.process == counters.process);
        let before = at.and_then(|at| self.known.remove(at));
        let is_first = before.is_none();
        let before = before.unwrap_or_default();
        let reading = Reading {
            debounced: counters.debounced - before.debounced,
            debounced_seconds: counters.debounced_seconds - before.debounced_seconds,
            arrived: if is_first { Vec::new() } else { arrived_since(&counters, &before) },
        };
        self.known.push_back(counters);
        if self.known.len() > PROCESSES {
            self.known.pop_front();
        }
        // Nothing was pushed, or the process began anew without saying so.
        if reading.debounced >= 1.0 && reading.debounced_seconds >= 0.0 {
            self.recent.push_back(reading);
        }
        if self.recent.len() > READINGS {
            self.recent.pop_front();
        }
        self.latency()
    }

    fn latency(&self) -> Option<Latency> {
        // The slowest of the recent ones: too long costs some calls a detour, too short can lose them.
        let means = self.recent.iter().map(|reading| reading.debounced_seconds / reading.debounced);
        let quiet = seconds(means.reduce(f64::max)?).max(QUIET).min(MOST);
        let pushes = self.recent.iter().filter_map(|reading| quantile(&reading.arrived));
        let push = pushes.reduce(f64::max).map(seconds).unwrap_or_default();
        Some(Latency { quiet, slack: push.saturating_sub(quiet).min(MOST) })
    }
}

fn arrived_since(counters: &Counters, before: &Counters) -> Vec<(f64, f64)> {
    counters.arrived.iter().map(|(bound, count)| (*bound, count - count_of(before, *bound))).collect()
}

fn count_of(counters: &Counters, bound: f64) -> f64 {
    let found = counters.arrived.iter().find(|(known, _)| known.to_bits() == bound.to_bits());
    found.map_or(0.0, |(_, count)| *count)
}

/// The quantile by its bucket, as Prometheus would estimate it; beyond the last bound, that bound. `None` without pushes.
fn quantile(arrived: &[(f64, f64)]) -> Option<f64> {
    let total = arrived.last().map(|(_, count)| *count).filter(|total| *total >= 1.0)?;
    let wanted = QUANTILE * total;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in arrived {
        if *count >= wanted {
            let inside = if *count > below { (wanted - below) / (count - below) } else { 1.0 };
            return Some(if bound.is_finite() { lower + (bound - lower) * inside } else { lower });
        }
        (lower, below) = (*bound, *count);
    }
    None
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As istiod 1.31 writes them; `slow` of 100 pushes take between one and three seconds.
    fn text(process: u32, debounces: u32, seconds: f64, slow: u32) -> String {
        format!(
            "# HELP pilot_debounce_time Delay\npilot_debounce_time_bucket{{le=\"0.1\"}} 0\npilot_debounce_time_sum {seconds}\n\
             pilot_debounce_time_count {debounces}\npilot_proxy_convergence_time_bucket{{le=\"0.1\"}} {}\n\
             pilot_proxy_convergence_time_bucket{{le=\"1\"}} {}\npilot_proxy_convergence_time_bucket{{le=\"3\"}} 100\n\
             pilot_proxy_convergence_time_bucket{{le=\"+Inf\"}} 100\npilot_proxy_convergence_time_sum 1.5\n\
             process_start_time_seconds {process}\n",
            100 - slow,
            100 - slow
        )
    }

    fn taken(learner: &mut Learner, text: &str) -> Option<(u128, u128)> {
        let latency = learner.take(read(text)?)?;
        Some((latency.quiet.as_millis(), latency.slack.as_millis()))
    }

    #[test]
    fn an_idle_istiod_is_as_the_model_says() {
        assert_eq!(taken(&mut Learner::default(), &text(1, 25, 2.53, 0)), Some((101, 0)));
        assert_eq!(taken(&mut Learner::default(), &text(1, 10, 0.2, 0)), Some((100, 0)), "never less than the model");
    }

    #[test]
    fn a_longer_debounce_is_learned_from_what_happened_since_the_last_reading() {
        let mut learner = Learner::default();
        assert_eq!(taken(&mut learner, &text(1, 100, 10.0, 0)), Some((100, 0)));
        assert_eq!(taken(&mut learner, &text(1, 102, 12.0, 0)), Some((1000, 0)));
        assert_eq!(taken(&mut learner, &text(1, 102, 12.0, 0)), Some((1000, 0)), "nothing was pushed");
    }

    #[test]
    fn a_slow_time_is_forgotten_after_as_many_readings() {
        let mut learner = Learner::default();
        assert_eq!(taken(&mut learner, &text(1, 1, 1.0, 0)), Some((1000, 0)));
        let last =
            (2..=9).map(|count| taken(&mut learner, &text(1, count, 1.0 + 0.1 * f64::from(count - 1), 0))).last();
        assert_eq!(last, Some(Some((100, 0))));
    }

    #[test]
    fn pushes_that_arrive_late_are_waited_for_beyond_the_quiet_before_the_next_one() {
        let after_its_start = |slow| {
            let mut learner = Learner::default();
            let start = read(&text(1, 0, 0.0, 0).replace("100\n", "0\n")).unwrap();
            assert_eq!(learner.take(start), None);
            taken(&mut learner, &text(1, 10, 1.0, slow))
        };
        assert_eq!(after_its_start(50), Some((100, 2860)), "98 % of the way from one second to three, less the quiet");
        assert_eq!(after_its_start(1), Some((100, 0)), "one in a hundred");
        assert_eq!(taken(&mut Learner::default(), &text(1, 10, 1.0, 50)), Some((100, 0)), "while it starts");
    }

    #[test]
    fn replicas_of_istiod_are_told_apart_and_what_is_learned_is_bounded() {
        let mut learner = Learner::default();
        taken(&mut learner, &text(1, 1_000, 100.0, 0));
        assert_eq!(taken(&mut learner, &text(2, 10, 1.2, 0)), Some((120, 0)));
        assert_eq!(taken(&mut learner, &text(1, 1_001, 100.1, 0)), Some((120, 0)));
        assert_eq!(taken(&mut learner, &text(3, 1, 60.0, 0)), Some((5000, 0)));
        for process in 10..100 {
            taken(&mut learner, &text(process, 1, 0.1, 0));
        }
        assert!(learner.known.len() <= PROCESSES && learner.recent.len() <= READINGS);
    }

    #[test]
    fn what_is_not_istiods_tells_nothing() {
        for other in ["", "<html>\n</html>\n", "pilot_debounce_time_count NaN\n", "envoy_x{le=\"1\"} 4\n"] {
            assert_eq!(read(other), None, "{other}");
        }
        let fresh = read("pilot_debounce_time_count 0\npilot_debounce_time_sum 0\n").unwrap();
        assert_eq!(Learner::default().take(fresh), None);
    }
}
