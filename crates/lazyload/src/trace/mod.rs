//! Owns what a collector of traces is told over OTLP: the way of a learned host into the Sidecar of its caller, step by step.
//! Never traces a request or a log entry: there is one trace for each switch that begins with learned hosts, and nothing at all while nobody
//! asked for it by OpenTelemetry's own environment variables.
//! Next: `run/engine`, which begins traces and takes their steps.

use std::env;
use std::time::{Duration, SystemTime};

use lazyload_logic::types::ObjectRef;
use opentelemetry::trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};

use crate::process::exit::BadInput;

#[cfg(test)]
pub(crate) mod conversation;

/// What we are called where `OTEL_SERVICE_NAME` says nothing.
const SERVICE: &str = "lazyload-controller";
/// The places where the collector's address may stand; the first one counts.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Who is told; nobody unless it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<On>);

#[derive(Clone, Debug)]
struct On {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// As the environment has it. Must be called in the runtime, which drives the connection.
    ///
    /// # Errors
    /// The collector's address cannot be used.
    pub fn from_environment() -> anyhow::Result<Self> {
        match endpoint(|name| env::var(name).ok()) {
            Some(endpoint) => Self::to(&endpoint),
            None => Ok(Self::default()),
        }
    }

    /// To the collector at this address.
    ///
    /// # Errors
    /// The address cannot be used.
    pub(crate) fn to(endpoint: &str) -> anyhow::Result<Self> {
        if !endpoint.starts_with("http://") {
            let text = format!(
                "{}: expected http://HOST:PORT of a collector that takes OTLP over gRPC, got {endpoint:?}",
                ENDPOINTS[1]
            );
            return Err(BadInput(text).into());
        }
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build();
        let exporter = exporter.map_err(|error| BadInput(format!("{}: {error}", ENDPOINTS[1])))?;
        let mut resource = Resource::builder();
        if env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(SERVICE);
        }
        if let Ok(pod) = env::var("POD_NAME") {
            resource = resource.with_attribute(KeyValue::new("service.instance.id", pod));
        }
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        let tracer = provider.tracer("lazyload");
        tracing::info!(endpoint, "traces are told");
        Ok(Self(Some(On { provider, tracer })))
    }

    /// A write sets out that announces or routes what a fence has learned, so long after the first of it.
    #[must_use]
    pub fn begins(&self, fence: &ObjectRef, waited: Duration) -> Option<Journey> {
        let On { tracer, .. } = self.0.as_ref()?;
        let now = SystemTime::now();
        let learned = now.checked_sub(waited).unwrap_or(now);
        let of_fence = [
            KeyValue::new("k8s.namespace.name", fence.namespace.to_string()),
            KeyValue::new("lazyload.fence", fence.name.to_string()),
        ];
        let root = tracer.span_builder("dependency").with_start_time(learned).with_attributes(of_fence);
        let context = Context::new().with_span(root.start_with_context(tracer, &Context::new()));
        let mut plan = tracer.span_builder("plan").with_start_time(learned).start_with_context(tracer, &context);
        plan.end_with_timestamp(now);
        Some(Journey { tracer: tracer.clone(), context })
    }

    /// Tells what is over by now.
    #[cfg(test)]
    pub(crate) async fn flush(&self) {
        let On { provider, .. } = self.0.clone().unwrap();
        tokio::task::spawn_blocking(move || provider.force_flush()).await.unwrap().unwrap();
    }

    /// Tells what was not told yet.
    pub async fn end(self) {
        let Some(On { provider, .. }) = self.0 else { return };
        match tokio::task::spawn_blocking(move || provider.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not told"),
            Err(error) => tracing::warn!(%error, "the last traces were not told"),
        }
    }
}

/// The way of what was learned together into a Sidecar. It is over when the last of its handles is dropped.
#[derive(Clone, Debug)]
pub struct Journey {
    tracer: SdkTracer,
    context: Context,
}

impl Journey {
    /// Something is done for it from now on.
    #[must_use]
    pub fn step(&self, what: &'static str) -> Step {
        Step(self.tracer.span_builder(what).start_with_context(&self.tracer, &self.context))
    }
}

/// One step on that way.
#[derive(Debug)]
pub struct Step(Span);

impl Step {
    /// It is done, or came to nothing.
    pub fn end(mut self, outcome: &'static str, is_well: bool) {
        self.0.set_attribute(KeyValue::new("lazyload.outcome", outcome));
        if !is_well {
            self.0.set_status(Status::error(outcome));
        }
        self.0.end();
    }
}

/// The collector's address, if one is to be told.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is = |name, value: &str| variable(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }
    ENDPOINTS.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
}
