//! How long a call is on its way here: from its beginning, by the clock of the global-sidecar's proxy, until its log entry was taken in. The
//! first part of the time to direct; asked of new pairs alone.

use std::time::{Duration, SystemTime};

use prometheus_client::metrics::histogram::Histogram;

use super::fields::{Fields, Value};

/// Counts how long; clones count into the same.
#[derive(Clone, Debug)]
pub(crate) struct OnTheWay(pub(crate) Histogram);

impl Default for OnTheWay {
    fn default() -> Self {
        Self(Histogram::new([0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]))
    }
}

impl OnTheWay {
    /// A call that began at this Unix time is here. A proxy whose clock is ahead of ours counts as quick.
    pub(super) fn since(&self, began: Duration) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.observe(now.saturating_sub(began).as_secs_f64());
    }
}

/// The Unix time of a `google.protobuf.Timestamp`; nothing where it is none.
pub(super) fn unix_time(timestamp: &[u8]) -> Option<Duration> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in Fields::new(timestamp) {
        match field.ok()? {
            (1, Value::Number(number)) => seconds = number,
            (2, value) => nanoseconds = value.uint32().ok()?,
            _ => {}
        }
    }
    // A negative number of either is far beyond these.
    let is_a_time = (1..1 << 40).contains(&seconds) && nanoseconds < 1_000_000_000;
    is_a_time.then(|| Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use prost::Message;
    use tokio::sync::mpsc;

    use super::super::client::mk_message;
    use super::super::counters::Counters;
    use super::super::intake::Intake;
    use super::super::seen::Limits;
    use super::super::wire;
    use super::*;

    #[test]
    fn a_time_is_read_and_what_is_none_is_not() {
        assert_eq!(unix_time(&[0x08, 0x96, 0x01, 0x10, 0x07]), Some(Duration::new(150, 7)));
        assert_eq!(unix_time(&[0x08, 0x96, 0x01]), Some(Duration::new(150, 0)));
        let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let negative_seconds = [&[0x08], &minus_one[..]].concat();
        let negative_nanoseconds = [&[0x08, 0x01, 0x10], &minus_one[..]].concat();
        for none in [&[][..], &[0x08], &[0x10, 0x07], &negative_seconds, &negative_nanoseconds, b"\xff\xff"] {
            assert_eq!(unix_time(none), None, "{none:?}");
        }
    }

    /// `start_time` of `AccessLogCommon` of an entry, which merges with the others of it.
    fn began(unix_seconds: u64) -> Vec<u8> {
        #[derive(Clone, PartialEq, Message)]
        struct Timestamp {
            #[prost(uint64, tag = "1")]
            seconds: u64,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Common {
            #[prost(message, optional, tag = "5")]
            start_time: Option<Timestamp>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Entry {
            #[prost(message, optional, tag = "1")]
            common: Option<Common>,
        }
        let common = Common { start_time: Some(Timestamp { seconds: unix_seconds }) };
        Entry { common: Some(common) }.encode_to_vec()
    }

    /// A message of calls of these hosts that began then.
    fn message(calls: &[(&str, u64)]) -> Vec<u8> {
        let entries = calls.iter().map(|(host, seconds)| {
            let message = mk_message(&[([10, 0, 0, 1].into(), host, 9080)]);
            let message = wire::StreamAccessLogsMessage::decode(message).unwrap();
            let entry = message.http_logs.unwrap().log_entry.remove(0).encode_to_vec();
            [entry, began(*seconds)].concat()
        });
        #[derive(Clone, PartialEq, Message)]
        struct Entries {
            #[prost(bytes = "vec", repeated, tag = "1")]
            entries: Vec<Vec<u8>>,
        }
        #[derive(Clone, PartialEq, Message)]
        struct Logs {
            #[prost(message, optional, tag = "2")]
            http_logs: Option<Entries>,
        }
        Logs { http_logs: Some(Entries { entries: entries.collect() }) }.encode_to_vec()
    }

    #[test]
    fn of_the_new_pairs_of_a_message_the_longest_time_counts_and_repeats_do_not() {
        let counters = Arc::new(Counters::default());
        let (calls_tx, mut calls) = mpsc::channel(8);
        let start = Instant::now();
        let mut intake = Intake::new(calls_tx, counters.clone(), Limits::default(), start);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let message = message(&[("details", now + 3600), ("reviews", now - 7), ("ratings", now - 3)]);
        intake.take(&message, start).unwrap();
        intake.take(&message, start).unwrap();
        assert_eq!(calls.try_recv().unwrap().len(), 3);
        let mut registry = Registry::default();
        registry.register("log", "Log", counters.on_the_way.0.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["log_count 1", "log_bucket{le=\"5.0\"} 0", "log_bucket{le=\"30.0\"} 1"] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
