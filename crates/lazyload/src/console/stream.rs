//! What is told live, as server-sent events: fences that are different, the traffic through the global-sidecar, who writes. Bounded: so many listeners at
//! most, and one that is too slow is told to begin anew.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use lazyload_logic::report::console::rows;
use lazyload_logic::types::ObjectRef;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::server::Console;
use super::window::{Closed, News, Question};

/// Listeners at once.
pub(super) const LISTENERS: usize = 16;
/// Events that wait for a listener at most; while they do, news are gathered.
const EVENTS: usize = 4;
/// News of a burst are told together.
const GATHER: Duration = Duration::from_millis(200);
/// A comment, so that whoever is in between does not take the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Begins to tell.
pub(super) async fn events(State(console): State<Console>) -> Response {
    let Ok(permit) = console.listeners.clone().try_acquire_owned() else {
        let told = format!("{LISTENERS} pages listen already. Close one.\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], told).into_response();
    };
    let (events_tx, events) = mpsc::channel(EVENTS);
    // Before the page asks for anything, so that nothing falls between.
    let news = console.window.listen();
    tokio::spawn(tell(Listener { console, events: events_tx, _permit: permit }, news));
    Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

struct Listener {
    console: Console,
    events: mpsc::Sender<Result<Event, Infallible>>,
    _permit: OwnedSemaphorePermit,
}

/// Why a stream ends: who listens has gone, or the engine has.
struct Over;

impl From<Closed> for Over {
    fn from(_: Closed) -> Self {
        Self
    }
}

async fn tell(listener: Listener, news: broadcast::Receiver<News>) {
    let gone = listener.events.clone();
    let shutdown = listener.console.shutdown.clone();
    tokio::select! {
        told = listener.follow(news) => drop(told),
        () = gone.closed() => {}
        () = shutdown.cancelled() => {}
    }
}

impl Listener {
    async fn follow(self, mut news: broadcast::Receiver<News>) -> Result<(), Over> {
        self.send("about", &self.console.about().await?).await?;
        let mut busiest = self.console.metrics.follow_busiest();
        loop {
            tokio::select! {
                first = news.recv() => match first {
                    Ok(first) => self.news(first, &mut news).await?,
                    Err(RecvError::Lagged(_)) => self.send("reload", &json!({})).await?,
                    Err(RecvError::Closed) => return Err(Over),
                },
                changed = busiest.changed() => {
                    changed.map_err(|_| Over)?;
                    let told = busiest.borrow_and_update().clone();
                    self.send("fallback", &*told).await?;
                }
            }
        }
    }

    /// Tells of these news, and of those that come within a moment.
    async fn news(&self, first: News, more: &mut broadcast::Receiver<News>) -> Result<(), Over> {
        let (mut fences, mut leads) = (BTreeSet::new(), false);
        let mut add = |news: News| match news {
            News::Fences(ids) => fences.extend(ids.iter().cloned()),
            News::Leads => leads = true,
        };
        add(first);
        tokio::time::sleep(GATHER).await;
        loop {
            match more.try_recv() {
                Ok(news) => add(news),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Lagged(_)) => return self.send("reload", &json!({})).await,
                Err(TryRecvError::Closed) => return Err(Over),
            }
        }
        if leads {
            self.send("about", &self.console.about().await?).await?;
        }
        self.fences(fences).await
    }

    async fn fences(&self, mut ids: BTreeSet<ObjectRef>) -> Result<(), Over> {
        while !ids.is_empty() {
            let asked = Arc::new(std::mem::take(&mut ids));
            let about = asked.clone();
            let page = self.console.window.ask(|answer| Question::Among(about, answer)).await?;
            // What comes after a full page is asked for next.
            let told = match &page.next {
                Some(last) => asked.range(..=last).cloned().collect(),
                None => (*asked).clone(),
            };
            ids = asked.difference(&told).cloned().collect();
            let there: BTreeSet<&ObjectRef> = page.fences.iter().map(|fence| &fence.id).collect();
            let gone: Vec<String> = told.iter().filter(|id| !there.contains(id)).map(ToString::to_string).collect();
            self.send("fences", &json!({"changed": rows(&page), "gone": gone})).await?;
        }
        Ok(())
    }

    async fn send<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), Over> {
        let text = serde_json::to_string(data).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to write down what is told live");
            Over
        })?;
        self.events.send(Ok(Event::default().event(name).data(text))).await.map_err(|_| Over)
    }
}
