//! Health probes: alive while the process runs, ready while nothing is awaited.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::process::readiness::Readiness;

const HEALTHY: &str = "Healthy!";

/// Answers `/healthz/live` and `/healthz/ready` until `end`.
pub async fn serve(listener: TcpListener, readiness: Readiness, end: CancellationToken) {
    let ready = move || {
        let awaited = readiness.awaited();
        async move { answer(&awaited) }
    };
    let probes = Router::new().route("/healthz/live", get(|| async { HEALTHY })).route("/healthz/ready", get(ready));
    if let Err(error) = axum::serve(listener, probes).with_graceful_shutdown(end.cancelled_owned()).await {
        tracing::error!(%error, "health probes ended");
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
