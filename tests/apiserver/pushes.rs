//! A switch waits for the proxies that it is for: they are asked where Istio's proxies tell their statistics.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::send;
use crate::support::waiting::eventually;

/// Loopback addresses of pods that this test answers for.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 10);
const TWIN: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 11);
/// Longer than any estimate.
const A_WHILE: Duration = Duration::from_secs(2);

/// A proxy's statistics, as Envoy writes them.
struct Proxy {
    listeners: Arc<AtomicU64>,
    warming: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    async fn at(address: Ipv4Addr) -> Self {
        let server = TcpListener::bind((address, 15090)).await.expect("the port of a proxy's statistics is free");
        let (listeners, warming, asked) =
            (Arc::new(AtomicU64::new(11)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (added, warms, count) = (listeners.clone(), warming.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                let mut request = [0; 2048];
                let Ok(length) = stream.read(&mut request).await else { continue };
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                assert!(request.starts_with("GET /stats/prometheus?filter="), "{request}");
                count.fetch_add(1, Relaxed);
                let body = format!(
                    "# TYPE envoy_listener_manager_listener_added counter\nenvoy_listener_manager_listener_added{{}} {}\n\
                     envoy_cluster_manager_warming_clusters{{}} {}\n",
                    added.load(Relaxed),
                    warms.load(Relaxed)
                );
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    // Who asked has gone.
                }
            }
        });
        Self { listeners, warming, asked, task }
    }

    fn gets_a_listener(&self) {
        self.listeners.fetch_add(1, Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_goes_on_when_the_last_of_its_proxies_has_it_and_not_before() {
    let Some(cluster) = Cluster::start("pushes").await else { return };
    let objects = &cluster.objects;
    let (first, second) = (Proxy::at(CALLER).await, Proxy::at(TWIN).await);
    for name in ["caller", "details", "ratings"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    for (name, address) in [("caller-1", CALLER), ("caller-2", TWIN), ("caller-3", Ipv4Addr::new(127, 77, 0, 12))] {
        pod(&cluster, name, address).await;
    }
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    objects.fence("default", "caller", json!({"enable": true})).await;

    // Everything stays announced until both have the first Sidecar. The third pod has no proxy, and nobody waits for it.
    stands(&cluster, &controller, &["*/*"], 0).await;
    first.gets_a_listener();
    stands(&cluster, &controller, &["*/*"], 0).await;
    second.gets_a_listener();
    routed(&cluster, &controller, 2).await;

    let called = CALLER.to_string();
    let stream = send(&controller, &[(&called, "details:9080")]).await;
    stands(&cluster, &controller, &["*/details.default.svc.cluster.local"], 2).await;
    // Its clusters are there, and warm.
    first.gets_a_listener();
    second.warming.store(1, Relaxed);
    second.gets_a_listener();
    stands(&cluster, &controller, &["*/details.default.svc.cluster.local"], 2).await;
    second.warming.store(0, Relaxed);
    routed(&cluster, &controller, 3).await;
    controller.counts("lazyload_push_seconds_count", 2.0).await;
    controller.counts("lazyload_plan_seconds_count", 1.0).await;
    controller.counts("lazyload_write_seconds_count", 2.0).await;
    assert!(controller.metric("lazyload_proxies_silent_total").await >= 1.0);

    // Proxies that tell no more hold nothing up for long: their pods may be going.
    let asked = first.asked.load(Relaxed);
    drop((first, second));
    assert!(asked > 4, "{asked}");
    let again = send(&controller, &[(&called, "ratings:9080")]).await;
    routed(&cluster, &controller, 4).await;
    drop((stream, again));
}

async fn pod(cluster: &Cluster, name: &str, address: Ipv4Addr) {
    cluster
        .objects
        .apply(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": name, "labels": {"app": "caller"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        }))
        .await;
    let address = address.to_string();
    let status = json!({"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]});
    cluster.objects.merge_status("Pod", "default", name, status).await;
}

async fn egress(cluster: &Cluster) -> Vec<Value> {
    let sidecar = cluster.objects.find("Sidecar", "default", "caller").await.unwrap_or_default();
    sidecar["spec"]["egress"].as_array().cloned().unwrap_or_default()
}

/// The Sidecar announces these hosts, and still does after a while.
async fn stands(cluster: &Cluster, controller: &Controller, announced: &[&str], more_than: usize) {
    let look = async || {
        let egress = egress(cluster).await;
        let routes = egress.last().and_then(|it| it["hosts"].as_array()).map_or(0, Vec::len);
        if egress.len() == 2 && egress[0]["hosts"] == json!(announced) && routes >= more_than {
            Ok(())
        } else {
            Err((egress, controller.log()))
        }
    };
    eventually("it is announced", DEADLINE, &look).await;
    tokio::time::sleep(A_WHILE).await;
    look().await.expect("it went on too early");
}

async fn routed(cluster: &Cluster, controller: &Controller, hosts: usize) {
    eventually("it is routed, and nothing announced", DEADLINE, || async {
        let egress = egress(cluster).await;
        match &egress[..] {
            [only] if only["hosts"].as_array().map(Vec::len) == Some(hosts) => Ok(()),
            other => Err((other.to_vec(), controller.log())),
        }
    })
    .await;
}
