//! Settings that change while the controller runs.

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use crate::support::waiting::eventually;

const RELOADS: &str = "lazyload_config_reloads_total";
const FAILED: &str = "lazyload_config_reload_failed_total";

async fn fences_are(cluster: &Cluster, expected: &[&str]) {
    eventually(&format!("the fences and Sidecars are {expected:?}"), DEADLINE, || async {
        cluster.collect_garbage().await;
        let now = (cluster.objects.names("ServiceFence").await, cluster.objects.names("Sidecar").await);
        if now.0 == expected && now.1 == expected { Ok(()) } else { Err(now) }
    })
    .await;
}

/// Waits until the Sidecar of `svc1` has these hosts.
async fn hosts_are(cluster: &Cluster, expected: &[&str]) {
    eventually("the hosts of svc1", DEADLINE, || async {
        let hosts = cluster.objects.hosts("testns", "svc1").await;
        if hosts.as_deref().is_some_and(|hosts| hosts == expected) { Ok(()) } else { Err(hosts) }
    })
    .await;
}

#[tokio::test]
async fn changed_settings_are_in_force_without_a_restart_and_what_takes_one_is_named_and_kept() {
    let Some(cluster) = Cluster::start("reload").await else { return };
    let objects = &cluster.objects;
    objects.namespace("testns").await;
    objects.service("testns", "svc1", json!({"slime.io/serviceFenced": "true"})).await;
    objects.service("testns", "svc2", json!({})).await;
    let mut controller = Controller::start(&cluster, &json!({}));
    controller.ready().await;
    assert!(objects.names("ServiceFence").await.is_empty());

    // Safe: taken over at once.
    controller.configure(&json!({"autoFence": true, "stableHost": ["api.example.com"]}), &json!({}));
    fences_are(&cluster, &["testns/svc1"]).await;
    hosts_are(&cluster, &["*/api.example.com", "istio-system/*", "mesh-operator/*"]).await;
    controller.configure(&json!({"autoFence": true, "defaultFence": true}), &json!({}));
    fences_are(&cluster, &["testns/svc1", "testns/svc2"]).await;
    hosts_are(&cluster, &["istio-system/*", "mesh-operator/*"]).await;
    assert_eq!(controller.metric(FAILED).await, 0.0);

    // Broken: changes nothing, and is said and counted. What came before is first written to its end.
    let fences = eventually("the fences are settled", DEADLINE, || async {
        let before = objects.versions("ServiceFence").await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let after = objects.versions("ServiceFence").await;
        if before == after { Ok(after) } else { Err(after) }
    })
    .await;
    controller.write_config("general: {autoFence: perhaps}");
    controller.counts(FAILED, 1.0).await;
    controller.write_config("general: {");
    controller.counts(FAILED, 2.0).await;
    assert!(
        controller.log().contains("general.autoFence: expected true or false, got \"perhaps\""),
        "{}",
        controller.log()
    );
    assert_eq!(objects.versions("ServiceFence").await, fences);

    // What takes a restart keeps its value, the rest of the same file is taken over.
    let reloads = controller.metric(RELOADS).await;
    let elsewhere = json!({"istioNamespace": "istio-elsewhere"});
    controller.configure(&json!({"autoFence": true, "blackNamespaceList": "testns"}), &elsewhere);
    fences_are(&cluster, &[]).await;
    controller.counts(RELOADS, reloads + 1.0).await;
    let named =
        |line: &&str| line.contains("WARN") && line.contains("global.istioNamespace") && line.contains("restart");
    assert!(controller.log().lines().any(|line| named(&line)), "{}", controller.log());
    controller.configure(&json!({"autoFence": true}), &elsewhere);
    fences_are(&cluster, &["testns/svc1"]).await;
    hosts_are(&cluster, &["istio-system/*", "mesh-operator/*"]).await;

    // The log level is a setting like others.
    let mut quiet = elsewhere;
    quiet["log"] = json!({"logLevel": "error"});
    controller.configure(&json!({"autoFence": true}), &quiet);
    controller.counts(RELOADS, reloads + 3.0).await;
    let said = controller.log().len();
    objects.service("testns", "svc3", json!({"slime.io/serviceFenced": "true"})).await;
    fences_are(&cluster, &["testns/svc1", "testns/svc3"]).await;
    assert_eq!(controller.log().len(), said, "{}", &controller.log()[said..]);

    controller.assert_running();
    assert_eq!(controller.terminate().await, Some(0));
}
