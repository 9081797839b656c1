//! Every kind of switch under a load at which changing a Sidecar in one step loses requests: in stages none is lost.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::install::Installation;
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::repository;
use crate::support::waiting::eventually;

/// Rounds in stages; one of them has seven switches.
const ROUNDS: usize = 5;
/// Rounds in one step at most: one that loses is enough.
const ONE_STEP_ROUNDS: usize = 12;
/// Requests each second of each of two loads.
const RATE: u32 = 120;
const SOON: Duration = Duration::from_secs(20);
/// A Sidecar's last form is pushed within this, and no look at the cluster tells when.
const PUSHED: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_by_any_switch_in_stages_while_one_step_loses_some() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("no_request_is_lost_by_any_switch_in_stages_while_one_step_loses_some") else {
        return;
    };
    let mut report = Vec::new();
    for (switching, rounds) in [("fastest", ONE_STEP_ROUNDS), ("lossless", ROUNDS)] {
        let _installation = Installation::with(&testbed, switching).await;
        script(&["bookinfo", "up"]);
        let mesh = Mesh::new(&testbed).await;
        let mut tally = Tally::default();
        for round in 0..rounds {
            mesh.round(round, &mut tally).await;
            if switching == "fastest" && tally.lost() > 0 {
                // The driver has proved that it sees losses.
                break;
            }
        }
        println!("{switching}: {}", tally.text());
        report.push((switching, tally));
    }
    let text: Vec<Value> = report.iter().map(|(switching, tally)| tally.json(switching)).collect();
    let folder = repository().join("target/mesh-report");
    let kept = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join("switches.json"), format!("{:#}\n", Value::from(text))));
    kept.expect("the report is kept");
    let [(_, fastest), (_, lossless)] = &report[..] else { panic!("two ways") };
    assert_eq!(lossless.lost(), 0, "{}", lossless.text());
    assert!(fastest.lost() > 0, "a load that loses nothing in one step proves nothing: {}", fastest.text());
}

/// What was seen: for each kind of switch how many there were, how many of them lost requests, and how many requests.
#[derive(Default)]
struct Tally {
    kinds: Vec<(&'static str, usize, usize, usize)>,
    sent: u64,
    late_ms: f64,
}

impl Tally {
    fn add(&mut self, kind: &'static str, lost: usize) {
        let at = self.kinds.iter().position(|known| known.0 == kind).unwrap_or(self.kinds.len());
        if at == self.kinds.len() {
            self.kinds.push((kind, 0, 0, 0));
        }
        let known = &mut self.kinds[at];
        known.1 += 1;
        known.2 += usize::from(lost > 0);
        known.3 += lost;
    }

    fn lost(&self) -> usize {
        self.kinds.iter().map(|(_, _, _, lost)| lost).sum()
    }

    fn text(&self) -> String {
        let kinds = self.kinds.iter().map(|(kind, all, with, lost)| format!("{kind} {with}/{all} ({lost})"));
        let kinds: Vec<String> = kinds.collect();
        format!("switches with loss/all (requests lost): {}; {} requests sent", kinds.join(", "), self.sent)
    }

    fn json(&self, switching: &str) -> Value {
        let kind = |(kind, all, with, lost): &(&str, usize, usize, usize)| json!({"kind": kind, "switches": all, "switches_with_a_loss": with, "requests_lost": lost});
        let kinds: Vec<Value> = self.kinds.iter().map(kind).collect();
        json!({"switching": switching, "kinds": kinds, "requests_sent": self.sent, "sender_late_ms": self.late_ms})
    }
}

struct Mesh<'a> {
    testbed: &'a Testbed,
    caller: Pod,
    fences: Api<DynamicObject>,
    sidecars: Api<DynamicObject>,
    services: Api<DynamicObject>,
}

