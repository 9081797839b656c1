//! The apps: Bookinfo's four, and one that does nothing but answer. Any of them calls on request: `GET /call/HOST:PORT/PATH`.
//!
//! ```text
//! productpage ──> details
//!     └─────────> reviews (v1 | v2 | v3) ──> ratings     (v2 and v3 only)
//! ```

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::OUTBOUND_PORT;
use super::http::{Answer, fetch, text};
use super::mesh::Pod;

/// What the apps call themselves.
const AGENT: &str = concat!("lazyload-demo/", env!("CARGO_PKG_VERSION"));
/// Port of all Bookinfo Services.
const PORT: u16 = 9080;

/// Answers one request to a pod's app.
pub async fn answer(pod: &Pod, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if let Some(call) = path.strip_prefix("/call/") {
        let (authority, path) = call.split_once('/').unwrap_or((call, ""));
        return pass_on(call_host(pod, request.headers(), authority, &format!("/{path}")).await);
    }
    match pod.label("app") {
        "productpage" => productpage(pod, request.headers()).await,
        "reviews" => reviews(pod, request.headers()).await,
        "details" => text(StatusCode::OK, "{\"id\":0,\"title\":\"The Comedy of Errors\",\"pages\":200}\n".to_owned()),
        "ratings" => text(StatusCode::OK, "{\"id\":0,\"ratings\":{\"Reviewer1\":5,\"Reviewer2\":4}}\n".to_owned()),
        _ => text(StatusCode::OK, format!("{} answers {path}\n", pod.id)),
    }
}

/// One after the other, as the original does.
async fn productpage(pod: &Pod, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let mut page = "<h1>The Comedy of Errors</h1>\n".to_owned();
    for (title, host, path) in [("Details", "details", "/details/0"), ("Reviews", "reviews", "/reviews/0")] {
        match call_host(pod, headers, &format!("{host}:{PORT}"), path).await {
            Ok(answer) if answer.status.is_success() => {
                page.push_str(&format!("<h2>{title}</h2> {}", String::from_utf8_lossy(&answer.body)));
            }
            failed => {
                let why = pass_on(failed).status();
                return text(StatusCode::BAD_GATEWAY, format!("Sorry, product {host} is unavailable: {why}\n"));
            }
        }
    }
    text(StatusCode::OK, page)
}

async fn reviews(pod: &Pod, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let version = pod.label("version");
    let review = "\"An extremely entertaining play by Shakespeare.\"";
    if version == "v1" {
        return text(StatusCode::OK, format!("{{\"podname\":\"{}\",\"reviews\":[{review}]}}\n", pod.id.name));
    }
    let ratings = match call_host(pod, headers, &format!("ratings:{PORT}"), "/ratings/0").await {
        Ok(answer) if answer.status.is_success() => String::from_utf8_lossy(&answer.body).trim().to_owned(),
        _ => "\"Ratings service is currently unavailable\"".to_owned(),
    };
    text(StatusCode::OK, format!("{{\"podname\":\"{}\",\"reviews\":[{review}],\"ratings\":{ratings}}}\n", pod.id.name))
}

/// Calls a host as an app does: it knows nothing of the mesh, its proxy takes the request.
async fn call_host(pod: &Pod, headers: &HeaderMap, authority: &str, path: &str) -> Result<Answer, String> {
    let mut request = Request::get(path).header(header::HOST, authority);
    for name in [header::USER_AGENT.as_str(), "x-request-id"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let request = request.body(Full::default()).map_err(|error| error.to_string())?;
    let proxy = SocketAddr::new(pod.address, OUTBOUND_PORT);
    fetch(pod.address, proxy, request).await.map_err(|error| error.to_string())
}

/// A request of a client in a pod, such as `kubectl exec POD -- curl AUTHORITY/PATH`.
///
/// # Errors
/// There was no answer.
pub async fn call_from(pod: &Pod, authority: &str, path: &str) -> Result<Answer, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, header::HeaderValue::from_static(AGENT));
    if let Ok(id) = request_id().parse() {
        headers.insert("x-request-id", id);
    }
    call_host(pod, &headers, authority, path).await
}

fn pass_on(answer: Result<Answer, String>) -> Response<Full<Bytes>> {
    match answer {
        Ok(answer) => {
            let mut response = Response::new(Full::new(answer.body));
            *response.status_mut() = answer.status;
            response
        }
        Err(error) => text(StatusCode::BAD_GATEWAY, format!("{error}\n")),
    }
}

/// A new id in the form of a UUID; unique within one run.
pub fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let nanos = nanos & 0xffff_ffff_ffff_ffff;
    let (high, middle, low) = (nanos >> 32, (nanos >> 16) & 0xffff, nanos & 0xfff);
    format!("{high:08x}-{middle:04x}-4{low:03x}-8{:03x}-{count:012x}", nanos & 0xfff)
}
