//! Whether a document has the form of its kind, and if not, which field is wrong.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use lazyload_api::{gateway_api, istio, security, service_fence};
use lazyload_logic::types::Kind;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::documents::Step;

/// What serde calls whole numbers.
const NUMBERS: [&str; 6] = ["i32", "i64", "u8", "u16", "u32", "u64"];

/// A field of the wrong form.
#[derive(Debug)]
pub struct Misfit {
    /// Its path, step by step.
    pub steps: Vec<Step>,
    /// Its path, as shown.
    pub field: String,
    /// What was expected.
    pub message: String,
}

/// The watched kind of a document; `None` for other kinds.
pub fn kind_of(document: &Value) -> Option<Kind> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == text("kind"))?;
    (group == group_of(kind)).then_some(kind)
}

fn group_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Namespace | Kind::Pod => "",
        Kind::EndpointSlice => "discovery.k8s.io",
        Kind::Fence => "microservice.slime.io",
        Kind::Sidecar | Kind::VirtualService | Kind::ServiceEntry => "networking.istio.io",
        Kind::HttpRoute | Kind::GrpcRoute => "gateway.networking.k8s.io",
        Kind::AuthorizationPolicy => "security.istio.io",
    }
}

/// Checks the form of a document of this kind.
///
/// # Errors
/// The first field that is wrong.
pub fn check(kind: Kind, document: &Value) -> Result<(), Misfit> {
    match kind {
        Kind::Service => fits::<core::Service>(document),
        Kind::Namespace => fits::<core::Namespace>(document),
        Kind::Pod => fits::<core::Pod>(document),
        Kind::EndpointSlice => fits::<discovery::EndpointSlice>(document),
        Kind::Fence => fits::<service_fence::ServiceFence>(document),
        Kind::Sidecar => fits::<istio::Sidecar>(document),
        Kind::VirtualService => fits::<istio::VirtualService>(document),
        Kind::ServiceEntry => fits::<istio::ServiceEntry>(document),
        Kind::HttpRoute | Kind::GrpcRoute => fits::<gateway_api::GatewayRoute>(document),
        Kind::AuthorizationPolicy => fits::<security::AuthorizationPolicy>(document),
    }
}

fn fits<T: DeserializeOwned>(document: &Value) -> Result<(), Misfit> {
    let Err(error) = serde_path_to_error::deserialize::<_, T>(document) else { return Ok(()) };
    let segments = error.path().iter();
    let steps = segments.filter_map(|segment| match segment {
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    let steps: Vec<Step> = steps.collect();
    let field = steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) if path.is_empty() => key.clone(),
        Step::Key(key) if key.contains('.') => format!("{path}[{key:?}]"),
        Step::Key(key) => format!("{path}.{key}"),
        Step::Index(index) => format!("{path}[{index}]"),
    });
    Err(Misfit { steps, field, message: expected_first(&error.inner().to_string()) })
}

/// serde says `invalid type: X, expected Y`; here it is `expected Y, got X`, as in the rest of lazyload.
fn expected_first(message: &str) -> String {
    let Some((what, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let got = ["invalid type: ", "invalid value: "].iter().find_map(|prefix| what.strip_prefix(prefix));
    let expected = if NUMBERS.contains(&expected) { "a whole number" } else { expected };
    got.map_or_else(|| message.to_owned(), |got| format!("expected {expected}, got {got}"))
}
