//! Owns the view from a real Prometheus beside the real API server: counters as Istio's proxies expose them, scraped and asked about.
//! Never fakes an answer: what a real Prometheus cannot be made to say is tested in `lazyload::observe::prometheus`.
//! Next: `story` for what is learned, `away` for what is not lost, `access` for how it is let in, `server` and `exporter` for the stage.

mod access;
mod alerts;
mod away;
mod exporter;
mod server;
mod story;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::controller::Controller;

/// As the seed prints it.
const QUERY: &str =
    "sum(istio_requests_total{source_app=\"$source_app\",reporter=\"destination\"})by(destination_service)\n";

/// The seed's block, asked more often.
#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn metric(address: &str, more: Value) -> Value {
    let mut block = json!({
        "address": address, "interval": "1s",
        "handlers": {"destination": {"query": QUERY, "type": "Group"}},
    });
    for (key, value) in more.as_object().unwrap() {
        block[key] = value.clone();
    }
    json!({"prometheus": block})
}

/// A controller that learns from Prometheus; the source is not named, as in the seed.
fn start(cluster: &Cluster, metric: &Value) -> Controller {
    let general = json!({"autoFence": true, "wormholePort": ["9080"]});
    Controller::start_with_metric(cluster.folder(), &cluster.kubeconfig(), &general, metric)
}

fn host(name: &str) -> String {
    format!("{name}.default.svc.cluster.local")
}

fn key(name: &str) -> String {
    format!("{{destination_service=\"{}\"}}", host(name))
}
