//! The console's paths. All are relative for the page, so that it works behind whatever prefix it is reached by.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answers::{self, Counted, Timelines};
use super::stream::LISTENERS;
use super::window::Window;
use super::{door, files, stream};
use crate::admin::metrics::Metrics;
use crate::process::readiness::Readiness;

/// What the console looks through, and at.
#[derive(Clone)]
pub struct Console {
    pub(super) window: Window,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Readiness,
    /// This replica's pod, where it is known.
    pub(super) replica: Option<String>,
    /// Names by which it may be asked for, besides addresses.
    pub(super) hosts: Arc<[String]>,
    pub(super) listeners: Arc<Semaphore>,
    pub(super) savings: Arc<Counted>,
    pub(super) shutdown: CancellationToken,
}

impl Console {
    /// A console on an engine's window.
    #[must_use]
    pub fn new(
        window: Window,
        metrics: Arc<Metrics>,
        readiness: Readiness,
        hosts: &[String],
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            window,
            metrics,
            readiness,
            replica: None,
            hosts: hosts.into(),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            savings: Arc::default(),
            shutdown,
        }
    }

    /// The same, of this pod.
    #[must_use]
    pub fn of_replica(self, pod: Option<String>) -> Self {
        Self { replica: pod, ..self }
    }
}

/// Serves it until the shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, console: Console) -> std::io::Result<()> {
    let shutdown = console.shutdown.clone();
    axum::serve(listener, router(console)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// What `lazyload explain` asks for by way of the auxiliary port, which the API server reaches.
pub fn timelines(window: Window) -> Router {
    Router::new()
        .route("/timelines/{namespace}/{name}", get(answers::timeline))
        .with_state(Timelines { window, turn: Arc::default() })
}

pub(super) fn router(console: Console) -> Router {
    Router::new()
        .route("/", get(files::index))
        .route("/{*path}", get(files::file))
        .route("/api/about", get(answers::about))
        .route("/api/fences", get(answers::fences))
        .route("/api/fences/{namespace}/{name}", get(answers::fence))
        .route("/api/fallback", get(answers::fallback))
        .route("/api/savings", get(answers::savings))
        .route("/api/settings", get(answers::settings))
        .route("/api/events", get(stream::events))
        .layer(from_fn_with_state(console.clone(), door::guard))
        .with_state(console)
}
