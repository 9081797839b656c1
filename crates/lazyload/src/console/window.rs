//! The window between the engine and those who look: questions that the engine answers between two events, and what it tells by itself while somebody
//! listens.

use std::collections::BTreeSet;
use std::sync::Arc;

use lazyload_logic::settings::Entry;
use lazyload_logic::state::State;
use lazyload_logic::state::history::Moment;
use lazyload_logic::state::savings::Savings;
use lazyload_logic::state::view::{Closeup, Page};
use lazyload_logic::types::ObjectRef;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Questions that wait for the engine at most; who asks more waits.
const QUESTIONS: usize = 8;
/// News that wait for a listener at most; one that is slower begins anew.
const NEWS: usize = 256;

/// A question of those who look.
pub(super) enum Question {
    /// The fences after this one.
    After(Option<ObjectRef>, oneshot::Sender<Page>),
    /// These fences.
    Among(Arc<BTreeSet<ObjectRef>>, oneshot::Sender<Page>),
    /// One fence.
    One(ObjectRef, oneshot::Sender<Option<Closeup>>),
    /// What happened to a fence.
    Timeline(ObjectRef, oneshot::Sender<Vec<Moment>>),
    /// What fences save.
    Savings(oneshot::Sender<Savings>),
    /// The settings in force.
    Settings(oneshot::Sender<Vec<Entry>>),
    /// How much there is, and who writes it.
    Counts(oneshot::Sender<Counts>),
}

/// How much there is, and who writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// This replica writes.
    pub leads: bool,
    /// Services.
    pub services: usize,
    /// Fences.
    pub fences: usize,
}

/// What the engine tells by itself.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// These fences or their Sidecars are different.
    Fences(Arc<BTreeSet<ObjectRef>>),
    /// This replica writes from now on.
    Leads,
}

/// The engine has ended, and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller is ending")]
pub(super) struct Closed;

/// The side of those who look.
#[derive(Clone, Debug)]
pub struct Window {
    questions: mpsc::Sender<Question>,
    news: broadcast::Sender<News>,
}

/// The engine's side.
#[derive(Debug)]
pub struct Viewed {
    questions: mpsc::Receiver<Question>,
    news: broadcast::Sender<News>,
}

/// Both sides of a window.
#[must_use]
pub fn window() -> (Window, Viewed) {
    let (questions_tx, questions) = mpsc::channel(QUESTIONS);
    let (news, _) = broadcast::channel(NEWS);
    (Window { questions: questions_tx, news: news.clone() }, Viewed { questions, news })
}

impl Window {
    /// Asks, and waits for the answer.
    pub(super) async fn ask<A>(&self, question: impl FnOnce(oneshot::Sender<A>) -> Question) -> Result<A, Closed> {
        let (answer_tx, answer) = oneshot::channel();
        self.questions.send(question(answer_tx)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }

    /// From now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

impl Viewed {
    /// The next question; none ever, once nobody can ask any more.
    pub(crate) async fn next(&mut self) -> Asked {
        match self.questions.recv().await {
            Some(question) => Asked(question),
            None => std::future::pending().await,
        }
    }

    /// Lets the state note news while somebody listens, and tells what there is.
    pub(crate) fn tell(&self, state: &mut State) {
        let is_watched = self.news.receiver_count() > 0;
        state.watch_news(is_watched);
        let fences = state.take_news();
        if !fences.is_empty() {
            self.send(News::Fences(Arc::new(fences)));
        }
    }

    /// This replica writes from now on.
    pub(crate) fn leads(&self) {
        self.send(News::Leads);
    }

    fn send(&self, news: News) {
        if self.news.send(news).is_err() {
            tracing::trace!("nobody looks any more");
        }
    }
}

/// A question that the engine was asked.
pub(crate) struct Asked(Question);

impl Asked {
    /// Answers it. Who asked may have gone meanwhile.
    pub(crate) fn answer(self, state: &State, leads: bool) {
        match self.0 {
            Question::After(after, answer) => drop(answer.send(state.page_of_fences(after.as_ref()))),
            Question::Among(ids, answer) => drop(answer.send(state.fences_among(&ids))),
            Question::One(id, answer) => drop(answer.send(state.closeup(&id))),
            Question::Timeline(id, answer) => drop(answer.send(state.history(&id))),
            Question::Savings(answer) => drop(answer.send(state.savings())),
            Question::Settings(answer) => drop(answer.send(state.settings().entries())),
            Question::Counts(answer) => {
                let index = state.index();
                let counts = Counts { leads, services: index.services().count(), fences: index.fences().count() };
                drop(answer.send(counts));
            }
        }
    }
}
