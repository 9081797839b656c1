//! A real Envoy that takes its configuration from istiod; what memory it has allocated then.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use lazyload_bench_common::process::free_port;
use serde_json::{Value, json};

use crate::process;
use crate::world::{self, Pod};

/// Without a change for so long, Envoy has all of it.
const REST: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(180);

/// What Envoy says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub allocated_mib: f64,
    pub clusters: usize,
}

/// Starts Envoy as the proxy of a pod, waits until it has everything, and ends it.
pub async fn figures(program: &Path, folder: &Path, istiod: u16, pod: Pod) -> anyhow::Result<Figures> {
    let admin = free_port()?;
    let config = bootstrap(admin, istiod, pod);
    let path = folder.join(format!("envoy-{admin}.json"));
    std::fs::write(&path, config.to_string())?;
    let arguments = [
        "--config-path".to_owned(),
        path.display().to_string(),
        "--concurrency".to_owned(),
        "2".to_owned(),
        "--disable-hot-restart".to_owned(),
        "--log-level".to_owned(),
        "error".to_owned(),
    ];
    let mut process = process::start(program, &arguments, &[], &path.with_extension("log"))?;
    let client = Client::try_from(Config::new(format!("http://127.0.0.1:{admin}").parse()?))?;
    let waiting = async {
        let mut before = None;
        loop {
            process.check().context("Envoy")?;
            let now = updates(&client).await;
            if now.is_some() && now == before {
                return anyhow::Ok(());
            }
            before = now;
            tokio::time::sleep(REST).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.context("Envoy does not come to rest")??;
    let memory: Value = client.request(http::Request::get("/memory").body(Vec::new())?).await?;
    let allocated: f64 = memory["allocated"].as_str().context("no figure")?.parse()?;
    let stats = client
        .request_text(http::Request::get("/stats?filter=cluster_manager.active_clusters").body(Vec::new())?)
        .await?;
    let clusters = stats.trim().rsplit_once(' ').context("no count of clusters")?.1.parse()?;
    process.end().await?;
    Ok(Figures { allocated_mib: allocated / 1024.0 / 1024.0, clusters })
}

/// How often it took something over; `None` before its listeners came.
async fn updates(client: &Client) -> Option<String> {
    let request = http::Request::get("/stats?filter=update_success").body(Vec::new()).ok()?;
    let text = client.request_text(request).await.ok()?;
    let has = |name: &str| text.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"));
    (has("listener_manager.lds") && has("cluster_manager.cds")).then_some(text)
}

fn bootstrap(admin: u16, istiod: u16, pod: Pod) -> Value {
    let (namespace, app, address) =
        (world::namespace(pod.service), world::name(pod.service), pod.address().to_string());
    let socket = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let http2 = json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}},
    }});
    let ads = json!({"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"});
    json!({
        "node": {
            "id": format!("sidecar~{address}~{}.{namespace}~{namespace}.svc.cluster.local", pod.name()),
            "cluster": format!("{app}.{namespace}"),
            "metadata": {"CLUSTER_ID": "Kubernetes", "INSTANCE_IPS": address, "ISTIO_VERSION": "1.31.0", "LABELS": {"app": app},
                         "NAMESPACE": namespace, "SERVICE_ACCOUNT": app},
        },
        "admin": {"address": socket(admin)},
        "dynamic_resources": {
            "ads_config": {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
                           "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}]},
            "cds_config": ads, "lds_config": ads,
        },
        "static_resources": {"clusters": [
            {"name": "xds-grpc", "type": "STATIC", "connect_timeout": "1s", "typed_extension_protocol_options": http2,
             "load_assignment": {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(istiod)}}]}]}},
            // Named by listeners; nobody answers there.
            {"name": "sds-grpc", "type": "STATIC", "connect_timeout": "1s", "typed_extension_protocol_options": http2,
             "load_assignment": {"cluster_name": "sds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(1)}}]}]}},
        ]},
    })
}
