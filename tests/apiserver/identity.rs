//! Who called, by address and certificate.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::Stream;
use crate::support::waiting::eventually;

const MINE: &str = "10.244.0.40";
const TRUE_ONE: &str = "spiffe://cluster.local/ns/default/sa/default";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_with_another_identity_than_the_pods_is_skipped_and_counted() {
    let Some(cluster) = Cluster::start("identity of callers").await else { return };
    let objects = &cluster.objects;
    for name in ["mine", "details", "reviews", "forged"] {
        objects.service("default", name, json!({})).await;
    }
    objects.pod("default", "mine", MINE).await;
    objects.fence("default", "mine", json!({"enable": true})).await;
    let controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;

    let mut stream = Stream::open(controller.log_source()).await.unwrap();
    for identity in ["spiffe://cluster.local/ns/default/sa/thief", "spiffe://cluster.local/ns/evil/sa/default"] {
        assert!(stream.send_as(identity, (MINE, "forged:9080")).await);
    }
    assert!(stream.send_as("spiffe://cluster.local/nobody", (MINE, "forged:9080")).await);
    assert!(stream.send_as(TRUE_ONE, (MINE, "details:9080")).await);
    assert!(stream.send(&[(MINE, "reviews:9080")]).await);

    let expected = ["*/details.default.svc.cluster.local", "*/reviews.default.svc.cluster.local"];
    let learned = || async {
        let hosts = objects.hosts("default", "mine").await.unwrap_or_default();
        if expected.iter().all(|host| hosts.iter().any(|known| known == host)) { Ok(hosts) } else { Err(hosts) }
    };
    eventually("both are learned", DEADLINE, learned).await;
    controller.counts("lazyload_calls_skipped{reason=\"identity_mismatch\"}", 2.0).await;
    controller.counts("lazyload_accesslog_skipped{reason=\"identity_malformed\"}", 1.0).await;
    assert_eq!(controller.metric("lazyload_calls_verified").await, 1.0);
    assert_eq!(controller.metric("lazyload_calls_unverified").await, 1.0);
    let hosts = learned().await.unwrap();
    assert!(!hosts.iter().any(|host| host.contains("forged")), "{hosts:?}");
}
