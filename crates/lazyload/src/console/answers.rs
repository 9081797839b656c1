//! What the page asks for, as JSON. Lists of fences come in pages from the engine, and as lines, so that neither side holds a large mesh twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lazyload_logic::report::console::{Detail, detail, fence_document, rows, sidecar_document};
use lazyload_logic::state::savings::Savings;
use lazyload_logic::state::traffic::Busy;
use lazyload_logic::state::view::{Closeup, Page};
use lazyload_logic::types::ObjectRef;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::server::Console;
use super::window::{Closed, Question, Window};
use crate::documents;
use crate::process::clock::Clock;

/// Savings are counted over all of the mesh: this often at most, whoever looks.
const SAVINGS_LAST: Duration = Duration::from_secs(30);

/// Savings as they were counted last.
pub(super) type Counted = Mutex<Option<(Instant, Arc<Savings>)>>;

/// No answer.
pub(super) enum Refusal {
    /// The engine has ended.
    Closed(Closed),
    /// There is no such fence.
    NoFence(ObjectRef),
    /// It could not be written down.
    Unwritten(anyhow::Error),
}

impl From<Closed> for Refusal {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Closed(closed) => (StatusCode::SERVICE_UNAVAILABLE, closed.to_string()),
            Self::NoFence(id) => (StatusCode::NOT_FOUND, format!("there is no ServiceFence {id}")),
            Self::Unwritten(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        };
        (status, Json(json!({"error": error}))).into_response()
    }
}

/// Which controller this is and how it is doing.
pub(super) async fn about(State(console): State<Console>) -> Result<Json<Value>, Refusal> {
    console.about().await.map(Json).map_err(Refusal::from)
}

impl Console {
    pub(super) async fn about(&self) -> Result<Value, Closed> {
        let counts = self.window.ask(Question::Counts).await?;
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "replica": self.replica,
            "leads": counts.leads,
            "services": counts.services,
            "fences": counts.fences,
            "awaited": self.readiness.awaited(),
            "notes": self.readiness.notes(),
            "now": Clock::start().now().unix_seconds,
        }))
    }
}

/// All fences, one on each line.
pub(super) async fn fences(State(console): State<Console>) -> Response {
    // Where the next page begins; nothing after the last one.
    let pages = stream::try_unfold(Some(None), move |next: Option<Option<ObjectRef>>| {
        let window = console.window.clone();
        async move {
            let Some(after) = next else { return Ok::<_, anyhow::Error>(None) };
            let page = window.ask(|answer| Question::After(after, answer)).await?;
            Ok(Some((lines(&page)?, page.next.map(Some))))
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response()
}

fn lines(page: &Page) -> anyhow::Result<Bytes> {
    let mut lines = Vec::new();
    for row in rows(page) {
        serde_json::to_writer(&mut lines, &row)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

/// A fence's page.
#[derive(Serialize)]
struct FencePage {
    #[serde(flatten)]
    detail: Detail,
    fallback: Vec<Busy>,
    documents: Documents,
}

/// As `kubectl get -o yaml` shows them.
#[derive(Serialize)]
struct Documents {
    fence: String,
    sidecar: Option<String>,
}

/// One fence.
pub(super) async fn fence(
    State(console): State<Console>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let id = ObjectRef::new(namespace, name);
    let asked = id.clone();
    let closeup = console.window.ask(|answer| Question::One(asked, answer)).await?;
    let page = closeup.and_then(|closeup| Some((detail(&closeup)?, closeup)));
    let Some((detail, closeup)) = page else { return Err(Refusal::NoFence(id)) };
    let busiest = console.metrics.busiest();
    let of_fence = |busy: &&Busy| busy.namespace == *id.namespace && busy.name == *id.name;
    let fallback = busiest.iter().filter(of_fence).cloned().collect();
    let documents = documents(&closeup).map_err(Refusal::Unwritten)?;
    Ok(Json(FencePage { detail, fallback, documents }).into_response())
}

fn documents(closeup: &Closeup) -> anyhow::Result<Documents> {
    let write = |document: Value| documents::write_like_kubectl(std::slice::from_ref(&document));
    let sidecar = closeup.sidecar.as_ref().map(sidecar_document).map(write).transpose()?;
    Ok(Documents { fence: write(fence_document(&closeup.fence))?, sidecar })
}

/// What those are answered by who ask for timelines where everybody may: one at a time, so that they hold nothing up.
#[derive(Clone)]
pub(super) struct Timelines {
    pub(super) window: Window,
    pub(super) turn: Arc<Mutex<()>>,
}

/// What happened to a fence, as this replica remembers it.
pub(super) async fn timeline(
    State(timelines): State<Timelines>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let turn = timelines.turn.lock().await;
    let id = ObjectRef::new(namespace, name);
    let moments = timelines.window.ask(|answer| Question::Timeline(id, answer)).await?;
    drop(turn);
    Ok(Json(moments).into_response())
}

/// What goes on through the global-sidecar: the same as `/fallback` on the auxiliary port.
pub(super) async fn fallback(State(console): State<Console>) -> Response {
    Json(&*console.metrics.busiest()).into_response()
}

/// What fences save, and how many seconds ago that was counted.
pub(super) async fn savings(State(console): State<Console>) -> Result<Response, Refusal> {
    let mut counted = console.savings.lock().await;
    let (at, savings) = match counted.take().filter(|(at, _)| at.elapsed() < SAVINGS_LAST) {
        Some(known) => known,
        None => (Instant::now(), Arc::new(console.window.ask(Question::Savings).await?)),
    };
    *counted = Some((at, savings.clone()));
    drop(counted);
    let mut told = serde_json::to_value(&*savings).map_err(|error| Refusal::Unwritten(error.into()))?;
    if let Some(told) = told.as_object_mut() {
        told.insert("secondsAgo".to_owned(), at.elapsed().as_secs().into());
    }
    Ok(Json(told).into_response())
}

/// The settings in force.
pub(super) async fn settings(State(console): State<Console>) -> Result<Response, Refusal> {
    Ok(Json(console.window.ask(Question::Settings).await?).into_response())
}
