//! The inbound half of a simulated proxy: takes a request from the network, hands it to the app, logs it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};

use super::access_log::{Began, Ended};
use super::mesh::Pod;
use super::{World, apps};

/// Answers one request to the pod, which came to this port.
pub async fn answer(
    world: Arc<World>,
    pod: Arc<Pod>,
    port: u16,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if !request.headers().contains_key("x-request-id")
        && let Ok(id) = HeaderValue::from_str(&apps::request_id())
    {
        request.headers_mut().insert("x-request-id", id);
    }
    let began = Began::new(&request);
    let host = began.authority().rsplit_once(':').map_or(began.authority(), |(host, _)| host);
    let service = world.mesh.find_service(host, &pod.id.namespace);
    let is_from_mesh = world.mesh.pods().iter().any(|pod| pod.address == peer.ip());
    let server_name = service.filter(|_| is_from_mesh).map(|service| format!("outbound_.{port}_._.{}", service.host()));
    let response = apps::answer(&pod, &request).await;
    let ended = Ended {
        status: response.status().as_u16(),
        sent: response.body().size_hint().exact().and_then(|size| size.try_into().ok()).unwrap_or(0),
        upstream: Some(SocketAddr::new(pod.address, port)),
        cluster: format!("inbound|{port}||"),
        upstream_local: None,
        downstream_local: Some(SocketAddr::new(pod.address, port)),
        downstream_remote: peer,
        server_name,
        route: Some("default"),
    };
    // Nobody reads the log any more at the very end.
    let _gone = world.lines.send(began.line(&pod.id, ended));
    response
}
