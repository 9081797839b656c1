//! How well a fence is known, in words.

use lazyload_api::service_fence::Coverage;

use super::age;

/// CronJobs that are named in a sentence.
const NAMED: usize = 4;

/// In one sentence.
#[must_use]
pub fn coverage_told(coverage: &Coverage, now: i64) -> String {
    let mut parts = vec![
        format!("observed for {} (since {})", age(coverage.since.0.as_second(), now), coverage.since.0),
        match &coverage.newest_host {
            Some(newest) => format!("its newest host is {} old", age(newest.0.as_second(), now)),
            None => "nothing new learned since".to_owned(),
        },
        format!("{} seen calling{}", seen(coverage), cron_jobs(coverage)),
    ];
    if coverage.calls > 0 {
        let (calls, hidden) = (coverage.calls, coverage.calls_to_fallback);
        parts.push(format!(
            "{hidden} of {calls} calls ({}) would have gone through the global-sidecar",
            share(coverage)
        ));
    }
    parts.join("; ")
}

/// Cells of a table: since when it is observed, the age of its newest host, who was seen calling, the share of calls that would have gone through the
/// global-sidecar.
#[must_use]
pub fn coverage_cells(coverage: Option<&Coverage>, now: i64) -> [String; 4] {
    let Some(coverage) = coverage else { return std::array::from_fn(|_| "-".to_owned()) };
    let newest = coverage.newest_host.as_ref().map_or(0, |newest| newest.0.as_second());
    let jobs = u64::try_from(coverage.cron_jobs.len()).unwrap_or(u64::MAX);
    let jobs = if jobs == 0 { String::new() } else { format!(", {}", counted(jobs, "CronJob")) };
    [age(coverage.since.0.as_second(), now), age(newest, now), seen(coverage) + &jobs, share(coverage)]
}

fn seen(coverage: &Coverage) -> String {
    counted(coverage.pods, "pod")
}

fn cron_jobs(coverage: &Coverage) -> String {
    let named: Vec<&str> = coverage.cron_jobs.iter().take(NAMED).map(String::as_str).collect();
    let more = coverage.cron_jobs.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    if named.is_empty() { String::new() } else { format!(", some of CronJob {}{more}", named.join(", ")) }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// In percent, rounded up: a share of nothing is what has none.
fn share(coverage: &Coverage) -> String {
    let (calls, hidden) = (u128::from(coverage.calls), u128::from(coverage.calls_to_fallback));
    if calls == 0 {
        return "-".to_owned();
    }
    let thousandths = (hidden * 100_000).div_ceil(calls);
    format!("{}.{:03}%", thousandths / 1_000, thousandths % 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn coverage(value: serde_json::Value) -> Coverage {
        serde_json::from_value(value).unwrap()
    }

    const DAY: i64 = 86_400;

    #[test]
    fn a_fence_is_known_by_time_newest_host_pods_cron_jobs_and_what_a_sidecar_would_have_hidden() {
        let coverage =
            coverage(json!({"since": "1970-01-02T00:00:00Z", "newestHost": "1970-01-03T00:00:00Z", "pods": 3,
            "cronJobs": ["a", "b", "c", "d", "e"], "calls": 120_345, "callsToFallback": 12}));
        assert_eq!(
            coverage_told(&coverage, 6 * DAY),
            "observed for 5d (since 1970-01-02T00:00:00Z); its newest host is 4d old; 3 pods seen calling, some of CronJob a, b, c, d and 1 more; \
             12 of 120345 calls (0.010%) would have gone through the global-sidecar"
        );
        assert_eq!(coverage_cells(Some(&coverage), 6 * DAY), ["5d", "4d", "3 pods, 5 CronJobs", "0.010%"]);
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_no_share_is_rounded_to_nothing() {
        let little = coverage(json!({"since": "1970-01-02T00:00:00Z", "pods": 1}));
        assert_eq!(
            coverage_told(&little, 2 * DAY),
            "observed for 24h (since 1970-01-02T00:00:00Z); nothing new learned since; 1 pod seen calling"
        );
        assert_eq!(coverage_cells(Some(&little), 2 * DAY), ["24h", "-", "1 pod", "-"]);
        assert_eq!(coverage_cells(None, 0), ["-", "-", "-", "-"]);
        for (calls, hidden, expected) in [(1_000_000_000, 1, "0.001%"), (3, 3, "100.000%"), (7, 0, "0.000%")] {
            let of = coverage(json!({"since": "1970-01-02T00:00:00Z", "calls": calls, "callsToFallback": hidden}));
            assert_eq!(share(&of), expected);
        }
    }
}
