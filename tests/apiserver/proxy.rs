//! Access logs as the global-sidecar's Envoy sends them, in Envoy's own types.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::data::accesslog::v3 as data;
use envoy_types::pb::envoy::service::accesslog::v3 as service;
use futures::SinkExt;
use futures::channel::mpsc;
use service::access_log_service_client::AccessLogServiceClient;
use service::stream_access_logs_message::{HttpAccessLogEntries, Identifier, LogEntries};
use tokio::task::JoinHandle;

use super::controller::Controller;

/// One request: the caller's address and the authority that it asked for.
pub type Request<'a> = (&'a str, &'a str);

/// One open stream.
pub struct Stream {
    messages: mpsc::Sender<service::StreamAccessLogsMessage>,
    task: JoinHandle<Result<(), tonic::Status>>,
    sent_before: bool,
}

impl Stream {
    /// Opens a connection with one stream.
    pub async fn open(log_source: String) -> Result<Self, tonic::transport::Error> {
        let mut client = AccessLogServiceClient::connect(log_source).await?;
        let (messages, source) = mpsc::channel(16);
        let task = tokio::spawn(async move { client.stream_access_logs(source).await.map(|_| ()) });
        Ok(Self { messages, task, sent_before: false })
    }

    /// Sends one message with an entry for each request; false if the stream has ended.
    pub async fn send(&mut self, requests: &[Request<'_>]) -> bool {
        self.send_entries(requests.iter().map(|(caller, authority)| entry(caller, authority)).collect()).await
    }

    /// Sends one message with an entry of a caller with this SPIFFE URI in its certificate; false if the stream has ended.
    pub async fn send_as(&mut self, identity: &str, (caller, authority): Request<'_>) -> bool {
        let mut entry = entry(caller, authority);
        if let Some(common) = &mut entry.common_properties {
            common.tls_properties = Some(tls(identity));
        }
        self.send_entries(vec![entry]).await
    }

    /// Sends, as the proxy beside productpage does that tells what productpage calls.
    pub async fn send_own(&mut self, requests: &[Request<'_>]) {
        let own = |(caller, authority): &Request<'_>| {
            let mut entry = entry(caller, authority);
            if let Some(common) = &mut entry.common_properties {
                common.upstream_cluster = "outbound|9080||somewhere.default.svc.cluster.local".to_owned();
            }
            entry
        };
        let id = "sidecar~10.244.0.10~productpage-v1-6b746f74dc-vkfr7.default~default.svc.cluster.local";
        let node = core::Node { id: id.to_owned(), ..core::Node::default() };
        let identifier = Identifier { node: Some(node), log_name: "lazyload_caller".to_owned() };
        let entries = HttpAccessLogEntries { log_entry: requests.iter().map(own).collect() };
        let log_entries = Some(LogEntries::HttpLogs(entries));
        let identifier = (!self.sent_before).then_some(identifier);
        self.sent_before = true;
        self.messages.send(service::StreamAccessLogsMessage { identifier, log_entries }).await.unwrap();
    }

    async fn send_entries(&mut self, entries: Vec<data::HttpAccessLogEntry>) -> bool {
        // Envoy identifies itself in the first message of a stream.
        let identifier = (!self.sent_before).then(identifier);
        self.sent_before = true;
        let log_entries = Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: entries }));
        let message = service::StreamAccessLogsMessage { identifier, log_entries };
        !self.task.is_finished() && self.messages.send(message).await.is_ok()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends requests in a stream of their own.