impl<'a> Mesh<'a> {
    /// The caller is productpage; a pair of Services for each round, all of details' pods.
    async fn new(testbed: &'a Testbed) -> Self {
        let mut yaml = String::new();
        for round in 0..ONE_STEP_ROUNDS {
            for letter in ["a", "b"] {
                yaml += &format!(
                    "---\napiVersion: v1\nkind: Service\nmetadata: {{name: sw-{round}-{letter}, namespace: default, labels: {{trial: switches}}}}\n\
                     spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: details}}}}\n"
                );
            }
        }
        testbed.apply(&yaml);
        let client = testbed.client().await;
        let api = |group: &str, version: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            Api::namespaced_with(client.clone(), "default", &resource)
        };
        Self {
            testbed,
            caller: Pod::find(testbed, "app=productpage"),
            fences: api("microservice.slime.io", "v1alpha1", "ServiceFence"),
            sidecars: api("networking.istio.io", "v1", "Sidecar"),
            services: api("", "v1", "Service"),
        }
    }

    /// Seven switches under two loads: the first from the beginning, the second to a host that is called when the fence is settled.
    async fn round(&self, round: usize, tally: &mut Tally) {
        let mut times: Vec<(&'static str, Instant)> = Vec::new();
        let begun = Instant::now();
        let first = self.load(&format!("sw-{round}-a")).await;
        tokio::time::sleep(PUSHED).await;

        times.push(("enable", Instant::now()));
        let fence = json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"name": "productpage", "namespace": "default"}, "spec": {"enable": true},
        });
        let fence: DynamicObject = serde_json::from_value(fence).expect("a fence");
        self.fences.create(&PostParams::default(), &fence).await.expect("the fence");
        self.routed(&format!("sw-{round}-a")).await;

        times.push(("learn", Instant::now()));
        let second_begun = Instant::now();
        let second = self.load(&format!("sw-{round}-b")).await;
        self.routed(&format!("sw-{round}-b")).await;

        times.push(("disable", Instant::now()));
        self.enable(false).await;
        self.gone().await;

        times.push(("enable again", Instant::now()));
        self.enable(true).await;
        self.routed(&format!("sw-{round}-b")).await;

        times.push(("delete by its user", Instant::now()));
        self.fences.delete("productpage", &DeleteParams::default()).await.expect("deleted");
        self.gone().await;

        times.push(("enable by label", Instant::now()));
        self.label(json!("true")).await;
        self.routed(&format!("sw-{round}-b")).await;

        times.push(("delete by label", Instant::now()));
        self.label(Value::Null).await;
        self.gone().await;

        // What fails before the first switch is of the Services that this test has just made.
        let mut failed: Vec<(Instant, Value)> = Vec::new();
        for (load, begun) in [(first, begun), (second, second_begun)] {
            let result = self.caller.stop_load(&load).await;
            tally.sent += result["sent"].as_u64().unwrap_or_default();
            tally.late_ms = tally.late_ms.max(result["max_late_ms"].as_f64().unwrap_or_default());
            for failure in result["failed"].as_array().into_iter().flatten() {
                let at = begun + Duration::from_secs_f64(failure["at_ms"].as_f64().unwrap_or_default() / 1000.0);
                failed.push((at, failure.clone()));
            }
        }
        for (number, (kind, from)) in times.iter().enumerate() {
            let until = times.get(number + 1).map(|(_, at)| *at);
            let lost = failed.iter().filter(|(at, _)| at >= from && until.is_none_or(|until| *at < until));
            let lost: Vec<&Value> = lost.map(|(_, failure)| failure).collect();
            if !lost.is_empty() {
                println!("round {round}, {kind}: {} lost, first {}", lost.len(), lost[0]);
            }
            tally.add(kind, lost.len());
        }
    }

    async fn load(&self, service: &str) -> String {
        self.caller.start_load(&format!("http://{service}:9080/"), RATE).await
    }

    async fn enable(&self, enable: bool) {
        let patch = Patch::Merge(json!({"spec": {"enable": enable}}));
        self.fences.patch("productpage", &PatchParams::default(), &patch).await.expect("the fence is patched");
    }

    async fn label(&self, value: Value) {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"slime.io/serviceFenced": value}}}));
        self.services.patch("productpage", &PatchParams::default(), &patch).await.expect("the Service is labelled");
    }

    /// Waits until the Sidecar is settled and has this host, and the proxies have it.
    async fn routed(&self, service: &str) {
        eventually("the host is routed, and no switch under way", SOON, || async {
            let sidecar = self.sidecars.get("productpage").await?;
            let listeners = sidecar.data["spec"]["egress"].as_array().cloned().unwrap_or_default();
            anyhow::ensure!(listeners.len() == 1, "{listeners:?}");
            let host = format!("*/{service}.default.svc.cluster.local");
            anyhow::ensure!(listeners[0]["hosts"].to_string().contains(&host), "{listeners:?}");
            Ok(())
        })
        .await;
        tokio::time::sleep(PUSHED).await;
    }

    /// Waits until there is no Sidecar, and the proxies know.
    async fn gone(&self) {
        eventually("the Sidecar is gone", SOON, || async {
            match self.sidecars.get_opt("productpage").await? {
                None => Ok(()),
                Some(sidecar) => Err(anyhow::anyhow!("{:#}", sidecar.data["spec"])),
            }
        })
        .await;
        tokio::time::sleep(PUSHED).await;
    }
}

impl Drop for Mesh<'_> {
    fn drop(&mut self) {
        let removed = [
            self.testbed.kubectl(&["delete", "servicefence", "--all", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["label", "service", "productpage", "-n", "default", "slime.io/serviceFenced-"]),
            self.testbed.kubectl(&["delete", "service", "-n", "default", "-l", "trial=switches"]),
        ];
        for failed in removed.into_iter().filter_map(Result::err) {
            eprintln!("removing the rounds: {failed}");
        }
    }
}
