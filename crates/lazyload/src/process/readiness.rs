//! Readiness that names what is awaited: each part holds a guard and drops it when it is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// What the process still waits for.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    awaited: Arc<Mutex<BTreeMap<String, usize>>>,
    came: Arc<Notify>,
    notes: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// Something awaited; dropping it means that it has come.
#[derive(Debug)]
pub struct Awaited {
    what: String,
    readiness: Readiness,
}

impl Readiness {
    /// Not ready until the guard is dropped.
    #[must_use = "dropping the guard at once means ready at once"]
    pub fn awaits(&self, what: impl Into<String>) -> Awaited {
        let what = what.into();
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        *awaited.entry(what.clone()).or_default() += 1;
        Awaited { what, readiness: self.clone() }
    }

    /// Waits until nothing is awaited.
    pub async fn reached(&self) {
        loop {
            let came = self.came.notified();
            if self.awaited().is_empty() {
                return;
            }
            came.await;
        }
    }

    /// Says something beside the readiness, on a topic of which the last word counts; `None` takes it back.
    pub fn note(&self, topic: &'static str, text: Option<String>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => drop(notes.insert(topic, text)),
            None => drop(notes.remove(topic)),
        }
    }

    /// What is said beside the readiness, by topic.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What is awaited, in alphabetical order; empty means ready.
    #[must_use]
    pub fn awaited(&self) -> Vec<String> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut awaited = self.readiness.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = awaited.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                awaited.remove(&self.what);
                self.readiness.came.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_what_is_awaited_until_every_guard_is_dropped() {
        let readiness = Readiness::default();
        let first = readiness.awaits("services");
        let second = readiness.awaits("services");
        drop(first);
        assert_eq!(readiness.awaited(), ["services"]);
        drop(second);
        assert!(readiness.awaited().is_empty());
    }
}
