//! Where the global-sidecar takes mTLS only, each learned call carries its caller's certificate, and an entry that names somebody else's address is skipped.

use std::time::Duration;

use super::install::{Installation, NAMESPACE};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::apiserver::proxy::Stream;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
const STRICT: &str = "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, \
    metadata: {name: strict, namespace: mesh-operator}, spec: {mtls: {mode: STRICT}}}";
const FENCE: &str = "{apiVersion: microservice.slime.io/v1alpha1, kind: ServiceFence, \
    metadata: {name: productpage, namespace: default}, spec: {enable: true}}";

#[tokio::test(flavor = "multi_thread")]
async fn under_strict_mtls_a_callers_certificate_agrees_with_its_pod_and_a_forged_entry_is_skipped() {
    let _turn = turn().await;
    let test = "under_strict_mtls_a_callers_certificate_agrees_with_its_pod_and_a_forged_entry_is_skipped";
    let Some(testbed) = Testbed::up(test) else { return };
    let _installation = Installation::new(&testbed).await;
    script(&["bookinfo", "up"]);
    let _strict = Strict::new(&testbed);
    testbed.apply(FENCE);
    let productpage = Pod::find(&testbed, "app=productpage");
    let controller = controller(&testbed);

    eventually("a call is learned", SOON, || async {
        productpage.ask("/fetch?url=http://details:9080/").await?;
        let status = testbed.get(&["servicefence", "productpage", "-n", "default"])?["status"].to_string();
        anyhow::ensure!(status.contains("details.default.svc.cluster.local"), "{status}");
        Ok(())
    })
    .await;
    let metrics = controller.text("/metrics").await.expect("metrics");
    assert!(count(&metrics, "lazyload_calls_verified") >= 1, "{metrics}");
    assert_eq!(count(&metrics, "lazyload_calls_unverified"), 0, "{metrics}");
    assert_eq!(count(&metrics, "lazyload_accesslog_skipped{reason=\"other_proxy\"}"), 0, "{metrics}");

    // From outside the mesh, as any pod without a proxy could: ratings' certificate, productpage's address.
    let mut stream = Stream::open(format!("http://{}", controller.at(8082))).await.expect("the log's port");
    let forged = "spiffe://cluster.local/ns/default/sa/bookinfo-ratings";
    assert!(stream.send_as(forged, (&productpage.ip(), "forged:9080")).await);
    eventually("the forged entry is counted", SOON, || async {
        let metrics = controller.text("/metrics").await?;
        let skipped = count(&metrics, "lazyload_calls_skipped{reason=\"identity_mismatch\"}");
        anyhow::ensure!(skipped == 1, "{metrics}");
        Ok(())
    })
    .await;
    let fence = testbed.get(&["servicefence", "productpage", "-n", "default"]).expect("the fence").to_string();
    assert!(!fence.contains("forged"), "{fence}");
}

/// The controller's pod; port 8081 has its metrics.
fn controller(testbed: &Testbed) -> Pod {
    Pod::find_in(testbed, NAMESPACE, "app=lazyload", 8081)
}

fn count(metrics: &str, series: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    values.filter_map(|value| value.parse::<u64>().ok()).sum()
}

/// Nobody reaches the global-sidecar without mutual TLS, until it is dropped. The test itself calls the apps without.
struct Strict<'a>(&'a Testbed);

impl<'a> Strict<'a> {
    fn new(testbed: &'a Testbed) -> Self {
        testbed.apply(STRICT);
        Self(testbed)
    }
}

impl Drop for Strict<'_> {
    fn drop(&mut self) {
        let removed = [
            self.0.kubectl(&["delete", "peerauthentication", "strict", "-n", NAMESPACE, "--ignore-not-found"]),
            self.0.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing STRICT: {failed}");
        }
    }
}
