//! A real browser: Chromium opens a page through the proxy. An Envoy between them plays the sidecar, which adds Slime's headers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::conn::Conn;
use super::programs::Serving;
use super::proxy::{Proxy, program};
use super::table::publish;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;

const DEADLINE: Duration = Duration::from_secs(240);
/// Debian's, installed by the testbed's build script.
const BROWSER: &str = "/usr/bin/chromium-headless-shell";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_no_difference() {
    let Some((ours, envoy)) = Proxy::both("browser").await else { return };
    let (by_ours, by_envoy) = (rows(&ours).await, rows(&envoy).await);
    let table: Vec<_> = by_ours
        .iter()
        .map(|(what, seen)| (what.clone(), vec![seen.clone(), by_envoy.get(what).cloned().unwrap_or_default()]))
        .collect();
    publish("Browser", &table);
    assert!(by_ours.len() >= 12, "{by_ours:#?}");
    let wrong: Vec<_> = by_ours.iter().filter(|(_, seen)| *seen != "yes").collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", ours.log());
}

/// What the page has seen.
async fn rows(proxy: &Proxy) -> BTreeMap<String, String> {
    let (folder, destination, port) = (TempDir::new().unwrap(), Serving::destination().await, free_port());
    let _sidecar = sidecar(folder.path(), port, proxy.address, destination.address);
    let sidecar = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("the sidecar listens", DEADLINE, || tokio::net::TcpStream::connect(sidecar)).await;
    let arguments = [
        // Root has no sandbox.
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        // Keeps it running.
        "--remote-debugging-port=0".to_owned(),
        format!("--user-data-dir={}", folder.path().join("profile").display()),
        format!("http://{sidecar}/page"),
    ];
    let browser = Running::start(Path::new(BROWSER), &arguments, &[], folder.path().join("browser.log")).unwrap();
    let report = eventually("the page's report", DEADLINE, || async {
        let mut direct = Conn::new(tokio::net::TcpStream::connect(destination.address).await?);
        direct.send("GET /report HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let answer = direct.rest().await?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}; the browser: {}", browser.log());
        Ok(serde_json::from_str(body)?)
    });
    report.await
}

/// Envoy as the sidecar of the caller: what the fallback route adds, and WebSockets.
fn sidecar(folder: &Path, port: u16, forwarder: SocketAddr, destination: SocketAddr) -> Running {
    let header = |key: &str, value: String| json!({"header": {"key": key, "value": value}});
    let address =
        |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "sidecar",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "request_headers_to_add": [
                header("slime-orig-dest", destination.to_string()), header("slime-source-ns", "default".to_owned()),
            ],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "forwarder", "timeout": "0s"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let config: Value = json!({"static_resources": {
        "listeners": [{
            "name": "sidecar",
            "address": address(SocketAddr::from(([127, 0, 0, 1], port))),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }]}],
        }],
        "clusters": [{
            "name": "forwarder",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "forwarder",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(forwarder)}}]}],
            },
        }],
    }});
    let path = folder.join("sidecar.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let path = path.to_string_lossy().into_owned();
    let arguments = ["-c", &path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"].map(str::to_owned);
    Running::start(&program("envoy"), &arguments, &[], folder.join("sidecar.log")).unwrap()
}
