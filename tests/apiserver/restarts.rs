//! A controller that is killed again and again loses nothing, and takes nothing away meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::DEADLINE;
use super::cluster::Cluster;
use super::controller::Controller;
use super::history::History;
use super::proxy::Repeating;
use crate::support::waiting::eventually;

const CALLERS: usize = 10;
const HOSTS: usize = 5;
const KILLS: usize = 32;

/// Numbers that look random, the same ones for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Everything that a run leaves, but for what depends on when something was seen: fences' domains and evidence, Sidecars' specs.
async fn outcome(cluster: &Cluster) -> BTreeMap<String, serde_json::Value> {
    let mut outcome = BTreeMap::new();
    for kind in ["ServiceFence", "Sidecar"] {
        for object in cluster.objects.list(kind).await {
            let name = format!("{kind} {}", super::objects::name_of(&object));
            let evidence: Vec<_> =
                object["status"]["metricStatus"].as_object().into_iter().flatten().map(|(key, _)| key).collect();
            let kept = json!({
                "labels": object["metadata"]["labels"], "spec": object["spec"],
                "domains": object["status"]["domains"], "evidence": evidence,
            });
            outcome.insert(name, kept);
        }
    }
    outcome
}

/// The outcome of a story that is told to the end: every caller has its five hosts.
async fn told_to_the_end(cluster: &Cluster, log: impl Fn() -> String) -> BTreeMap<String, serde_json::Value> {
    eventually("the story has been told", DEADLINE, || async {
        let outcome = outcome(cluster).await;
        let complete = |(name, object): (&String, &serde_json::Value)| {
            let of_sidecar = object["spec"]["egress"][0]["hosts"].as_array().map_or(0, Vec::len);
            let of_fence = object["domains"].as_object().map_or(0, serde_json::Map::len);
            if name.starts_with("Sidecar") { of_sidecar == HOSTS + 2 } else { of_fence == HOSTS }
        };
        let count = outcome.iter().filter(|it| complete(*it)).count();
        if count == 2 * CALLERS { Ok(outcome) } else { Err(format!("{count}\n{}", log())) }
    })
    .await
}

/// Each caller asks for its hosts, one after the other; `between` comes after each.
async fn story(cluster: &Cluster, callers: &Repeating, mut between: impl AsyncFnMut()) {
    for host in 0..HOSTS {
        for caller in 0..CALLERS {
            if host == 0 {
                let name = format!("caller-{caller}");
                cluster.objects.label("Service", "default", &name, "slime.io/serviceFenced", Some("true")).await;
            }
            callers.add(&format!("10.244.1.{caller}"), &format!("host-{}:9080", (caller + host) % CALLERS));
            between().await;
        }
    }
}

async fn mesh(test: &str) -> Option<(Cluster, Controller, Repeating)> {
    let cluster = Cluster::start(test).await?;
    for number in 0..CALLERS {
        cluster.objects.service("default", &format!("caller-{number}"), json!({})).await;
        cluster.objects.pod("default", &format!("caller-{number}"), &format!("10.244.1.{number}")).await;
        cluster.objects.service("default", &format!("host-{number}"), json!({})).await;
    }
    let controller = Controller::start(&cluster, &json!({"autoFence": true, "wormholePort": ["9080"]}));
    let callers = Repeating::start(controller.log_source());
    Some((cluster, controller, callers))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_killed_at_any_moment_loses_nothing_and_takes_no_host_away() {
    let Some((cluster, controller, callers)) = mesh("kills: without").await else { return };
    controller.ready().await;
    story(&cluster, &callers, async || {}).await;
    let undisturbed = told_to_the_end(&cluster, || controller.log()).await;
    drop((cluster, controller, callers));

    let Some((cluster, mut controller, callers)) = mesh("kills: with").await else { return };
    let history = History::record(&cluster);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = u64::from(now.subsec_nanos()) + 1;
    eprintln!("the moments of the kills follow from {seed}");
    let mut random = Random(seed);
    let mut kills = 0;
    story(&cluster, &callers, async || {
        // Some requests come one upon the other, the others are torn apart by a kill: while it starts, lists, learns or writes.
        if random.below(CALLERS as u64 * HOSTS as u64) < KILLS as u64 + 6 {
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            controller.kill();
            controller.start_again();
            kills += 1;
        }
    })
    .await;
    while kills < KILLS {
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        controller.kill();
        controller.start_again();
        kills += 1;
    }
    let killed = told_to_the_end(&cluster, || controller.log()).await;
    assert_eq!(killed, undisturbed);
    let versions = history.assert_only_grown(&cluster).await;
    eprintln!("{kills} kills; versions of the Sidecars: {versions:?}");
    assert_eq!(versions.len(), CALLERS);

    // Once more from nothing but what is stored: nothing is to be done.
    drop(callers);
    let versions = (cluster.objects.versions("ServiceFence").await, cluster.objects.versions("Sidecar").await);
    controller.kill();
    controller.start_again();
    controller.ready().await;
    controller.counts("lazyload_events_total{event=\"listed\"}", 7.0).await;
    assert_eq!(controller.terminate().await, Some(0));
    assert_eq!((cluster.objects.versions("ServiceFence").await, cluster.objects.versions("Sidecar").await), versions);
}
