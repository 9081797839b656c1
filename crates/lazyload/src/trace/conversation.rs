//! With a collector: what arrives there, over a socket.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::*;

/// A collector that keeps what it is told.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// One on a port of loopback, with its address.
    pub(crate) async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, endpoint)
    }

    /// Every span that it was told.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let told = self.0.lock().unwrap();
        let scopes = told.iter().flat_map(|request| &request.resource_spans).flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| &scope.spans).cloned().collect()
    }
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()? {
        AnyValue { value: Some(Value::StringValue(text)), .. } => Some(text),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_a_host_into_its_sidecar_is_one_trace_with_its_steps() {
    let (collector, endpoint) = Collector::start().await;
    let traces = Traces::to(&endpoint).unwrap();
    let journey = traces.begins(&ObjectRef::new("default", "productpage"), Duration::from_millis(40)).unwrap();
    journey.step("write").end("stored", true);
    let push = journey.step("push");
    push.end("silent", false);
    drop(journey);
    traces.end().await;

    let spans = collector.spans();
    let span =
        |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    let root = span("dependency");
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert_eq!(text(&root.attributes, "k8s.namespace.name"), Some("default"));
    assert_eq!(text(&root.attributes, "lazyload.fence"), Some("productpage"));
    for name in ["plan", "write", "push"] {
        let step = span(name);
        assert_eq!((&step.trace_id, &step.parent_span_id), (&root.trace_id, &root.span_id), "{name}");
        assert!(step.end_time_unix_nano <= root.end_time_unix_nano, "{name} ends in time");
    }
    let plan = span("plan");
    assert_eq!(plan.start_time_unix_nano, root.start_time_unix_nano);
    assert_eq!(plan.end_time_unix_nano - plan.start_time_unix_nano, 40_000_000);
    assert_eq!(text(&span("write").attributes, "lazyload.outcome"), Some("stored"));
    assert_eq!(span("push").status.as_ref().unwrap().message, "silent");

    let told = collector.0.lock().unwrap();
    let resource = told[0].resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), Some(SERVICE));
}

#[tokio::test]
async fn a_collector_that_is_not_there_harms_nobody() {
    let traces = Traces::to("http://127.0.0.1:9").unwrap();
    let journey = traces.begins(&ObjectRef::new("default", "a"), Duration::ZERO).unwrap();
    journey.step("write").end("stored", true);
    drop(journey);
    traces.end().await;
}

#[test]
fn nobody_is_told_unless_an_address_is_given_and_it_is_not_switched_off() {
    let asked = |set: &[(&str, &str)]| {
        endpoint(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    };
    let (general, of_traces) = (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"), (ENDPOINTS[0], "http://b:4317"));
    assert_eq!(asked(&[]), None);
    assert_eq!(asked(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
    assert_eq!(asked(&[general]).as_deref(), Some("http://a:4317"));
    assert_eq!(asked(&[general, of_traces]).as_deref(), Some("http://b:4317"));
    assert_eq!(asked(&[general, ("OTEL_SDK_DISABLED", "True")]), None);
    assert_eq!(asked(&[general, ("OTEL_TRACES_EXPORTER", "none")]), None);
    assert!(Traces::default().begins(&ObjectRef::new("default", "a"), Duration::ZERO).is_none());
}

#[test]
fn an_address_that_cannot_be_used_is_the_users_to_mend() {
    for wrong in ["https://collector:4317", "collector:4317", "http://"] {
        assert!(Traces::to(wrong).unwrap_err().is::<BadInput>(), "{wrong}");
    }
}
