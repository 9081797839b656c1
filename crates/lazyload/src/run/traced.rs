//! What a collector is told of a controller that learns, around a folder.

use std::sync::Arc;
use std::time::Duration;

use lazyload_logic::observation::Call;
use lazyload_logic::settings::{Context, resolve};
use lazyload_logic::state::State;
use lazyload_logic::types::{Kind, Object};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::engine::{EVENT_QUEUE, Engine};
use crate::admin::metrics::Metrics;
use crate::apply::folder::FolderWriter;
use crate::folder::{Folder, Keeping};
use crate::process::readiness::Readiness;
use crate::trace::Traces;
use crate::trace::conversation::Collector;
use crate::watch::folder::watch_folder;

const DEADLINE: Duration = Duration::from_secs(60);
const MESH: &str = "apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: default}}
- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app: a}}}
- {apiVersion: v1, kind: Service, metadata: {name: b}, spec: {selector: {app: b}}}
- {apiVersion: v1, kind: Pod, metadata: {name: a-1, labels: {app: a}}, status: {podIP: 172.17.0.11}}
- {apiVersion: microservice.slime.io/v1alpha1, kind: ServiceFence, metadata: {name: a}, spec: {enable: true}}
";

/// Waits until the only Sidecar has one listener with these hosts: no switch is under way.
async fn settled(folder: &Folder, hosts: &[&str]) {
    let mut changes = folder.changes();
    let look = async {
        loop {
            let found: Vec<Vec<String>> = folder
                .objects(Kind::Sidecar)
                .into_iter()
                .flat_map(|object| if let Object::Sidecar(sidecar) = object { sidecar.spec.egress } else { Vec::new() })
                .map(|listener| listener.hosts)
                .collect();
            if found == [hosts] {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    timeout(DEADLINE, look).await.unwrap_or_else(|_| panic!("no Sidecar with {hosts:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_learned_is_one_trace_with_a_write_for_each_stage_and_nothing_else_is_traced() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mesh.yaml"), MESH).unwrap();
    let folder = Folder::open(directory.path(), Keeping::Memory).unwrap();
    let (collector, endpoint) = Collector::start().await;
    let traces = Traces::to(&endpoint).unwrap();
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let (calls_tx, calls) = mpsc::channel(1);
    let (problems_tx, _problems) = mpsc::unbounded_channel();
    let _watches = watch_folder(&folder, events_tx, problems_tx).unwrap();
    let (state, _) = State::new(resolve(&json!({}), &Context::default()).unwrap().settings);
    let writer = FolderWriter::new(folder.clone());
    let engine = Engine::new(state, writer, Arc::new(Metrics::default()), &Readiness::default()).traced(traces.clone());
    let shutdown = CancellationToken::new();
    let engine = tokio::spawn(engine.run(events, calls, shutdown.clone()));

    settled(&folder, &["istio-system/*", "mesh-operator/*"]).await;
    let call = || Call { caller: [172, 17, 0, 11].into(), peer: None, authority: "b".into(), count: 1 };
    for _ in 0..3 {
        calls_tx.send(vec![call()]).await.unwrap();
    }
    settled(&folder, &["*/b.default.svc.cluster.local", "istio-system/*", "mesh-operator/*"]).await;
    let told = async {
        // The trace is over a moment after the last write is seen.
        while !collector.spans().iter().any(|span| span.name == "dependency") {
            tokio::time::sleep(Duration::from_millis(10)).await;
            traces.flush().await;
        }
    };
    timeout(DEADLINE, told).await.unwrap();
    shutdown.cancel();
    engine.await.unwrap();
    traces.end().await;

    let spans = collector.spans();
    let root = spans.iter().find(|span| span.name == "dependency").unwrap();
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["dependency", "plan", "write", "write"],
        "announced, then routed; the making of the Sidecar taught nothing"
    );
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id), "{spans:#?}");
    let took = Duration::from_nanos(root.end_time_unix_nano - root.start_time_unix_nano);
    assert!(took >= Duration::from_millis(25), "it waits for siblings: {took:?}");
}
