//! `lazyload reset`, beside a controller that runs.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::controller::Controller;
use super::proxy::send;
use super::{DEADLINE, command};
use crate::support::waiting::eventually;

fn reset(cluster: &Cluster, arguments: &[&str]) -> (i32, String) {
    command::hear(&cluster.folder().join("admin.kubeconfig"), &[&["reset"][..], arguments].concat())
}

async fn fence(cluster: &Cluster) -> Value {
    cluster.objects.find("ServiceFence", "default", "productpage").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_is_forgotten_without_a_restart_and_learned_again_by_the_next_call() {
    let Some(cluster) = Cluster::start("reset").await else { return };
    let objects = &cluster.objects;
    for name in ["productpage", "details", "reviews"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    objects.pod("default", "productpage", "10.244.0.10").await;
    let spec = json!({"enable": true, "workloadSelector": {"fromService": true}, "host": {"ratings.x.y": {}}});
    objects.fence("default", "productpage", spec).await;
    let (code, said) = reset(&cluster, &["productpage", "--yes"]);
    assert!(code == 0 && said.contains("has learned nothing"), "{said}");

    let mut controller = Controller::start(&cluster, &json!({"wormholePort": ["9080"]}));
    controller.ready().await;
    let _stream = send(&controller, &[("10.244.0.10", "details:9080"), ("10.244.0.10", "reviews:9080")]).await;
    let learned = async |expected: &[&str]| {
        eventually("these are learned", DEADLINE, || async {
            let fence = fence(&cluster).await;
            let keys: Vec<String> =
                fence["status"]["metricStatus"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
            let has = |host: &&str| keys.iter().any(|key| key.contains(*host));
            anyhow::ensure!(keys.len() == expected.len() && expected.iter().all(has), "{keys:?} {}", controller.log());
            Ok(())
        })
        .await;
    };
    learned(&["details", "reviews"]).await;

    let (code, said) = reset(&cluster, &["productpage", "details", "--dry-run"]);
    assert!(code == 0 && said.contains("leaves the Sidecar") && !said.contains("Forgotten"), "{said}");
    let (code, said) = reset(&cluster, &["productpage", "details"]);
    assert!(code == 2 && said.contains("give --yes"), "{said}");
    let (code, said) = reset(&cluster, &["productpage", "nobody", "--yes"]);
    assert!(code == 1 && said.contains("has not learned nobody"), "{said}");
    learned(&["details", "reviews"]).await;

    let (code, said) = reset(&cluster, &["productpage", "details", "--yes"]);
    assert!(code == 0 && said.contains("Forgotten"), "{said} {}", controller.log());
    learned(&["reviews"]).await;
    let forgetful = fence(&cluster).await;
    assert_eq!(forgetful["metadata"]["annotations"]["lazyload.slime.io/forget"], Value::Null);
    let details = "details.default.svc.cluster.local";
    assert_eq!(forgetful["status"]["domains"][details]["status"], "EXPIREWAIT", "it leaves in stages");

    let _again = send(&controller, &[("10.244.0.10", "details:9080")]).await;
    learned(&["details", "reviews"]).await;
    let (code, said) = reset(&cluster, &["default/productpage", "--yes"]);
    assert!(code == 0 && said.contains("Forgotten"), "{said}");
    learned(&[]).await;
    let _third = send(&controller, &[("10.244.0.10", "details:9080")]).await;
    learned(&["details"]).await;

    assert_eq!(controller.terminate().await, Some(0));
    let (code, said) = reset(&cluster, &["productpage", "--yes", "--timeout", "1"]);
    assert!(code == 1 && said.contains("nothing was forgotten"), "{said}");
    assert_eq!(fence(&cluster).await["metadata"]["annotations"]["lazyload.slime.io/forget"], Value::Null);
}
