//! The auxiliary endpoints. Source: contract 6.2.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::process::logging::LevelHandle;
use crate::process::readiness::Readiness;

/// What the endpoints need.
#[derive(Clone)]
pub struct Admin {
    /// What is awaited before the process is ready.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The log level; `None` where the process does not own it.
    pub level: Option<LevelHandle>,
}

/// Serves health, metrics, what goes on through the global-sidecar, the log level and `more` until the shutdown.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    more: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let router = health().route("/metrics", get(metrics)).route("/fallback", get(fallback)).with_state(admin);
    serve_router(listener, router.merge(more), shutdown).await
}

async fn serve_router(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

/// Serves health and the log level until the shutdown, for a process that counts nothing.
///
/// # Errors
/// The listener fails.
pub async fn serve_health(
    listener: TcpListener,
    readiness: Readiness,
    level: LevelHandle,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let admin = Admin { readiness, metrics: Arc::default(), level: Some(level) };
    serve_router(listener, health().with_state(admin), shutdown).await
}

/// Health and the log level: what every process has.
fn health() -> Router<Admin> {
    Router::new()
        .route("/modules/livez", any(|| async { "Healthy!" }))
        .route("/modules/readyz", any(readyz))
        .route("/log/slime", get(level_help).put(set_level).post(set_level))
}

/// Serves metrics alone, for the address that the original had for them.
///
/// # Errors
/// The listener fails.
pub async fn serve_metrics(listener: TcpListener, admin: Admin, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new().route("/metrics", get(metrics)).with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let awaited = admin.readiness.awaited();
    let status = if awaited.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let waiting = awaited.iter().map(|what| format!("waiting for {what}\n"));
    let notes = admin.readiness.notes();
    (status, waiting.chain(notes.iter().map(|note| format!("{note}\n"))).collect::<String>())
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.metrics.text() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to write metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], String::new())
        }
    }
}

async fn fallback(State(admin): State<Admin>) -> Response {
    Json(&*admin.metrics.busiest()).into_response()
}

async fn level_help() -> &'static str {
    "PUT or POST ?level=LEVEL, from the pod itself (kubectl port-forward), changes the log level: \
     trace, debug, info, warn, error, fatal or panic\n"
}

/// What changes something is for those who may forward a port to the pod, or are in it.
async fn set_level(
    State(admin): State<Admin>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, String) {
    if !from.ip().to_canonical().is_loopback() {
        return (StatusCode::FORBIDDEN, level_help().await.to_owned());
    }
    let (Some(handle), Some(level)) = (&admin.level, query.get("level")) else {
        return (StatusCode::BAD_REQUEST, level_help().await.to_owned());
    };
    match handle.set(level) {
        Ok(()) => (StatusCode::OK, format!("log level is {level}\n")),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_log_level_is_changed_from_the_pod_itself_alone() {
        let admin = Admin { readiness: Readiness::default(), metrics: Arc::default(), level: None };
        let asked = async |from: &str| {
            let query = BTreeMap::from([("level".to_owned(), "debug".to_owned())]);
            let from = ConnectInfo(from.parse().unwrap());
            set_level(State(admin.clone()), from, Query(query)).await.0
        };
        for elsewhere in ["10.0.0.1:5000", "[::ffff:10.0.0.1]:5000", "[fd00::1]:5000"] {
            assert_eq!(asked(elsewhere).await, StatusCode::FORBIDDEN, "{elsewhere}");
        }
        // This process has no level of its own to change, and says that.
        for here in ["127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000"] {
            assert_eq!(asked(here).await, StatusCode::BAD_REQUEST, "{here}");
        }
    }
}
