//! Owns what is asked of Prometheus and what its answers mean: queries made from the user's templates, samples given to fences.
//! Never sends anything and never remembers: the ledger's window knows what was seen when.
//! Next: `template` for one handler's queries, `batch` for one query instead of a thousand, `answer` for what comes back.

mod answer;
mod batch;
mod reading;
mod template;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use answer::{AnswerError, Found, SKIP_REASONS};
pub use reading::Reading;
pub use template::{Query, Template};

use crate::types::ObjectRef;

/// Samples of one fence: the metric's text form to the sample's.
pub type Samples = BTreeMap<String, String>;

/// What one handler told in a round of queries.
#[derive(Clone, Debug)]
pub struct Told {
    /// The handler's name.
    pub handler: Arc<str>,
    /// What a sample of it means.
    pub reading: Reading,
    /// Every fence for which there was an answer, with its samples; a fence whose query failed is missing.
    pub fences: BTreeMap<ObjectRef, Samples>,
}

/// One round of queries.
#[derive(Clone, Debug)]
pub struct Round {
    /// Whether it was about every enabled fence; a round about a few tells nothing of time that passed.
    pub full: bool,
    /// By handler; a handler of which no query was answered has no fences.
    pub told: Vec<Told>,
}
