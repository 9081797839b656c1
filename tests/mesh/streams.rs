//! Requests that outlast the switch: opened through the global-sidecar, they stay there until they end, whole.

use std::time::Duration;

use serde_json::Value;

use super::install::Installation;
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(30);
/// A gRPC stream and a WebSocket are kept open for so many seconds, an upload for as long as its gibibyte takes.
const SECONDS: u32 = 15;
const GIBIBYTE: u64 = 1 << 30;
/// Nobody knows it before the test: one port of HTTP and one of gRPC.
const STREAMED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: streamed, namespace: default}
spec:
  selector: {matchLabels: {app: streamed}}
  template:
    metadata: {labels: {app: streamed}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: docker.io/testbed/app:1
          imagePullPolicy: Never
          env: [{name: NAME, value: streamed}, {name: PORTS, value: \"9080,9081\"}]
          readinessProbe: {httpGet: {path: /healthz, port: 9080}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: streamed, namespace: default}
spec:
  selector: {app: streamed}
  ports: [{name: http, port: 9080}, {name: grpc, port: 9081}]
---
apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: default}
spec: {enable: true}
";

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_an_upload_of_a_gibibyte_survive_the_switch_to_direct() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("streams_and_an_upload_of_a_gibibyte_survive_the_switch_to_direct") else { return };
    let _installation = Installation::with_port(&testbed, 9081).await;
    let _fixture = Fixture::new(&testbed).await;
    let caller = Pod::find(&testbed, "app=productpage");

    let streaming = tokio::spawn({
        let caller = Pod::find(&testbed, "app=productpage");
        let asked =
            format!("/streams?seconds={SECONDS}&bytes={GIBIBYTE}&url=http://streamed:9080&grpc=http://streamed:9081");
        async move { caller.ask(&asked).await }
    });
    // Entries of an access log come when a request ends: it is short ones beside the streams that teach.
    eventually("short requests are direct", SOON, || async {
        let http = caller.ask("/fetch?url=http://streamed:9080/").await?;
        let grpc = caller.ask("/grpc?url=http://streamed:9081").await?;
        anyhow::ensure!(http["direct"] == "direct" && grpc["direct"] == "direct", "{http:#} {grpc:#}");
        Ok(())
    })
    .await;
    assert!(!streaming.is_finished(), "the streams ended before the switch: {:?}", streaming.await);
    let streams = streaming.await.unwrap().expect("what became of the streams");
    println!("streams over the switch: {streams}");
    survived(&streams, "fallback");

    let again = "/streams?seconds=2&bytes=1000000&url=http://streamed:9080&grpc=http://streamed:9081";
    let streams = caller.ask(again).await.expect("what became of the streams");
    for name in ["socket", "grpc", "upload"] {
        assert_eq!(
            (&streams[name]["direct"], &streams[name]["error"]),
            (&"direct".into(), &Value::Null),
            "{streams:#}"
        );
    }
}

fn survived(streams: &Value, way: &str) {
    for name in ["socket", "grpc", "upload"] {
        let stream = &streams[name];
        assert_eq!(stream["error"], Value::Null, "{name}: {streams:#}");
        assert_eq!(stream["direct"], way, "{name}: {streams:#}");
    }
    assert_eq!(streams["upload"]["count"], GIBIBYTE, "{streams:#}");
    for name in ["socket", "grpc"] {
        // Ten a second at most; a busy machine makes them fewer.
        assert!(streams[name]["count"].as_u64() > Some(u64::from(SECONDS)), "{name}: {streams:#}");
    }
}

struct Fixture<'a> {
    testbed: &'a Testbed,
}

impl<'a> Fixture<'a> {
    async fn new(testbed: &'a Testbed) -> Self {
        script(&["bookinfo", "up"]);
        testbed.apply(STREAMED);
        let fixture = Self { testbed };
        let rollout = ["-n", "default", "rollout", "status", "deployment/streamed", "--timeout=120s"];
        testbed.kubectl(&rollout).expect("the destination is ready");
        eventually("the Sidecar is in force", SOON, || async {
            let clusters = clusters(testbed, "productpage-v1")?;
            anyhow::ensure!(!clusters.contains("||streamed."), "the destination is known");
            anyhow::ensure!(clusters.contains("outbound|9081||global-sidecar."), "the fallback is not");
            Ok(())
        })
        .await;
        fixture
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        let removed = [
            self.testbed.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "deployment,service", "streamed", "-n", "default", "--ignore-not-found"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing the streams' destination: {failed}");
        }
    }
}