pub async fn send(controller: &Controller, requests: &[Request<'_>]) -> Stream {
    let mut stream = Stream::open(controller.log_source()).await.unwrap();
    assert!(stream.send(requests).await);
    stream
}

/// Sends, as the proxy beside productpage does that tells what productpage calls.
pub async fn send_own(controller: &Controller, requests: &[Request<'_>]) -> Stream {
    let mut stream = Stream::open(controller.log_source()).await.unwrap();
    stream.send_own(requests).await;
    stream
}

/// Opens a stream as another replica would, and returns how it ends.
pub async fn relay(log_source: String) -> Result<(), tonic::Status> {
    let mut client = AccessLogServiceClient::connect(log_source).await.unwrap();
    let mut request = tonic::Request::new(futures::stream::pending());
    request.metadata_mut().insert("x-lazyload-relayed", "true".parse().unwrap());
    client.stream_access_logs(request).await.map(|_| ())
}

/// A client that repeats all its requests for as long as it lives, through whatever happens to the controller: callers that go on
/// calling what they need.
pub struct Repeating {
    requests: Arc<Mutex<BTreeSet<(String, String)>>>,
    task: JoinHandle<()>,
}

impl Repeating {
    pub fn start(log_source: String) -> Self {
        let requests = Arc::new(Mutex::new(BTreeSet::<(String, String)>::new()));
        let current = requests.clone();
        let task = tokio::spawn(async move {
            let mut stream: Option<Stream> = None;
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let all = current.lock().unwrap().clone();
                let all: Vec<Request<'_>> = all.iter().map(|(caller, host)| (caller.as_str(), host.as_str())).collect();
                let open = match stream.take() {
                    Some(open) => Some(open),
                    None => Stream::open(log_source.clone()).await.ok(),
                };
                if let Some(mut open) = open
                    && (all.is_empty() || open.send(&all).await)
                {
                    stream = Some(open);
                }
            }
        });
        Self { requests, task }
    }

    /// Adds a request.
    pub fn add(&self, caller: &str, authority: &str) {
        self.requests.lock().unwrap().insert((caller.to_owned(), authority.to_owned()));
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn identifier() -> Identifier {
    let id = "sidecar~10.244.0.2~global-sidecar-7dd48b65c8-gc7g4.mesh-operator~mesh-operator.svc.cluster.local";
    let node = core::Node { id: id.to_owned(), ..core::Node::default() };
    Identifier { node: Some(node), log_name: "http_envoy_accesslog".to_owned() }
}

fn entry(caller: &str, authority: &str) -> data::HttpAccessLogEntry {
    data::HttpAccessLogEntry {
        common_properties: Some(data::AccessLogCommon {
            downstream_remote_address: address(caller, 40210),
            downstream_direct_remote_address: address(caller, 40210),
            downstream_local_address: address("10.244.0.2", 9080),
            upstream_remote_address: address("127.0.0.1", 9080),
            upstream_cluster: "inbound|9080||".to_owned(),
            route_name: "default".to_owned(),
            ..data::AccessLogCommon::default()
        }),
        protocol_version: 2,
        request: Some(data::HttpRequestProperties {
            request_method: 1,
            scheme: "http".to_owned(),
            authority: authority.to_owned(),
            path: "/details/0".to_owned(),
            user_agent: "curl/8".to_owned(),
            ..data::HttpRequestProperties::default()
        }),
        response: Some(data::HttpResponseProperties {
            response_code: Some(envoy_types::pb::google::protobuf::UInt32Value { value: 200 }),
            ..data::HttpResponseProperties::default()
        }),
    }
}

fn tls(identity: &str) -> data::TlsProperties {
    use data::tls_properties::CertificateProperties;
    use data::tls_properties::certificate_properties::{SubjectAltName, subject_alt_name::San};
    let name = SubjectAltName { san: Some(San::Uri(identity.to_owned())) };
    let certificate = CertificateProperties { subject_alt_name: vec![name], ..CertificateProperties::default() };
    data::TlsProperties { peer_certificate_properties: Some(certificate), ..data::TlsProperties::default() }
}

fn address(ip: &str, port: u32) -> Option<core::Address> {
    let socket = core::SocketAddress {
        address: ip.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
        ..core::SocketAddress::default()
    };
    Some(core::Address { address: Some(core::address::Address::SocketAddress(socket)) })
}
