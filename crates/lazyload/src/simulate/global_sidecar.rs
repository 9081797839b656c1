//! The proxy of the global-sidecar's pod: hands each request to the real forwarder and tells the real access-log server about it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::mesh::Pod;
use super::{World, http as wire};

/// Answers one request that came to this port of the pod.
pub async fn answer(
    world: Arc<World>,
    pod: Arc<Pod>,
    port: u16,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let authority =
        parts.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let body = wire::read(body).await.unwrap_or_default();
    let result = wire::fetch(pod.address, world.forwarder, Request::from_parts(parts, Full::new(body))).await;
    let response = match result {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = answer.status;
            response
        }
        Err(error) => wire::text(StatusCode::SERVICE_UNAVAILABLE, format!("simulated sidecar: {error}\n")),
    };
    if let Err(error) = world.entries.lock().await.send(peer.ip(), &authority, port).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "an access-log entry was not sent");
    }
    response
}
