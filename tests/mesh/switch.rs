//! Time to direct: from the first request to an unknown host until the first request that needs no fallback, beside the floor: a
//! script that changes a Sidecar of its own the moment the first answer is there.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use super::install::Installation;
use super::pods::{Pod, clusters};
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::repository;
use crate::support::waiting::eventually;

/// Hosts that are called at once, beside a load of the same caller.
struct Kind {
    name: &'static str,
    hosts: usize,
    /// Requests each second to a host that is direct.
    load: u32,
    /// Times `DIRECT_TIMES`, if that is set.
    trials: usize,
}

const KINDS: [Kind; 3] = [
    Kind { name: "one host", hosts: 1, load: 0, trials: 10 },
    Kind { name: "one host, under load", hosts: 1, load: 200, trials: 2 },
    Kind { name: "200 hosts at once", hosts: 200, load: 0, trials: 1 },
];

/// Of many hosts this many are probed closely, the others called once.
const PROBED: usize = 5;

/// For each host: the script's switch in one step can lose a request of a steady 50 per second (`503 NC`); ours cannot.
const FLOOR_LOSES_AT_MOST: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_direct_is_reported_beside_its_floor_and_no_request_is_lost() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("the_time_to_direct_is_reported_beside_its_floor_and_no_request_is_lost") else {
        return;
    };
    let _installation = Installation::new(&testbed).await;
    let times = std::env::var("DIRECT_TIMES").ok().map(|times| times.parse().expect("DIRECT_TIMES is a number"));
    // Many hosts take a minute: not in the short form.
    let tried = if times.is_some() { &KINDS[..] } else { &KINDS[..2] };
    // What a fence has learned is known again when it is made again: no name is used twice.
    let mut names = 0;
    let mut kinds = Vec::new();
    for kind in tried {
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        let trials = kind.trials * times.unwrap_or(1);
        let fixture = Fixture::new(&testbed, names..names + kind.hosts * trials).await;
        names += kind.hosts * trials;
        for number in 0..trials {
            ours.push(fixture.trial("ours", kind, number).await);
            floor.push(fixture.trial("floor", kind, number).await);
        }
        kinds.push((kind, ours, floor));
        report(&kinds);
    }
    for (kind, ours, floor) in &kinds {
        assert!(ours.iter().all(|trial| trial.lost.is_empty()), "{}: {ours:?}", kind.name);
        if kind.load == 0 {
            let explained = FLOOR_LOSES_AT_MOST * kind.hosts;
            assert!(floor.iter().all(|trial| trial.lost.len() <= explained), "{}: {floor:?}", kind.name);
        }
        for trial in ours.iter().chain(floor) {
            assert!(trial.fallback >= 1, "the first request was direct already: {}: {trial:?}", kind.name);
        }
    }
}

/// What one trial showed.
#[derive(Debug)]
struct Trial {
    /// From the first request's start to the start of the first direct one, of each host that was probed.
    to_direct: Vec<Duration>,
    /// Requests through the fallback.
    fallback: u64,
    /// What became of those that failed.
    lost: Vec<String>,
}

struct Fixture<'a> {
    testbed: &'a Testbed,
    /// Numbers of the hosts.
    hosts: Range<usize>,
    sidecars: Api<DynamicObject>,
}

