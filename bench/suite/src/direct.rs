//! Time to direct on a real mesh, as `mesh::switch` of the project's tests reports it.

use lazyload_bench_common::{Spread, quantile};
use serde::Deserialize;

/// What was seen of all kinds.
#[derive(Deserialize)]
pub struct Direct {
    pub kinds: Vec<Kind>,
}

/// Of so many hosts at once, beside so many requests each second.
#[derive(Deserialize)]
pub struct Kind {
    #[serde(rename = "kind")]
    pub name: String,
    pub ours: Way,
    /// A script that changes its Sidecar at the first answer.
    pub floor: Way,
}

#[derive(Deserialize)]
pub struct Way {
    /// From the first request to the first direct one, of each host that was probed.
    pub ms: Vec<f64>,
    pub requests_lost: u64,
}

impl Way {
    pub fn median(&self) -> f64 {
        Spread::of(self.ms.iter().copied()).median
    }

    pub fn p99(&self) -> f64 {
        quantile(&self.ms, 0.99)
    }
}
