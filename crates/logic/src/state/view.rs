//! What those see who look at a running controller: fences with their Sidecars, in pages that are small enough never to hold anything up, and which
//! of them are different since the last look. Nothing of it is noted while nobody looks.

use std::collections::BTreeSet;

use super::State;
use super::history::Moment;
use crate::types::{Fence, Kind, ObjectRef, Sidecar};

/// Fences of a page, and hosts of all of them, at which it ends.
const PAGE: (usize, usize) = (256, 4096);

/// Some fences and their Sidecars.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In order of their names.
    pub fences: Vec<Fence>,
    /// Of these fences, where there are some.
    pub sidecars: Vec<Sidecar>,
    /// There may be more after this one.
    pub next: Option<ObjectRef>,
}

/// One fence, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Closeup {
    /// It.
    pub fence: Fence,
    /// Its Sidecar, or the one that stands in its place.
    pub sidecar: Option<Sidecar>,
    /// What happened to it.
    pub history: Vec<Moment>,
}

impl State {
    /// The fences after this one, or the first ones.
    #[must_use]
    pub fn page_of_fences(&self, after: Option<&ObjectRef>) -> Page {
        self.page(self.index.fences_after(after))
    }

    /// Of these fences those that are there: the first ones, if they are too many for one page.
    #[must_use]
    pub fn fences_among(&self, ids: &BTreeSet<ObjectRef>) -> Page {
        self.page(ids.iter().filter_map(|id| self.index.find_fence(id)))
    }

    /// One fence; nothing if there is none of this name.
    #[must_use]
    pub fn closeup(&self, id: &ObjectRef) -> Option<Closeup> {
        let fence = self.index.find_fence(id)?.clone();
        Some(Closeup { sidecar: self.index.find_sidecar(id).cloned(), history: self.history(id), fence })
    }

    /// Begins or ends to note which fences are different.
    pub fn watch_news(&mut self, watched: bool) {
        if watched != self.news.is_some() {
            self.news = watched.then(BTreeSet::new);
        }
    }

    /// Fences that came, went or changed, or whose Sidecar did, since the last time; none unless they are watched.
    pub fn take_news(&mut self) -> BTreeSet<ObjectRef> {
        self.news.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note_news(&mut self, kind: Kind, id: &ObjectRef) {
        if let Some(news) = self.news.as_mut().filter(|_| matches!(kind, Kind::Fence | Kind::Sidecar)) {
            news.insert(id.clone());
        }
    }

    fn page<'a>(&'a self, fences: impl Iterator<Item = &'a Fence>) -> Page {
        let mut page = Page::default();
        let mut hosts = 0;
        for fence in fences {
            hosts += fence.status.domains.len() + fence.status.metric_status.len();
            page.sidecars.extend(self.index.find_sidecar(&fence.id).cloned());
            page.fences.push(fence.clone());
            if page.fences.len() >= PAGE.0 || hosts >= PAGE.1 {
                page.next = Some(fence.id.clone());
                break;
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::convert;
    use crate::settings::{Context, resolve};
    use crate::state::Event;
    use crate::types::Now;

    fn apply(state: &mut State, object: &Value) {
        let now = Now { monotonic: Duration::from_secs(1), unix_seconds: 1 };
        state.on(Event::Applied(Box::new(convert::object(object).unwrap().unwrap())), now);
    }

    fn fence(name: &str, version: u32, hosts: usize) -> Value {
        let domains: serde_json::Map<String, Value> =
            (0..hosts).map(|host| (format!("h{host}.example"), json!({"external": true}))).collect();
        json!({"apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"namespace": "default", "name": name, "uid": name, "resourceVersion": version.to_string()},
            "spec": {"enable": true}, "status": {"domains": domains}})
    }

    fn state(fences: usize, hosts: usize) -> State {
        let (mut state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
        (0..fences).for_each(|number| apply(&mut state, &fence(&format!("f{number:04}"), 1, hosts)));
        state
    }

    /// How many fences each page has.
    fn pages(state: &State) -> Vec<usize> {
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = state.page_of_fences(after.as_ref());
            pages.push(page.fences.len());
            match page.next {
                Some(next) => after = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn no_look_at_two_thousand_fences_takes_more_than_a_page_of_work() {
        let told = pages(&state(2_000, 3));
        assert_eq!((told.iter().sum::<usize>(), told.iter().max()), (2_000, Some(&256)));
        assert_eq!(pages(&state(3, 5_000)), [1, 1, 1, 0], "big fences come one by one");
        assert_eq!(pages(&state(0, 0)), [0]);
    }

    #[test]
    fn news_is_noted_while_somebody_looks_and_each_fence_once() {
        let mut state = state(3, 0);
        assert!(state.take_news().is_empty());
        state.watch_news(true);
        apply(&mut state, &fence("f0001", 2, 1));
        apply(&mut state, &fence("f0001", 3, 2));
        // What is known already is no news.
        apply(&mut state, &fence("f0002", 1, 0));
        let id = ObjectRef::new("default", "f0002");
        state.on(Event::Deleted(Kind::Fence, id.clone()), Now { monotonic: Duration::from_secs(2), unix_seconds: 2 });
        let news = state.take_news();
        assert_eq!(news, [ObjectRef::new("default", "f0001"), id].into());
        assert_eq!(state.fences_among(&news).fences.len(), 1, "the other one is gone");
        apply(&mut state, &fence("f0001", 4, 0));
        state.watch_news(true);
        assert_eq!(state.take_news().len(), 1);
        state.watch_news(false);
        apply(&mut state, &fence("f0001", 5, 1));
        assert!(state.take_news().is_empty());
    }
}