impl<'a> Fixture<'a> {
    /// Two callers that know none of the hosts, one fenced by us and one with a Sidecar that the script changes; all hosts lead to one callee.
    async fn new(testbed: &'a Testbed, hosts: Range<usize>) -> Self {
        script(&["bookinfo", "up"]);
        eventually("the Sidecar of a fence before is gone", Duration::from_secs(60), || async {
            let left = testbed.kubectl(&["get", "sidecar", "productpage", "-n", "default", "--ignore-not-found"])?;
            anyhow::ensure!(left.is_empty(), "{left}");
            Ok(())
        })
        .await;
        let mut yaml = String::new();
        for number in hosts.clone() {
            yaml += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: ttd-{number}, namespace: default, labels: {{trial: time-to-direct}}}}\n\
                 spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: details}}}}\n"
            );
        }
        // Declared, so that a load is direct from the beginning.
        yaml += "---\napiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata: {name: productpage, namespace: default}\n\
                 spec: {enable: true, host: {details.default.svc.cluster.local: {stable: {}}}}\n---\n";
        yaml += &floor_sidecar(&[]).to_string();
        testbed.apply(&yaml);
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "Sidecar"));
        let sidecars = Api::namespaced_with(testbed.client().await, "default", &resource);
        let fixture = Self { testbed, hosts, sidecars };
        eventually("who sees everything has an endpoint of every host", Duration::from_secs(60), || async {
            let known = clusters(testbed, "details-v1")?;
            let healthy = |number: &usize| {
                let of = format!("||ttd-{number}.default.svc.cluster.local::");
                known.lines().any(|line| line.contains(&of) && line.contains("health_flags::healthy"))
            };
            let lacking = fixture.hosts.clone().find(|number| !healthy(number));
            anyhow::ensure!(lacking.is_none(), "ttd-{lacking:?} has none");
            Ok(())
        })
        .await;
        for app in ["productpage", "ratings"] {
            eventually("the Sidecar is in force", Duration::from_secs(20), || async {
                let clusters = clusters(testbed, &format!("{app}-v1"))?;
                anyhow::ensure!(clusters.contains("||details."), "the Sidecar is not there yet");
                anyhow::ensure!(!clusters.contains("||ttd-"), "the trials' Services are known");
                Ok(())
            })
            .await;
            // Connections of the fallback are made before the first trial, as in a mesh that is in use.
            let caller = Pod::find(testbed, &format!("app={app}"));
            caller.ask("/fetch?url=http://reviews:9080/").await.expect("a warm-up call");
        }
        fixture
    }

    /// Each trial calls hosts that no trial before has called.
    async fn trial(&self, who: &str, kind: &Kind, trial: usize) -> Trial {
        let caller = if who == "ours" { "productpage" } else { "ratings" };
        let caller = Pod::find(self.testbed, &format!("app={caller}"));
        let load = match kind.load {
            0 => None,
            rate => Some(caller.start_load("http://details:9080/", rate).await),
        };
        let every = kind.hosts.div_ceil(PROBED);
        let first = self.hosts.start + trial * kind.hosts;
        let end = first + kind.hosts;
        let called = join_all((first..end).map(|number| {
            let script_knows = (who == "floor" && number == first).then_some(end);
            self.call(&caller, number, script_knows, (number - first).is_multiple_of(every))
        }))
        .await;
        let mut trial = Trial { to_direct: Vec::new(), fallback: 0, lost: Vec::new() };
        for (first, probed) in called {
            if first["status"] != 200 {
                trial.lost.push(format!("first {first}"));
            }
            trial.fallback += u64::from(first["direct"] == "fallback");
            let Some((waited, probed)) = probed else { continue };
            assert_eq!(probed["reached"], true, "{probed:#}");
            let started = Duration::from_secs_f64(probed["start_ms"].as_f64().unwrap_or_default() / 1000.0);
            trial.to_direct.push(waited + started);
            trial.fallback += probed["fallback"].as_u64().unwrap_or_default();
            trial.lost.extend(failed(&probed));
        }
        if let Some(id) = load {
            trial.lost.extend(failed(&caller.stop_load(&id).await));
        }
        trial
    }

    /// Calls a host, has the script put all hosts up to a number into its Sidecar at the answer, and probes on until the calls are direct.
    async fn call(
        &self,
        caller: &Pod,
        number: usize,
        script_knows: Option<usize>,
        is_probed: bool,
    ) -> (Value, Option<(Duration, Value)>) {
        let url = format!("http://ttd-{number}:9080/");
        let start = Instant::now();
        let first = caller.ask(&format!("/fetch?url={url}")).await.expect("the first request");
        if let Some(hosts) = script_knows {
            // A client that is connected already, as the controller's is.
            let hosts: Vec<String> =
                (self.hosts.start..hosts).map(|of| format!("*/ttd-{of}.default.svc.cluster.local")).collect();
            let params = PatchParams::apply("floor").force();
            self.sidecars
                .patch("floor", &params, &Patch::Apply(&floor_sidecar(&hosts)))
                .await
                .expect("the script's patch");
        }
        let waited = start.elapsed();
        if !is_probed {
            return (first, None);
        }
        let probe = format!("/probe?url={url}&interval_ms=20&until=direct&timeout_s=20");
        let probed = caller.ask(&probe).await.expect("a probe");
        (first, Some((waited, probed)))
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

fn failed(result: &Value) -> impl Iterator<Item = String> {
    result["failed"].as_array().into_iter().flatten().map(|failure| format!("probe or load {failure}"))
}

fn floor_sidecar(hosts: &[String]) -> Value {
    let declared = ["istio-system/*", "mesh-operator/*", "*/details.default.svc.cluster.local"];
    let all: Vec<&str> = declared.into_iter().chain(hosts.iter().map(String::as_str)).collect();
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": {"name": "floor", "namespace": "default"},
        "spec": {"egress": [{"hosts": all}], "workloadSelector": {"labels": {"app": "ratings"}}},
    })
}

/// Prints the figures and keeps them in `target/mesh-report/`.
fn report(kinds: &[(&Kind, Vec<Trial>, Vec<Trial>)]) {
    let of = |trials: &[Trial]| {
        let mut millis: Vec<f64> =
            trials.iter().flat_map(|trial| &trial.to_direct).map(|took| took.as_secs_f64() * 1000.0).collect();
        millis.sort_by(f64::total_cmp);
        json!({
            "ms": millis,
            "requests_through_fallback": trials.iter().map(|trial| trial.fallback).collect::<Vec<_>>(),
            "requests_lost": trials.iter().map(|trial| trial.lost.len()).sum::<usize>(),
        })
    };
    let kinds: Vec<Value> = kinds
        .iter()
        .map(|(kind, ours, floor)| {
            json!({"kind": kind.name, "hosts": kind.hosts, "load": kind.load, "ours": of(ours), "floor": of(floor)})
        })
        .collect();
    let text = json!({"what": "milliseconds from the first request to an unknown host to the first direct one", "kinds": kinds});
    println!("time to direct: {text:#}");
    let folder = repository().join("target/mesh-report");
    let kept = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("time-to-direct.json"), format!("{text:#}\n")));
    kept.expect("the report is kept");
}
