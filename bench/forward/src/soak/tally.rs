//! What became of the requests.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::Serialize;

/// So many losses are told in words.
const TOLD: usize = 10;

#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    pub answered: u64,
    /// Failed, and their destination was dead at some time between their begin and their end.
    pub excused: u64,
    /// Failed without an excuse.
    pub lost: u64,
    pub losses: Vec<String>,
    pub by_kind: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn answered(&mut self, kind: &'static str) {
        self.answered += 1;
        *self.by_kind.entry(kind).or_default() += 1;
    }

    pub fn failed(&mut self, kind: &'static str, error: &anyhow::Error, was_dead: bool) {
        if was_dead {
            self.excused += 1;
            return;
        }
        self.lost += 1;
        if self.losses.len() < TOLD {
            self.losses.push(format!("{kind}: {error:#}"));
        }
    }
}

pub fn take(tally: &RefCell<Tally>) -> Tally {
    tally.borrow().clone()
}
