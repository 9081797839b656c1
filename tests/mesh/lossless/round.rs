//! A round: every caller makes every kind of switch, under load from its beginning to its end.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::super::install::NAMESPACE;
use super::callers::{Caller, Callers, HOSTS};
use super::istiod::Istiod;
use super::tally::Tally;

/// A slow istiod collects changes for ten seconds at most, for each stage.
const SOON: Duration = Duration::from_secs(120);
/// Callers do not switch at the same moment, but within this of one another.
const SPREAD: Duration = Duration::from_millis(400);
/// Of so many callers one is probed closely for its time to direct; without a common divisor with the number of protocols.
const PROBED: usize = 5;

/// When each caller began a kind of switch.
struct Wave {
    kind: &'static str,
    began: Vec<Instant>,
}

/// Requests of one caller to one host, since when.
struct Load {
    began: Instant,
    requests: Requests,
}

enum Requests {
    /// They go on, under this name.
    GoOn(String),
    /// This became of them.
    Ended(Value),
}

impl Callers<'_> {
    /// One round, the product installed before and after it.
    ///
    /// # Panics
    /// A switch does not come to its end.
    pub async fn round(&self, boot: &Value, rate: u32, istiod: &Istiod<'_>, tally: &mut Tally) {
        let each = f64::from(rate) / (self.all.len() * HOSTS.len()) as f64;
        let mut loads: Vec<Vec<Load>> =
            join_all(self.all.iter().map(|caller| loads(caller, &["a", "b", "e"], each))).await;
        tokio::time::sleep(istiod.pushes_within).await;
        let mut waves = Vec::new();

        waves.push(self.wave("enable", |caller| self.create(caller)).await);
        self.settled(&["a", "b", "e"], istiod).await;

        waves.push(self.learn(each, &mut loads, tally).await);
        self.settled(&HOSTS, istiod).await;

        waves.push(self.wave("disable", |caller| self.patch(caller, json!({"enable": false}))).await);
        self.gone(istiod).await;
        waves.push(self.wave("enable", |caller| self.patch(caller, json!({"enable": true}))).await);
        self.settled(&HOSTS, istiod).await;

        // It is called all the time, so it comes back, learned.
        waves.push(self.wave("expire", |caller| self.expire(caller)).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.settled(&HOSTS, istiod).await;

        waves.push(self.wave("delete", |caller| self.delete(caller)).await);
        self.gone(istiod).await;
        waves.push(self.wave("enable", |caller| self.create(caller)).await);
        self.settled(&HOSTS, istiod).await;

        let now = vec![Instant::now(); self.all.len()];
        waves.push(Wave { kind: "uninstall", began: now });
        self.uninstall(boot).await;
        tokio::time::sleep(istiod.pushes_within).await;
        self.operated.testbed.apply(&boot.to_string());
        self.operated.ready().await;
        waves.push(Wave { kind: "install", began: vec![Instant::now(); self.all.len()] });
        self.settled(&HOSTS, istiod).await;

        waves.push(self.wave("delete", |caller| self.delete(caller)).await);
        self.gone(istiod).await;
        self.end(&waves, loads, tally).await;
    }

    /// Removes the product as its user does.
    ///
    /// # Panics
    /// Something of it stays.
    pub async fn uninstall(&self, boot: &Value) {
        let name = boot["metadata"]["name"].as_str().unwrap_or_default();
        let delete = ["delete", "slimeboot", name, "-n", NAMESPACE, "--timeout=180s"];
        self.operated.testbed.kubectl(&delete).expect("the SlimeBoot goes");
        self.without_sidecars(SOON).await;
        assert_eq!(self.operated.left(), Vec::<String>::new());
    }

    /// Lets every caller begin a switch.
    async fn wave<'b, F: Future<Output = ()>>(&'b self, kind: &'static str, act: impl Fn(&'b Caller) -> F) -> Wave {
        let began = self.all.iter().enumerate().map(|(number, caller)| {
            let act = &act;
            async move {
                tokio::time::sleep(self.turn_of(number)).await;
                let began = Instant::now();
                act(caller).await;
                began
            }
        });
        Wave { kind, began: join_all(began).await }
    }

    /// A fixed order that has nothing to do with how they call.
    fn turn_of(&self, number: usize) -> Duration {
        let count = self.all.len();
        SPREAD * u32::try_from(number * 7 % count).unwrap_or_default() / u32::try_from(count).unwrap_or(1)
    }

    /// Every caller calls one more host; some are probed closely until their calls are direct.
    async fn learn(&self, each: f64, loads: &mut [Vec<Load>], tally: &mut Tally) -> Wave {
        let begun = self.all.iter().enumerate().map(|(number, caller)| async move {
            tokio::time::sleep(self.turn_of(number)).await;
            let began = Instant::now();
            let mut probed = None;
            if number % PROBED == 0 && caller.protocol.tells_its_way() {
                let asked = format!("/probe?{}&interval_ms=20&until=direct&timeout_s=60", caller.protocol.asks("c"));
                probed = Some(caller.pod.ask(&asked).await.expect("a probe"));
            }
            (began, probed, load(caller, "c", each).await)
        });
        let mut wave = Wave { kind: "learn", began: Vec::new() };
        for ((began, probed, load), known) in join_all(begun).await.into_iter().zip(loads) {
            wave.began.push(began);
            known.push(load);
            if let Some(probed) = probed {
                assert_eq!(probed["reached"], true, "{probed:#}");
                tally.was_direct_after(probed["start_ms"].as_f64().unwrap_or_default());
                known.push(Load { began, requests: Requests::Ended(probed) });
            }
        }
        wave
    }

    async fn settled(&self, hosts: &[&str], istiod: &Istiod<'_>) {
        self.routed(hosts, SOON).await;
        tokio::time::sleep(istiod.pushes_within).await;
    }

    async fn gone(&self, istiod: &Istiod<'_>) {
        self.without_sidecars(SOON).await;
        tokio::time::sleep(istiod.pushes_within).await;
    }

    async fn create(&self, caller: &Caller) {
        let declared = self.uncalled.iter().cloned().chain([caller.protocol.name("e")]);
        let host: Value = declared.map(|host| (host, json!({"stable": {}}))).collect();
        let fence = json!({
            "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
            "metadata": {"name": caller.name}, "spec": {"enable": true, "host": host},
        });
        let fence: DynamicObject = serde_json::from_value(fence).expect("a fence");
        self.fences.create(&PostParams::default(), &fence).await.expect("the fence is made");
    }

    async fn patch(&self, caller: &Caller, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.fences.patch(&caller.name, &PatchParams::default(), &patch).await.expect("the fence is patched");
    }

    async fn expire(&self, caller: &Caller) {
        let mut host = json!({});
        host[caller.protocol.name("e")] = json!({"stable": null, "deadline": {"expire": {"seconds": 1}}});
        self.patch(caller, json!({"host": host})).await;
    }

    async fn delete(&self, caller: &Caller) {
        self.fences.delete(&caller.name, &DeleteParams::default()).await.expect("the fence is deleted");
    }

    /// Ends the loads, and puts down each failure to the switch that its caller was in. What fails before the first one is of hosts that were
    /// just made.
    async fn end(&self, waves: &[Wave], loads: Vec<Vec<Load>>, tally: &mut Tally) {
        let ended = self.all.iter().zip(loads).map(|(caller, loads)| async move {
            join_all(loads.into_iter().map(|load| async move {
                match load.requests {
                    Requests::GoOn(id) => (load.began, caller.pod.stop_load(&id).await),
                    Requests::Ended(result) => (load.began, result),
                }
            }))
            .await
        });
        for (number, results) in join_all(ended).await.into_iter().enumerate() {
            let mut sent = vec![0_usize; waves.len()];
            let mut lost: Vec<Vec<String>> = vec![Vec::new(); waves.len()];
            for (began, result) in results {
                tally.load(&result);
                let wave_of = |entry: &Value| {
                    let at = began + Duration::from_secs_f64(entry["at_ms"].as_f64().unwrap_or_default() / 1000.0);
                    waves.iter().rposition(|wave| wave.began[number] <= at)
                };
                for sample in result["samples"].as_array().into_iter().flatten() {
                    if let Some(wave) = wave_of(sample) {
                        sent[wave] += 1;
                    }
                }
                for failure in failures(&result) {
                    if let Some(wave) = wave_of(failure) {
                        lost[wave].push(format!("{}: {failure}", self.all[number].name));
                    }
                }
            }
            for (wave, (sent, lost)) in waves.iter().zip(sent.into_iter().zip(lost)) {
                tally.add(wave.kind, sent, &lost);
            }
        }
    }
}

async fn loads(caller: &Caller, hosts: &[&str], rate: f64) -> Vec<Load> {
    join_all(hosts.iter().map(|host| load(caller, host, rate))).await
}

async fn load(caller: &Caller, host: &str, rate: f64) -> Load {
    let asked = format!("/load/start?{}&rate={rate}", caller.protocol.asks(host));
    let began = Instant::now();
    let started = caller.pod.ask(&asked).await.expect("a load starts");
    Load { began, requests: Requests::GoOn(started["id"].as_str().expect("its id").to_owned()) }
}

fn failures(result: &Value) -> impl Iterator<Item = &Value> {
    result["failed"].as_array().into_iter().flatten()
}
