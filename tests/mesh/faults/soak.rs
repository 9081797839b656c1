//! Faults at random while callers call, new hosts appear and fences come and go. What is there at the end must be what a run without faults ends
//! with: that is known from what was called alone. One number decides what happens; it is printed, and `SOAK_SEED` repeats it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::super::install::NAMESPACE;
use super::super::pods::Pod;
use super::super::testbed::{Testbed, script};
use super::surroundings::Stopped;
use super::{Faults, SOON, keep};
use crate::support::waiting::eventually;

/// Workloads with a fence, which call. Loads are the first one's.
const CALLERS: [&str; 3] = ["productpage", "ratings", "reviews"];
/// Between two calls of callers.
const BETWEEN: Duration = Duration::from_millis(100);
/// New hosts before each fault, and how many of the last ones are called more often than the others.
const HOSTS: (usize, usize) = (2, 6);
/// Fences of no workload that are there at most; each names two hosts.
const FENCES: usize = 8;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    IstiodDies,
    ControllerDies,
    ControllerHangs,
    NoController,
    ApiServerHangs,
    ApiServerRestarts,
    GlobalSidecarDies,
    GlobalSidecarsRoll,
    GlobalSidecarsAreMore,
    FenceIsDisabled,
}

impl Fault {
    const ALL: [Self; 10] = [
        Self::IstiodDies,
        Self::ControllerDies,
        Self::ControllerHangs,
        Self::NoController,
        Self::ApiServerHangs,
        Self::ApiServerRestarts,
        Self::GlobalSidecarDies,
        Self::GlobalSidecarsRoll,
        Self::GlobalSidecarsAreMore,
        Self::FenceIsDisabled,
    ];
}

/// The same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// Who has called which hosts, and what was not answered.
#[derive(Default)]
struct Called {
    hosts: BTreeMap<&'static str, BTreeSet<String>>,
    failed: Vec<String>,
    calls: usize,
}

impl Called {
    fn add(&mut self, other: Self) {
        for (caller, hosts) in other.hosts {
            self.hosts.entry(caller).or_default().extend(hosts);
        }
        self.failed.extend(other.failed);
        self.calls += other.calls;
    }
}

/// Callers that call until they are told to end.
struct Calling {
    task: JoinHandle<Called>,
    ends: Arc<AtomicBool>,
}

impl Calling {
    fn start(testbed: &Testbed, mut dice: Dice, hosts: usize) -> Self {
        let callers = CALLERS.map(|name| (name, Pod::find(testbed, &format!("app={name}"))));
        let ends = Arc::new(AtomicBool::new(false));
        let told = ends.clone();
        let task = tokio::spawn(async move {
            let mut called = Called::default();
            while !told.load(Relaxed) {
                let (name, pod) = &callers[dice.below(CALLERS.len())];
                let number =
                    if dice.below(4) == 0 { dice.below(hosts) } else { hosts - 1 - dice.below(HOSTS.1.min(hosts)) };
                let host = host(number);
                match pod.ask(&format!("/fetch?url=http://{host}:9080/")).await {
                    Ok(answer) if answer["status"] == 200 => {
                        called.hosts.entry(name).or_default().insert(host);
                    }
                    other => called.failed.push(format!("{name} called {host}: {other:?}")),
                }
                called.calls += 1;
                tokio::time::sleep(BETWEEN).await;
            }
            called
        });
        Self { task, ends }
    }

    async fn end(self) -> Called {
        self.ends.store(true, Relaxed);
        self.task.await.expect("callers call")
    }
}

fn host(number: usize) -> String {
    format!("soak-{number}")
}

fn full(host: &str) -> String {
    if host.contains('.') { host.to_owned() } else { format!("{host}.default.svc.cluster.local") }
}

/// What a run without faults would end with: hosts of each fence.
type Expected = BTreeMap<String, BTreeSet<String>>;

