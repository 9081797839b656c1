//! A histogram of short times that many threads count into without waiting for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper ends of the classes in nanoseconds, each with its name in seconds; what is longer than the last belongs to no class but "all".
const CLASSES: [(u64, f64); 12] = [
    (10_000, 10e-6),
    (20_000, 20e-6),
    (50_000, 50e-6),
    (100_000, 100e-6),
    (200_000, 200e-6),
    (500_000, 500e-6),
    (1_000_000, 1e-3),
    (2_000_000, 2e-3),
    (5_000_000, 5e-3),
    (20_000_000, 20e-3),
    (100_000_000, 100e-3),
    (1_000_000_000, 1.0),
];

/// Clones count into the same. The library's own histogram takes a lock for each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Latency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_class: [AtomicU64; CLASSES.len()],
    longer: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Latency {
    pub(super) fn observe(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let class = CLASSES.iter().zip(&self.0.by_class).find(|((end, _), _)| nanoseconds <= *end);
        let count = class.map_or(&self.0.longer, |(_, count)| count);
        count.fetch_add(1, Ordering::Relaxed);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let counts = self.0.by_class.iter().map(|count| count.load(Ordering::Relaxed));
        let mut classes: Vec<(f64, u64)> = CLASSES.iter().map(|(_, seconds)| *seconds).zip(counts).collect();
        classes.push((f64::INFINITY, self.0.longer.load(Ordering::Relaxed)));
        let all = classes.iter().map(|(_, count)| count).sum();
        let seconds = Duration::from_nanos(self.0.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(seconds, all, &classes, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[test]
    fn a_time_is_counted_in_its_class_and_in_the_sum() {
        let latency = Latency::default();
        for nanoseconds in [10_000, 10_001, 1_000_000_001] {
            latency.observe(Duration::from_nanos(nanoseconds));
        }
        let mut registry = Registry::default();
        registry.register("time", "Time", latency);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "time_bucket{le=\"0.00001\"} 1",
            "time_bucket{le=\"0.00002\"} 2",
            "time_bucket{le=\"1.0\"} 2",
            "time_bucket{le=\"+Inf\"} 3",
            "time_count 3",
            "time_sum 1.000020002",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
