//! The outbound half of a simulated proxy: takes its app's request, sends it where the Sidecar says, logs it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use lazyload_api::names;

use super::access_log::{Began, Ended};
use super::mesh::{Pod, Service};
use super::sidecar::{Route, route};
use super::{World, http as wire};

/// Who takes a request, and what the log says about it.
struct Hop {
    endpoint: SocketAddr,
    /// The address that the app dialled.
    original: SocketAddr,
    cluster: String,
    route: Option<&'static str>,
    is_fallback: bool,
}

/// Answers one request of the pod's app.
pub async fn answer(
    world: Arc<World>,
    pod: Arc<Pod>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = Began::new(&request);
    let (host, port) = split(began.authority());
    let hop = match find_hop(&world, &pod, &host, port) {
        Ok(hop) => hop,
        Err(reason) => return wire::text(StatusCode::BAD_GATEWAY, format!("simulated sidecar: {reason}\n")),
    };
    let (mut parts, body) = request.into_parts();
    if hop.is_fallback {
        // What the EnvoyFilter to-global-sidecar makes a proxy add.
        for (name, value) in [
            (names::ORIG_DEST_HEADER, hop.original.to_string()),
            (names::SOURCE_NS_HEADER, pod.id.namespace.to_string()),
        ] {
            if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), HeaderValue::from_str(&value)) {
                parts.headers.insert(name, value);
            }
        }
    }
    let body = wire::read(body).await.unwrap_or_default();
    let result = wire::fetch(pod.address, hop.endpoint, Request::from_parts(parts, Full::new(body))).await;
    let (response, local) = match result {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer.body.clone()));
            *response.status_mut() = answer.status;
            let content_type = answer.headers.get(http::header::CONTENT_TYPE);
            if let Some(value) = content_type {
                response.headers_mut().insert(http::header::CONTENT_TYPE, value.clone());
            }
            (response, answer.local)
        }
        Err(error) => (wire::text(StatusCode::SERVICE_UNAVAILABLE, format!("simulated sidecar: {error}\n")), None),
    };
    let ended = Ended {
        status: response.status().as_u16(),
        sent: hyper::body::Body::size_hint(response.body()).exact().and_then(|size| size.try_into().ok()).unwrap_or(0),
        upstream: Some(hop.endpoint),
        cluster: hop.cluster,
        upstream_local: local,
        downstream_local: Some(hop.original),
        downstream_remote: peer,
        server_name: None,
        route: hop.route,
    };
    // Nobody reads the log any more at the very end.
    let _gone = world.lines.send(began.line(&pod.id, ended));
    response
}

fn find_hop(world: &World, pod: &Pod, host: &str, port: u16) -> Result<Hop, String> {
    let outbound = |service: &Service| format!("outbound|{port}||{}", service.host());
    match route(world, pod, host, port) {
        Route::Direct(service) => Ok(Hop {
            endpoint: endpoint(world, &service, port)?,
            original: SocketAddr::new(service.address, port),
            cluster: outbound(&service),
            route: Some("default"),
            is_fallback: false,
        }),
        Route::Fallback { through, to } => Ok(Hop {
            endpoint: endpoint(world, &through, port)?,
            original: SocketAddr::new(to.address, port),
            cluster: outbound(&through),
            route: None,
            is_fallback: true,
        }),
        Route::Passthrough(service) => Ok(Hop {
            endpoint: SocketAddr::new(service.address, port),
            original: SocketAddr::new(service.address, port),
            cluster: "PassthroughCluster".to_owned(),
            route: None,
            is_fallback: false,
        }),
        Route::Nowhere(reason) => Err(reason),
    }
}

/// A pod of the Service, in turn.
pub fn endpoint(world: &World, service: &Service, port: u16) -> Result<SocketAddr, String> {
    let port = service.port(port).ok_or_else(|| format!("Service {} has no port {port}", service.id))?;
    let endpoints = world.mesh.endpoints(service);
    let endpoints = endpoints.iter().filter_map(|pod| Some(SocketAddr::new(pod.address, pod.target(port)?)));
    world.in_turn(&service.id, endpoints.collect()).ok_or_else(|| format!("Service {} has no pod", service.id))
}

/// Host and port of an authority; port 80 without one.
fn split(authority: &str) -> (String, u16) {
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = split.unwrap_or((authority, 80));
    (host.to_ascii_lowercase(), port)
}
