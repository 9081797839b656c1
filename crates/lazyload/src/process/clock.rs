//! The two clocks of `Now`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use lazyload_logic::types::Now;

/// Measures from the moment of its making.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The current moment.
    #[must_use]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Now { monotonic: self.start.elapsed(), unix_seconds: i64::try_from(unix).unwrap_or(i64::MAX) }
    }
}