impl Faults<'_> {
    /// Faults one after the other for so many minutes; each begins once every Deployment is rolled out, not once everything is learned.
    pub(super) async fn at_random(&mut self, minutes: f64) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let seed = std::env::var("SOAK_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("SOAK_SEED"));
        println!("{minutes} minutes of faults at random: SOAK_SEED={seed} has the same ones");
        let mut dice = Dice(seed);
        let more = CALLERS[1..].iter().map(|name| fence(name, &json!({"enable": true})));
        self.testbed.apply(&more.collect::<String>());
        self.scale("global-sidecar", 2);
        self.old_ones_are_gone("global-sidecar", 2).await;

        let (mut called, mut hosts, mut passing) = (Called::default(), 0, Expected::new());
        let ends = Instant::now() + Duration::from_secs_f64(60.0 * minutes);
        while Instant::now() < ends {
            self.hosts_are_made(hosts..hosts + HOSTS.0);
            hosts += HOSTS.0;
            let fault = Fault::ALL[dice.below(Fault::ALL.len())];
            let loads = self.loads().await;
            let calling = Calling::start(self.testbed, Dice(dice.0 ^ 1), hosts);
            self.fences_come_and_go(&mut dice, hosts, &mut passing);
            self.strikes(fault, &mut dice).await;
            self.all_is_rolled_out();
            called.add(calling.end().await);
            self.notes(fault, loads).await;
        }
        // What nobody heard, applications call again.
        self.called_again_until_learned(&called).await;
        let mut expected: Expected =
            called.hosts.iter().map(|(name, hosts)| ((*name).to_owned(), hosts.clone())).collect();
        let of_loads = ["details", "unknown.example"].map(str::to_owned);
        expected.entry(CALLERS[0].to_owned()).or_default().extend(of_loads);
        expected.extend(passing);
        self.ends_as_without_faults(&expected).await;

        let lost: Vec<&Value> = self.report.iter().filter(|row| row["lost"] != json!([])).collect();
        let fences: BTreeMap<&String, usize> = expected.iter().map(|(fence, hosts)| (fence, hosts.len())).collect();
        let report = json!({
            "seed": seed, "minutes": minutes, "faults": self.report, "calls": called.calls, "calls_failed": called.failed, "hosts": fences,
        });
        keep("soak.json", &report);
        println!("{} faults, {} calls beside the loads, hosts: {fences:?}", self.report.len(), called.calls);
        assert!(lost.is_empty() && called.failed.is_empty(), "SOAK_SEED={seed}: {lost:#?} {:#?}", called.failed);
    }

    async fn strikes(&self, fault: Fault, dice: &mut Dice) {
        let pause = Duration::from_millis(500 * u64::try_from(1 + dice.below(10)).unwrap());
        println!("{fault:?}, {pause:?}");
        match fault {
            Fault::IstiodDies => self.pod_dies("istio-system", "app=istiod"),
            Fault::ControllerDies => self.pod_dies(NAMESPACE, "app=lazyload"),
            Fault::ControllerHangs => {
                script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGSTOP"]);
                tokio::time::sleep(pause).await;
                script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGCONT"]);
            }
            Fault::NoController => {
                self.scale("lazyload", 0);
                tokio::time::sleep(pause).await;
                self.scale("lazyload", 1);
            }
            Fault::ApiServerHangs => {
                let stopped = Stopped::apiserver();
                tokio::time::sleep(pause).await;
                drop(stopped);
            }
            Fault::ApiServerRestarts => self.api_server_restarts(|| async {}, pause).await,
            Fault::GlobalSidecarDies => self.one_global_sidecar_is_killed().await,
            Fault::GlobalSidecarsRoll => {
                self.testbed.kubectl(&["-n", NAMESPACE, "rollout", "restart", "deployment/global-sidecar"]).unwrap();
            }
            Fault::GlobalSidecarsAreMore => {
                self.scale("global-sidecar", 3);
                self.scale("global-sidecar", 2);
            }
            Fault::FenceIsDisabled => {
                for enable in [false, true] {
                    self.testbed.apply(&fence(CALLERS[1], &json!({"enable": enable})));
                    tokio::time::sleep(pause).await;
                }
            }
        }
        // What comes of it takes a moment, too.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Without notice.
    fn pod_dies(&self, namespace: &str, selector: &str) {
        self.testbed
            .kubectl(&["delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force"])
            .unwrap();
    }

    fn all_is_rolled_out(&self) {
        for (namespace, deployment) in
            [("istio-system", "istiod"), (NAMESPACE, "lazyload"), (NAMESPACE, "global-sidecar")]
        {
            let deployment = format!("deployment/{deployment}");
            self.testbed.kubectl(&["-n", namespace, "rollout", "status", &deployment, "--timeout=120s"]).unwrap();
        }
    }

    fn hosts_are_made(&self, numbers: std::ops::Range<usize>) {
        let service = |number| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {}, namespace: default, labels: {{trial: faults}}}}\n\
                 spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: details}}}}\n",
                host(number)
            )
        };
        self.testbed.apply(&numbers.map(service).collect::<String>());
    }

    /// Fences of no workload: their user makes them with hosts, changes those, and deletes them.
    fn fences_come_and_go(&self, dice: &mut Dice, hosts: usize, passing: &mut Expected) {
        for _ in 0..3 {
            let name = format!("passing-{}", dice.below(FENCES));
            if passing.remove(&name).is_some() && dice.below(2) == 0 {
                self.testbed.kubectl(&["delete", "servicefence", "-n", "default", &name, "--wait=false"]).unwrap();
                continue;
            }
            let named: BTreeSet<String> = (0..2).map(|_| host(dice.below(hosts))).collect();
            let spec: BTreeMap<String, Value> = named.iter().map(|host| (full(host), json!({"stable": {}}))).collect();
            // Its hosts are exactly these: what applying takes away goes too.
            self.testbed.apply(&fence(&name, &json!({"enable": true, "host": spec})));
            passing.insert(name, named);
        }
    }

    async fn notes(&mut self, fault: Fault, loads: super::Loads) {
        let mut row = json!({"fault": format!("{fault:?}"), "seconds": loads.began.elapsed().as_secs(), "lost": []});
        for (way, load) in [("direct", loads.direct), ("fallback", loads.fallback)] {
            let result = self.caller.stop_load(&load).await;
            row[way] =
                json!({"sent": result["sent"], "failed": result["failed_count"], "slowest_ms": result["max_ms"]});
            let failed = result["failed"].as_array().cloned().unwrap_or_default();
            row["lost"].as_array_mut().expect("a list").extend(failed);
        }
        println!("{row}");
        self.report.push(row);
    }

    async fn called_again_until_learned(&self, called: &Called) {
        for (caller, hosts) in &called.hosts {
            let pod = Pod::find(self.testbed, &format!("app={caller}"));
            eventually(&format!("{caller} has learned what it called"), SOON, || async {
                let there = self.testbed.get(&["servicefence", caller, "-n", "default"])?["status"]["domains"].clone();
                let lacking: Vec<&String> = hosts.iter().filter(|host| there[full(host)].is_null()).collect();
                for host in &lacking {
                    pod.ask(&format!("/fetch?url=http://{host}:9080/")).await?;
                }
                anyhow::ensure!(lacking.is_empty(), "{lacking:?}");
                Ok(())
            })
            .await;
        }
    }

    /// Every fence has the hosts that were called or named, and no other; every Sidecar those that the mesh knows; and nothing else is there.
    async fn ends_as_without_faults(&self, expected: &Expected) {
        let domains: Expected = expected
            .iter()
            .map(|(fence, hosts)| (fence.clone(), hosts.iter().map(|host| full(host)).collect()))
            .collect();
        let sidecar = |hosts: &BTreeSet<String>| -> BTreeSet<String> {
            let known =
                hosts.iter().filter(|host| host.ends_with(".svc.cluster.local")).map(|host| format!("*/{host}"));
            known.chain(["istio-system/*".to_owned(), format!("{NAMESPACE}/*")]).collect()
        };
        let sidecars: Expected = domains.iter().map(|(fence, hosts)| (fence.clone(), sidecar(hosts))).collect();
        eventually("the end is that of a run without faults", SOON, || async {
            let of_fences =
                |fence: &Value| fence["status"]["domains"].as_object().map(|it| it.keys().cloned().collect());
            differ("fences", &self.all("servicefences", of_fences)?, &domains)?;
            let of_sidecars = |sidecar: &Value| match sidecar["spec"]["egress"].as_array().map(Vec::as_slice) {
                Some([only]) => serde_json::from_value(only["hosts"].clone()).ok(),
                _ => None,
            };
            differ("Sidecars", &self.all("sidecars", of_sidecars)?, &sidecars)
        })
        .await;
    }

    /// Hosts of each object of a kind.
    fn all(&self, kind: &str, hosts: impl Fn(&Value) -> Option<BTreeSet<String>>) -> anyhow::Result<Expected> {
        let list = self.testbed.get(&[kind, "-n", "default"])?;
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items.map(|object| (name(object), hosts(object).unwrap_or_default())).collect())
    }
}

fn differ(what: &str, there: &Expected, expected: &Expected) -> anyhow::Result<()> {
    let names: BTreeSet<&String> = there.keys().chain(expected.keys()).collect();
    let other = names.into_iter().find(|name| there.get(*name) != expected.get(*name));
    anyhow::ensure!(
        other.is_none(),
        "{what}: {other:?} has {:?} and should have {:?}",
        other.and_then(|name| there.get(name)),
        other.and_then(|name| expected.get(name))
    );
    Ok(())
}

fn fence(name: &str, spec: &Value) -> String {
    format!(
        "---\napiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}
