//! How long istiod takes, as it tells: a switch in stages waits for that, and goes on without it where istiod says nothing.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::dependencies::hosts_become;
use super::proxy::send;
use crate::support::running::free_port;
use crate::support::waiting::eventually;

/// What this istiod waits for quiet.
const QUIET: Duration = Duration::from_secs(3);

/// Something that answers as istiod's `/metrics` does, until the test ends.
fn start_istiod() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!(
        "# TYPE pilot_debounce_time histogram\npilot_debounce_time_sum {}\npilot_debounce_time_count 10\nprocess_start_time_seconds 7\n",
        10 * QUIET.as_secs()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok_and(|length| head[..length].starts_with(b"GET /metrics ")) {
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    address
}

async fn fenced(cluster: &Cluster, istiod: SocketAddr) -> Controller {
    let objects = &cluster.objects;
    objects.service("default", "caller", json!({})).await;
    objects.pod("default", "caller", "10.244.0.10").await;
    let general = json!({"wormholePort": ["9080"], "istiodMetrics": istiod.to_string()});
    let controller = Controller::start(cluster, &general);
    controller.ready().await;
    objects.fence("default", "caller", json!({"enable": true})).await;
    controller
}

async fn metric(controller: &Controller, line: &str) {
    eventually(line, DEADLINE, || async {
        let (_, text) = controller.get("/metrics").await.unwrap();
        if text.lines().any(|it| it == line) { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn a_switch_waits_as_long_as_istiod_says_that_its_pushes_take() {
    let Some(cluster) = Cluster::start("istiod that tells").await else { return };
    let controller = fenced(&cluster, start_istiod()).await;
    metric(&controller, "lazyload_push_quiet_seconds 3.0").await;
    hosts_become(&cluster, "caller", &["istio-system/*", "mesh-operator/*"]).await;
    let listeners = async || {
        let sidecar = cluster.objects.find("Sidecar", "default", "caller").await.unwrap();
        sidecar["spec"]["egress"].as_array().cloned().unwrap_or_default()
    };
    let host = "*/details.default.svc.cluster.local";
    let _stream = send(&controller, &[("10.244.0.10", "details.default.svc.cluster.local:9080")]).await;
    let announced = Cell::new(None);
    eventually("the host is routed", DEADLINE, || async {
        let listeners = listeners().await;
        let has = |listener: &Value| listener["hosts"].as_array().is_some_and(|hosts| hosts.contains(&json!(host)));
        if listeners.len() == 2 && has(&listeners[0]) && announced.get().is_none() {
            announced.set(Some(Instant::now()));
        }
        if listeners.last().is_some_and(has) { Ok(()) } else { Err(listeners) }
    })
    .await;
    let waited = announced.get().expect("it was announced first").elapsed();
    // It was announced a moment before that was seen.
    assert!(waited + Duration::from_millis(500) > QUIET, "{waited:?}");
}

#[tokio::test]
async fn without_an_answer_of_istiod_switches_go_on_and_it_is_said_once() {
    let Some(cluster) = Cluster::start("istiod that says nothing").await else { return };
    let controller = fenced(&cluster, SocketAddr::from(([127, 0, 0, 1], free_port()))).await;
    for (number, host) in ["a", "b"].into_iter().enumerate() {
        let _stream = send(&controller, &[("10.244.0.10", &format!("{host}.default.svc.cluster.local:9080"))]).await;
        let learned = ["a", "b"].into_iter().take(number + 1).map(|it| format!("*/{it}.default.svc.cluster.local"));
        let all: Vec<String> = learned.chain(["istio-system/*", "mesh-operator/*"].map(str::to_owned)).collect();
        hosts_become(&cluster, "caller", &all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    eventually("it was asked after the switches too", DEADLINE, || async {
        let (_, text) = controller.get("/metrics").await.unwrap();
        let asked =
            text.lines().find_map(|line| line.strip_prefix("lazyload_istiod_silent_total ")?.parse::<u32>().ok());
        if asked.is_some_and(|asked| asked >= 2) { Ok(()) } else { Err(text) }
    })
    .await;
    let log = controller.log();
    assert_eq!(log.matches("istiod does not say how long its pushes take").count(), 1, "{log}");
}
