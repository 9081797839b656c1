//! A version of lazyload after another one. What an older version left is kept as it was stored (`left_by_an_older_version.yaml`, whose head says
//! how); its binary itself is run by `tests/upgrade.sh`, forth and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::{Cluster, documents};
use super::controller::Controller;
use super::history::History;
use super::objects::{Objects, condition, hosts_of, name_of};
use super::proxy::Repeating;
use crate::support::repository;
use crate::support::waiting::eventually;

const LEFT: &str = "tests/apiserver/left_by_an_older_version.yaml";
/// Callers, and their addresses: one with a fence by hand, one with an automatic one, one that will be observed.
const CALLERS: [(&str, &str); 3] = [("mine", "10.244.0.30"), ("shop", "10.244.0.31"), ("watched", "10.244.0.32")];
/// What they call before the upgrade.
const BEFORE: [(&str, &str); 6] = [
    ("mine", "details:9080"),
    ("mine", "www.example.com"),
    ("shop", "details:9080"),
    ("shop", "reviews.default:9080"),
    ("watched", "details:9080"),
    ("watched", "ratings:9080"),
];

/// Hosts that each fence has seen.
type Evidence = BTreeMap<String, BTreeSet<String>>;

fn general() -> Value {
    json!({"autoFence": true, "wormholePort": ["9080"]})
}

async fn world(objects: &Objects) {
    for name in ["details", "reviews", "ratings", "mine"] {
        objects.service("default", name, json!({"app": name})).await;
    }
    for name in ["shop", "watched"] {
        objects.service("default", name, json!({"app": name, "slime.io/serviceFenced": "true"})).await;
    }
    for (name, address) in CALLERS {
        objects.pod("default", name, address).await;
    }
}

fn address(caller: &str) -> &'static str {
    CALLERS.iter().find(|(name, _)| *name == caller).map(|(_, address)| *address).expect("a caller")
}

async fn evidence(objects: &Objects) -> Evidence {
    let keys = |fence: &Value| {
        let status = fence["status"]["metricStatus"].as_object().cloned().unwrap_or_default();
        status.into_iter().map(|(key, _)| key).collect()
    };
    objects.list("ServiceFence").await.iter().map(|fence| (name_of(fence), keys(fence))).collect()
}

/// Every fence that was there is there, with all that it had seen.
fn assert_nothing_is_lost(before: &Evidence, after: &Evidence) {
    for (fence, hosts) in before {
        assert!(after.get(fence).is_some_and(|now| hosts.is_subset(now)), "{fence} had {hosts:?}: {after:?}");
    }
}

