//! A proxy as istiod sees one: delta discovery of clusters, endpoints, listeners and routes, subscribed to as Envoy does it, of which only sizes
//! are kept.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

use crate::world::{self, Pod};

const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
const LISTENERS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
/// Largest answer, in bytes.
const LARGEST: usize = 512 * 1024 * 1024;

/// What a proxy has.
#[derive(Default)]
pub struct Held {
    /// Sizes in bytes, by type and name.
    resources: HashMap<&'static str, HashMap<String, usize>>,
    /// Of all answers so far.
    pub received_bytes: usize,
    pub answers: usize,
    last: Option<Instant>,
}

/// Counts and bytes of what a proxy has now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub clusters: usize,
    pub endpoints: usize,
    pub routes: usize,
    pub bytes: usize,
}

impl Held {
    pub fn size(&self) -> Size {
        let count = |kind| self.resources.get(kind).map_or(0, HashMap::len);
        Size {
            clusters: count(CLUSTERS),
            endpoints: count(ENDPOINTS),
            routes: count(ROUTES),
            bytes: self.resources.values().flat_map(HashMap::values).sum(),
        }
    }
}

/// A connected proxy; it leaves when this value goes.
pub struct Proxy {
    held: Arc<Mutex<Held>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Proxy {
    /// The proxy of one of a Service's first pods.
    pub async fn connect(port: u16, pod: Pod) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(LARGEST);
        let (requests, receiver) = mpsc::channel(64);
        let node = node(pod);
        for kind in [CLUSTERS, LISTENERS] {
            requests.send(subscribe(kind, Vec::new(), Some(node.clone()))).await?;
        }
        let mut answers = client.delta_aggregated_resources(ReceiverStream::new(receiver)).await?.into_inner();
        let held = Arc::new(Mutex::new(Held::default()));
        let theirs = held.clone();
        let task = tokio::spawn(async move {
            let mut following = Following::default();
            while let Some(answer) = answers.message().await? {
                let acknowledgement = DeltaDiscoveryRequest {
                    type_url: answer.type_url.clone(),
                    response_nonce: answer.nonce.clone(),
                    ..DeltaDiscoveryRequest::default()
                };
                let wanted = following.take(&answer)?;
                theirs.lock().unwrap_or_else(PoisonError::into_inner).take(answer);
                requests.send(acknowledgement).await?;
                if let Some(wanted) = wanted {
                    requests.send(wanted).await?;
                }
            }
            anyhow::bail!("istiod ended the stream")
        });
        Ok(Self { held, task })
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits until none of them was told anything for a while.
pub async fn quiet(proxies: &[Proxy]) -> anyhow::Result<()> {
    const WHILE: Duration = Duration::from_secs(2);
    const PATIENCE: Duration = Duration::from_secs(300);
    let began = Instant::now();
    loop {
        anyhow::ensure!(began.elapsed() < PATIENCE, "istiod does not come to rest");
        let failed = proxies.iter().any(|proxy| proxy.task.is_finished());
        anyhow::ensure!(!failed, "a proxy lost its stream");
        let rests = |held: &Held| held.size().clusters > 0 && held.last.is_some_and(|last| last.elapsed() > WHILE);
        let rested = proxies.iter().all(|proxy| rests(&proxy.held()));
        if rested && began.elapsed() > WHILE {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Held {
    fn take(&mut self, answer: DeltaDiscoveryResponse) {
        self.received_bytes += answer.encoded_len();
        self.answers += 1;
        self.last = Some(Instant::now());
        let Some(kind) = [CLUSTERS, ENDPOINTS, LISTENERS, ROUTES].into_iter().find(|kind| *kind == answer.type_url)
        else {
            return;
        };
        let resources = self.resources.entry(kind).or_default();
        for name in answer.removed_resources {
            resources.remove(&name);
        }
        for resource in answer.resources {
            let bytes = resource.encoded_len();
            resources.insert(resource.name, bytes);
        }
    }
}

/// What clusters and listeners ask for besides.
#[derive(Default)]
struct Following {
    endpoints: HashMap<String, String>,
    routes: HashMap<String, Vec<String>>,
    subscribed: HashMap<&'static str, HashSet<String>>,
}

impl Following {
    /// The subscription that an answer leads to.
    fn take(&mut self, answer: &DeltaDiscoveryResponse) -> anyhow::Result<Option<DeltaDiscoveryRequest>> {
        let bodies = answer
            .resources
            .iter()
            .filter_map(|resource| resource.resource.as_ref().map(|any| (resource.name.clone(), any.value.as_slice())));
        let (kind, wanted): (_, HashSet<String>) = match answer.type_url.as_str() {
            CLUSTERS => {
                for (name, body) in bodies {
                    match endpoints_of(body)? {
                        Some(endpoints) => self.endpoints.insert(name, endpoints),
                        None => self.endpoints.remove(&name),
                    };
                }
                for name in &answer.removed_resources {
                    self.endpoints.remove(name);
                }
                (ENDPOINTS, self.endpoints.values().cloned().collect())
            }
            LISTENERS => {
                for (name, body) in bodies {
                    self.routes.insert(name, routes_of(body)?);
                }
                for name in &answer.removed_resources {
                    self.routes.remove(name);
                }
                (ROUTES, self.routes.values().flatten().cloned().collect())
            }
            _ => return Ok(None),
        };
        let before = self.subscribed.insert(kind, wanted.clone());
        let begins = before.is_none();
        let before = before.unwrap_or_default();
        let mut request = subscribe(kind, wanted.difference(&before).cloned().collect(), None);
        request.resource_names_unsubscribe = before.difference(&wanted).cloned().collect();
        let changes = !request.resource_names_subscribe.is_empty() || !request.resource_names_unsubscribe.is_empty();
        Ok((changes || begins).then_some(request))
    }
}

fn endpoints_of(body: &[u8]) -> anyhow::Result<Option<String>> {
    let cluster = Cluster::decode(body).context("a cluster that cannot be read")?;
    let is_eds = cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
    let named = cluster.eds_cluster_config.map(|config| config.service_name).filter(|name| !name.is_empty());
    Ok(is_eds.then(|| named.unwrap_or(cluster.name)))
}

fn routes_of(body: &[u8]) -> anyhow::Result<Vec<String>> {
    let listener = Listener::decode(body).context("a listener that cannot be read")?;
    let chains = listener.filter_chains.into_iter().chain(listener.default_filter_chain);
    let mut names = Vec::new();
    for filter in chains.flat_map(|chain| chain.filters) {
        let Some(ConfigType::TypedConfig(any)) = filter.config_type else { continue };
        if !any.type_url.ends_with("HttpConnectionManager") {
            continue;
        }
        let manager = HttpConnectionManager::decode(any.value.as_slice()).context("a filter that cannot be read")?;
        if let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier {
            names.push(rds.route_config_name);
        }
    }
    Ok(names)
}

fn subscribe(kind: &str, names: Vec<String>, node: Option<Node>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node,
        type_url: kind.to_owned(),
        resource_names_subscribe: names,
        ..DeltaDiscoveryRequest::default()
    }
}

/// Who a pod's proxy says that it is.
fn node(pod: Pod) -> Node {
    let (namespace, app, address): (_, _, Ipv4Addr) =
        (world::namespace(pod.service), world::name(pod.service), pod.address());
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = |fields: Vec<(&str, Value)>| Struct {
        fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    let labels = fields(vec![("app", text(&app))]);
    Node {
        id: format!("sidecar~{address}~{}.{namespace}~{namespace}.svc.cluster.local", pod.name()),
        cluster: format!("{app}.{namespace}"),
        metadata: Some(fields(vec![
            ("CLUSTER_ID", text("Kubernetes")),
            ("INSTANCE_IPS", text(&address.to_string())),
            ("ISTIO_VERSION", text("1.31.0")),
            ("LABELS", Value { kind: Some(Kind::StructValue(labels)) }),
            ("NAMESPACE", text(&namespace)),
            ("SERVICE_ACCOUNT", text(&app)),
        ])),
        ..Node::default()
    }
}
