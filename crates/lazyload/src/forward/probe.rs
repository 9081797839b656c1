//! Health probes: alive while the process runs, ready while nothing is awaited. And what is counted.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::process::readiness::Readiness;

const HEALTHY: &str = "Healthy!";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `/healthz/live`, `/healthz/ready` and `/metrics` until `end`.
pub async fn serve(listener: TcpListener, readiness: Readiness, metrics: Arc<Metrics>, end: CancellationToken) {
    let ready = move || {
        let awaited = readiness.awaited();
        async move { answer(&awaited) }
    };
    let counted = move || {
        let answer = text(&metrics);
        async move { answer }
    };
    let probes = Router::new()
        .route("/healthz/live", get(|| async { HEALTHY }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(counted));
    if let Err(error) = axum::serve(listener, probes).with_graceful_shutdown(end.cancelled_owned()).await {
        tracing::error!(%error, "health probes ended");
    }
}

fn text(metrics: &Metrics) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to write metrics: {error}\n")).into_response()
        }
    }
}

fn answer(awaited: &[String]) -> (StatusCode, String) {
    if awaited.is_empty() {
        return (StatusCode::OK, HEALTHY.to_owned());
    }
    let lines: String = awaited.iter().map(|what| format!("waiting for {what}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_each_thing_that_is_awaited() {
        let (status, body) = answer(&["Services".to_owned(), "port 80 to be open".to_owned()]);
        assert_eq!(
            (status, body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "waiting for Services\nwaiting for port 80 to be open\n")
        );
        assert_eq!(answer(&[]), (StatusCode::OK, "Healthy!".to_owned()));
    }
}
