//! The lines that the simulated proxies log, in Istio's default text format.

use std::net::SocketAddr;
use std::time::Instant;

use http::{HeaderMap, header};
use k8s_openapi::jiff::Timestamp;
use lazyload_logic::types::ObjectRef;

/// One line of one proxy.
#[derive(Clone, Debug)]
pub struct Line {
    /// The pod whose proxy it is.
    pub pod: ObjectRef,
    /// The line.
    pub text: String,
    /// The cluster that answered.
    pub cluster: String,
    /// The status of the answer.
    pub status: u16,
    /// When the request began.
    pub began: Instant,
}

/// A request, as far as it is known before there is an answer.
pub struct Began {
    at: Timestamp,
    instant: Instant,
    method: String,
    path: String,
    agent: String,
    request_id: String,
    authority: String,
}

/// What is known with the answer.
pub struct Ended {
    /// The status.
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: usize,
    /// Who answered.
    pub upstream: Option<SocketAddr>,
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Our end of the connection to it.
    pub upstream_local: Option<SocketAddr>,
    /// The address that the client called.
    pub downstream_local: Option<SocketAddr>,
    /// The client.
    pub downstream_remote: SocketAddr,
    /// The name that the client asked for in TLS.
    pub server_name: Option<String>,
    /// The name of the route that matched.
    pub route: Option<&'static str>,
}

impl Began {
    /// A request begins.
    pub fn new<B>(request: &http::Request<B>) -> Self {
        Self {
            at: Timestamp::now(),
            instant: Instant::now(),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            agent: text(request.headers(), header::USER_AGENT.as_str()),
            request_id: text(request.headers(), "x-request-id"),
            authority: text(request.headers(), header::HOST.as_str()),
        }
    }

    /// The host and port that were asked for, as written.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The line for the request and its answer.
    pub fn line(self, pod: &ObjectRef, ended: Ended) -> Line {
        let duration = self.instant.elapsed().as_millis();
        let or_dash =
            |address: Option<SocketAddr>| address.map_or_else(|| "-".to_owned(), |address| address.to_string());
        let text = format!(
            "[{at:.3}] \"{method} {path} HTTP/1.1\" {status} - via_upstream - \"-\" 0 {sent} {duration} {duration} \"-\" \"{agent}\" \
             \"{id}\" \"{authority}\" \"{upstream}\" {cluster} {upstream_local} {local} {remote} {server_name} {route}",
            at = self.at,
            method = self.method,
            path = self.path,
            status = ended.status,
            sent = ended.sent,
            agent = self.agent,
            id = self.request_id,
            authority = self.authority,
            upstream = or_dash(ended.upstream),
            cluster = ended.cluster,
            upstream_local = or_dash(ended.upstream_local),
            local = or_dash(ended.downstream_local),
            remote = ended.downstream_remote,
            server_name = ended.server_name.as_deref().unwrap_or("-"),
            route = ended.route.unwrap_or("-"),
        );
        Line { pod: pod.clone(), text, cluster: ended.cluster, status: ended.status, began: self.instant }
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.filter(|value| !value.is_empty()).unwrap_or("-").to_owned()
}
