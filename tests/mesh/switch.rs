//! Time to direct: from the first request to an unknown host until the first request that needs no fallback, beside the floor: a
//! script that changes a Sidecar of its own the moment the first answer is there.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use super::install::Installation;
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::repository;
use crate::support::waiting::eventually;

const TRIALS: usize = 10;

/// Envoy can activate a new route a few milliseconds before its cluster (`503 NC`), so a switch in one step can lose a request of a
/// steady 50 per second, ours and the script's alike. "No request lost, nothing learned lost" is the issue that ends this.
const LOST_AT_MOST: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn the_second_call_is_direct_within_the_time_that_istiod_needs() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("the_second_call_is_direct_within_the_time_that_istiod_needs") else { return };
    let _installation = Installation::new(&testbed).await;
    let fixture = Fixture::new(&testbed).await;
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for trial in 0..TRIALS {
        ours.push(fixture.trial("ours", trial).await);
        floor.push(fixture.trial("floor", trial).await);
    }
    report(&ours, &floor);
    for trial in ours.iter().chain(&floor) {
        assert!(trial.lost <= LOST_AT_MOST, "more than the switch can explain: {trial:?}");
        assert!(trial.fallback >= 1, "the first request was direct already: {trial:?}");
    }
}

/// What one trial showed.
#[derive(Debug)]
struct Trial {
    /// From the first request's start to the start of the first direct one.
    to_direct: Duration,
    /// Requests through the fallback.
    fallback: u64,
    lost: usize,
}

struct Fixture<'a> {
    testbed: &'a Testbed,
    sidecars: Api<DynamicObject>,
}

impl<'a> Fixture<'a> {
    /// Two callers, one fenced by us and one with a Sidecar that the script changes; a Service for each trial, all of one callee.
    async fn new(testbed: &'a Testbed) -> Self {
        script(&["bookinfo", "up"]);
        let mut yaml = String::new();
        for who in ["ours", "floor"] {
            for trial in 0..TRIALS {
                yaml += &format!(
                    "---\napiVersion: v1\nkind: Service\nmetadata: {{name: ttd-{who}-{trial}, namespace: default, labels: {{trial: time-to-direct}}}}\n\
                     spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: details}}}}\n"
                );
            }
        }
        yaml += "---\napiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata: {name: productpage, namespace: default}\n\
                 spec: {enable: true}\n---\n";
        yaml += &floor_sidecar(&[]).to_string();
        testbed.apply(&yaml);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "Sidecar"));
        let sidecars = Api::namespaced_with(testbed.client().await, "default", &resource);
        let fixture = Self { testbed, sidecars };
        for app in ["productpage", "ratings"] {
            eventually("the Sidecar is in force", Duration::from_secs(20), || async {
                let clusters = clusters(testbed, &format!("{app}-v1"))?;
                anyhow::ensure!(!clusters.contains("||ttd-"), "the trials' Services are known");
                Ok(())
            })
            .await;
            // Connections of the fallback are made before the first trial, as in a mesh that is in use.
            let caller = Pod::find(testbed, &format!("app={app}"));
            caller.ask("/fetch?url=http://details:9080/").await.expect("a warm-up call");
        }
        fixture
    }

    async fn trial(&self, who: &str, trial: usize) -> Trial {
        let caller = if who == "ours" { "productpage" } else { "ratings" };
        let caller = Pod::find(self.testbed, &format!("app={caller}"));
        let url = format!("http://ttd-{who}-{trial}:9080/");
        let start = Instant::now();
        let first = caller.ask(&format!("/fetch?url={url}")).await.expect("the first request");
        assert_eq!(first["status"], 200, "{first:#}");
        if who == "floor" {
            // The script: a client that is connected already, as the controller's is.
            let sidecar = floor_sidecar(&[&format!("*/ttd-floor-{trial}.default.svc.cluster.local")]);
            let params = PatchParams::apply("floor").force();
            self.sidecars.patch("floor", &params, &Patch::Apply(&sidecar)).await.expect("the script's patch");
        }
        let waited = start.elapsed();
        let probe = format!("/probe?url={url}&interval_ms=20&until=direct&timeout_s=20");
        let probe = caller.ask(&probe).await.expect("a probe");
        assert_eq!(probe["reached"], true, "{probe:#}");
        let started = Duration::from_secs_f64(probe["start_ms"].as_f64().unwrap_or_default() / 1000.0);
        let fallback = probe["fallback"].as_u64().unwrap_or_default() + u64::from(first["direct"] == "fallback");
        Trial { to_direct: waited + started, fallback, lost: probe["failed"].as_array().map_or(0, Vec::len) }
    }
}

impl Drop for Fixture<'_> {
    fn drop(&mut self) {
        let removed = [
            self.testbed.kubectl(&["delete", "servicefence", "productpage", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "sidecar", "floor", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "service", "-n", "default", "-l", "trial=time-to-direct"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing the trials: {failed}");
        }
    }
}

fn floor_sidecar(hosts: &[&str]) -> Value {
    let mut all = vec!["istio-system/*", "mesh-operator/*"];
    all.extend(hosts);
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "floor", "namespace": "default"},
        "spec": {"egress": [{"hosts": all}], "workloadSelector": {"labels": {"app": "ratings"}}},
    })
}

/// Prints the figures and keeps them in `target/mesh-report/`.
fn report(ours: &[Trial], floor: &[Trial]) {
    let millis = |trials: &[Trial]| {
        let mut millis: Vec<u128> = trials.iter().map(|trial| trial.to_direct.as_millis()).collect();
        millis.sort_unstable();
        millis
    };
    let (ours_ms, floor_ms) = (millis(ours), millis(floor));
    let median = |sorted: &[u128]| sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let lost = |trials: &[Trial]| trials.iter().map(|trial| trial.lost).sum::<usize>();
    let text = json!({
        "what": "milliseconds from the first request to an unknown host to the first direct one",
        "ours": {"median": median(&ours_ms), "all": ours_ms, "requests_through_fallback": ours.iter().map(|trial| trial.fallback).collect::<Vec<_>>()},
        "floor": {"median": median(&floor_ms), "all": floor_ms, "requests_through_fallback": floor.iter().map(|trial| trial.fallback).collect::<Vec<_>>()},
        "requests_lost": {"ours": lost(ours), "floor": lost(floor)},
        "ratio_of_medians": f64::from(u32::try_from(median(&ours_ms)).unwrap_or(u32::MAX)) / f64::from(u32::try_from(median(&floor_ms)).unwrap_or(1).max(1)),
    });
    println!("time to direct: {text:#}");
    let folder = repository().join("target/mesh-report");
    let kept = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("time-to-direct.json"), format!("{text:#}\n")));
    kept.expect("the report is kept");
}