/// What a fence's Sidecar routes, once no switch is under way.
async fn sidecar_has(objects: &Objects, controller: &Controller, fence: &str, services: &[&str]) {
    let expected: Vec<String> = services.iter().map(|name| format!("*/{name}.default.svc.cluster.local")).collect();
    eventually(&format!("{fence} has {services:?}"), DEADLINE, || async {
        let sidecar = objects.find("Sidecar", "default", fence).await;
        match sidecar.as_ref().and_then(hosts_of) {
            Some(hosts) if expected.iter().all(|host| hosts.contains(host)) => Ok(()),
            other => Err((other, controller.log())),
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_older_version_left_is_taken_over_as_it_is_and_goes_on() {
    let Some(cluster) = Cluster::start("left by an older version").await else { return };
    let objects = &cluster.objects;
    world(objects).await;
    let left = documents(&std::fs::read_to_string(repository().join(LEFT)).unwrap());
    for object in &left {
        let plural = if object["kind"] == "Sidecar" { "sidecars" } else { "servicefences" };
        cluster.put_as_it_is(plural, object).await.unwrap();
    }
    let before = evidence(objects).await;
    assert_eq!(before.len(), CALLERS.len(), "{before:?}");
    let sidecars = objects.list("Sidecar").await;
    let mut controller = Controller::start(&cluster, &general());
    controller.ready().await;
    // By the time that something new is learned, everything else was looked at.
    let callers = Repeating::start(controller.log_source());
    callers.add(address("mine"), "ratings:9080");
    sidecar_has(objects, &controller, "mine", &["details", "ratings"]).await;
    assert_nothing_is_lost(&before, &evidence(objects).await);
    for sidecar in &sidecars {
        let now = objects.find("Sidecar", "default", sidecar["metadata"]["name"].as_str().unwrap()).await.unwrap();
        assert_eq!(now["metadata"]["uid"], sidecar["metadata"]["uid"], "the same one");
        if sidecar["metadata"]["name"] != "mine" {
            assert_eq!(now, *sidecar, "there was no reason to write it");
        }
    }
    let written = cluster.audited_writes().into_iter().map(|(_, what)| what).filter(|what| !what.ends_with(" mine"));
    assert_eq!(written.collect::<Vec<_>>(), Vec::<String>::new());
    controller.assert_running();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the binary of an older version: tests/upgrade.sh"]
async fn an_older_version_and_this_one_follow_each_other_and_nothing_is_lost() {
    let older = PathBuf::from(std::env::var_os("UPGRADE_FROM").expect("UPGRADE_FROM: see tests/upgrade.sh"));
    let Some(cluster) = Cluster::start("an older version").await else { return };
    let objects = &cluster.objects;
    world(objects).await;
    objects.fence("default", "mine", json!({"enable": true, "host": {"reviews": {"stable": {}}}})).await;
    let history = History::record(&cluster);
    let mut controller = Controller::stopped(&cluster);
    controller.configure(&general(), &json!({}));

    controller.start_version(&older);
    controller.ready().await;
    for (fence, _) in CALLERS {
        sidecar_has(objects, &controller, fence, &[]).await;
    }
    let callers = Repeating::start(controller.log_source());
    for (caller, host) in BEFORE {
        callers.add(address(caller), host);
    }
    sidecar_has(objects, &controller, "mine", &["details", "reviews"]).await;
    sidecar_has(objects, &controller, "shop", &["details", "reviews"]).await;
    sidecar_has(objects, &controller, "watched", &["details", "ratings"]).await;
    controller.counts("lazyload_learned_hosts", 6.0).await;
    assert_eq!(controller.terminate().await, Some(0));
    keep_what_is_left(objects).await;
    let first = evidence(objects).await;

    // The upgrade, and what only this version writes: a mode.
    controller.start_again();
    controller.ready().await;
    callers.add(address("shop"), "ratings:9080");
    sidecar_has(objects, &controller, "shop", &["details", "reviews", "ratings"]).await;
    objects.label("Service", "default", "watched", "lazyload.slime.io/mode", Some("observe")).await;
    objects.gone("Sidecar", "default", "watched", || controller.log()).await;
    assert_eq!(controller.terminate().await, Some(0));
    let second = evidence(objects).await;
    assert_nothing_is_lost(&first, &second);

    // The way back: an older one knows no modes, and keeps all that was learned.
    controller.start_version(&older);
    controller.ready().await;
    sidecar_has(objects, &controller, "watched", &["details", "ratings"]).await;
    callers.add(address("mine"), "ratings:9080");
    sidecar_has(objects, &controller, "mine", &["details", "reviews", "ratings"]).await;
    assert_eq!(controller.terminate().await, Some(0));
    let third = evidence(objects).await;
    assert_nothing_is_lost(&second, &third);

    controller.start_again();
    controller.ready().await;
    objects.gone("Sidecar", "default", "watched", || controller.log()).await;
    assert_nothing_is_lost(&third, &evidence(objects).await);
    for fence in objects.list("ServiceFence").await {
        assert_eq!(condition(&fence, "SpecValid"), "True Valid", "{fence:#}");
    }
    assert_eq!(controller.terminate().await, Some(0));
    let mut routed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seen in history.seen().into_iter().filter(|seen| seen.name != "default/watched") {
        let before = routed.insert(seen.name.clone(), seen.hosts.clone()).unwrap_or_default();
        assert!(!seen.deleted && before.is_subset(&seen.hosts), "a host left: {seen:?}, {before:?}");
    }
}

/// Keeps fences and Sidecars as they are stored, where `UPGRADE_KEEP` says what wrote them.
async fn keep_what_is_left(objects: &Objects) {
    let Ok(version) = std::env::var("UPGRADE_KEEP") else { return };
    let mut text = format!(
        "# Fences and Sidecars as {version} stored them, with their identities and the owners of their fields. Made by its binary, run by\n\
         # UPGRADE_KEEP={version} tests/upgrade.sh {version}\n"
    );
    for kind in ["ServiceFence", "Sidecar"] {
        for object in objects.list(kind).await {
            text += &format!("---\n{object:#}\n");
        }
    }
    let path: &Path = &repository().join(LEFT);
    std::fs::write(path, text).unwrap();
}
