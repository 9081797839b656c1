//! The global-sidecar as a process that follows a ConfigMap: ports come and go while requests pass.

use std::net::{SocketAddr, TcpListener};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::DEADLINE;
use super::cluster::{CONTROLLER_GROUP, Cluster};
use crate::support::binary;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;

const NAMESPACE: &str = "mesh-operator";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Answers each request when told, and counts them.
async fn patient() -> (SocketAddr, watch::Sender<bool>, watch::Receiver<usize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ((go_tx, go), (count_tx, count)) = (watch::channel(true), watch::channel(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut go, count_tx) = (go.clone(), count_tx.clone());
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    count_tx.send_modify(|count| *count += 1);
                    go.wait_for(|go| *go).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                }
            });
        }
    });
    (address, go_tx, count)
}

async fn asking(port: u16, destination: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head = format!("GET / HTTP/1.1\r\nhost: a.b\r\nslime-orig-dest: {destination}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    Ok(stream)
}

async fn answer(mut stream: TcpStream) -> anyhow::Result<String> {
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

async fn is_served(port: u16, destination: SocketAddr) {
    eventually(&format!("port {port} is served"), DEADLINE, || async {
        let answer = answer(asking(port, destination).await?).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        anyhow::Ok(())
    })
    .await;
}

/// Waits until the readiness probe answers with this status and names `what`.
async fn readiness(probe: u16, status: u16, what: &str) {
    eventually(&format!("readiness {status}, {what:?}"), DEADLINE, || async {
        let mut stream = TcpStream::connect(("127.0.0.1", probe)).await?;
        stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let seen = answer(stream).await?;
        anyhow::ensure!(seen.starts_with(&format!("HTTP/1.1 {status} ")) && seen.contains(what), "{seen}");
        anyhow::Ok(())
    })
    .await;
}

#[tokio::test]
async fn ports_follow_the_config_map_and_none_that_goes_loses_a_request() {
    let Some(cluster) = Cluster::start_without_crds("forwarder").await else { return };
    cluster.objects.namespace(NAMESPACE).await;
    let named = json!({"name": "global-sidecar", "namespace": NAMESPACE});
    // As in its Role.
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]);
    let role = json!({"apiVersion": RBAC, "kind": "Role", "metadata": named, "rules": rules});
    let to = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "global-sidecar"});
    let whom = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": CONTROLLER_GROUP}]);
    let binding =
        json!({"apiVersion": RBAC, "kind": "RoleBinding", "metadata": named, "roleRef": to, "subjects": whom});
    for object in [role, binding] {
        cluster.objects.apply(&object).await;
    }
    let list = async |ports: &[u16]| {
        let cfg = format!("wormholePorts: {ports:?}\n");
        let metadata = json!({
            "name": "global-sidecar", "namespace": NAMESPACE, "labels": {"lazyload.slime.io/config": "global-sidecar"},
        });
        let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"cfg": cfg}});
        cluster.objects.apply(&config_map).await;
    };
    let (first, second, probe) = (free_port(), free_port(), free_port());
    let environment = [
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
        ("POD_NAMESPACE", NAMESPACE.to_owned()),
        ("DISABLE_SVC_CONTROLLER", "true".to_owned()),
        ("CLEAN_UP_WORMHOLE_PORT", "true".to_owned()),
        ("PROBE_PORT", probe.to_string()),
        ("GUARD", "off".to_owned()),
    ];
    let log = cluster.folder().join("global-sidecar.log");
    let mut process = Running::start(&binary::lazyload(), &["global-sidecar".to_owned()], &environment, log).unwrap();
    let (destination, go, mut asked) = patient().await;

    readiness(probe, 503, "a readable port list in a ConfigMap of namespace mesh-operator").await;
    list(&[first]).await;
    readiness(probe, 200, "Healthy!").await;
    is_served(first, destination).await;

    // A port that somebody else has: told, tried again, and in the way of nobody.
    let taken = TcpListener::bind(("0.0.0.0", second)).unwrap();
    list(&[first, second]).await;
    readiness(probe, 503, &format!("port {second} to be open: failed to listen")).await;
    is_served(first, destination).await;
    drop(taken);
    readiness(probe, 200, "Healthy!").await;
    is_served(second, destination).await;

    // A port that goes, with a request in flight.
    let before = *asked.borrow();
    go.send_replace(false);
    let in_flight = asking(first, destination).await.unwrap();
    asked.wait_for(|asked| *asked > before).await.unwrap();
    list(&[second]).await;
    eventually("the port is closed", DEADLINE, || async {
        TcpStream::connect(("127.0.0.1", first)).await.map_or(Ok(()), |_| Err("open"))
    })
    .await;
    go.send_replace(true);
    let answer = answer(in_flight).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
    is_served(second, destination).await;

    process.signal("TERM").unwrap();
    readiness(probe, 503, "this process is shutting down").await;
    eventually("the end", DEADLINE, || {
        let ended = process.ended();
        async { ended.unwrap().ok_or("running") }
    })
    .await;
    assert!(process.ended().unwrap().unwrap().success(), "{}", process.log());
}
