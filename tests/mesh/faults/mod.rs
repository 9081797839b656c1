//! What breaks around a mesh that is in use: 50 requests a second to a host that is direct and 50 through the fallback, all the time. Nothing
//! learned is lost, and what is called meanwhile is learned. Which faults there are, and where the others are shown: docs/faults.md.
//! `FAULTS_SECONDS` makes the long ones longer. `SOAK_MINUTES` has faults at random instead, for so long: tests/soak.sh.
//! Next: `surroundings`, `controller`, `global_sidecars` and `objects` for what fails, `soak` for faults at random.

mod controller;
mod global_sidecars;
mod objects;
mod soak;
mod surroundings;

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

use super::install::{Installation, NAMESPACE};
use super::pods::Pod;
use super::testbed::{Testbed, script};
use super::turn;
use crate::support::repository;
use crate::support::waiting::eventually;

const RATE: u32 = 50;
const SOON: Duration = Duration::from_secs(120);
/// A host for each fault, called while it lasts.
const HOSTS: usize = 16;
/// Shorter than what its liveness probe takes to end a controller.
const HANGS: Duration = Duration::from_secs(6);
/// How long the API server stays away, besides its start.
const RESTARTS: Duration = Duration::from_secs(5);
/// Fences that are made and deleted at once, each second if the API server is as fast as that.
const CHURN: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_no_request_fails_and_what_is_called_meanwhile_is_learned() {
    let _turn = turn().await;
    let Some(testbed) = Testbed::up("whatever_breaks_no_request_fails_and_what_is_called_meanwhile_is_learned") else {
        return;
    };
    let _installation = Installation::new(&testbed).await;
    let mut faults = Faults::new(&testbed).await;
    if let Ok(minutes) = std::env::var("SOAK_MINUTES") {
        faults.at_random(minutes.parse().expect("SOAK_MINUTES")).await;
        return;
    }
    faults.istiod_is_killed_while_a_host_is_learned().await;
    faults.the_controller_hangs().await;
    faults.no_controller_runs().await;
    faults.the_controller_runs_out_of_memory().await;
    faults.the_api_server_hangs().await;
    faults.the_api_server_restarts_with_a_compacted_etcd().await;
    faults.global_sidecars_come_and_go().await;
    faults.one_of_two_global_sidecars_is_killed().await;
    faults.fences_are_made_and_deleted_all_the_time().await;
    faults.the_only_global_sidecar_is_killed().await;
    faults.the_crd_of_fences_is_removed_and_restored().await;
    faults.end();
}

/// A mesh in use, and what became of it.
struct Faults<'a> {
    testbed: &'a Testbed,
    caller: Pod,
    fences: Api<DynamicObject>,
    /// The long ones last for so long.
    lasts: Duration,
    next_host: usize,
    learned: Vec<String>,
    report: Vec<Value>,
}

/// Two loads under a fault.
struct Loads {
    direct: String,
    fallback: String,
    began: Instant,
}

impl<'a> Faults<'a> {
    async fn new(testbed: &'a Testbed) -> Self {
        script(&["bookinfo", "up"]);
        let mut yaml = "apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\n\
            metadata: {name: productpage, namespace: default}\nspec: {enable: true}\n"
            .to_owned();
        for number in 0..HOSTS {
            yaml += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: fault-{number}, namespace: default, labels: {{trial: faults}}}}\n\
                 spec: {{ports: [{{name: http, port: 9080}}], selector: {{app: details}}}}\n"
            );
        }
        testbed.apply(&yaml);
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("microservice.slime.io", "v1alpha1", "ServiceFence"));
        let seconds = std::env::var("FAULTS_SECONDS").ok().map(|text| text.parse().expect("FAULTS_SECONDS"));
        let faults = Self {
            testbed,
            caller: Pod::find(testbed, "app=productpage"),
            fences: Api::namespaced_with(testbed.client().await, "default", &resource),
            lasts: Duration::from_secs(seconds.unwrap_or(12)),
            next_host: 0,
            learned: vec!["details".to_owned()],
            report: Vec::new(),
        };
        // Before its Sidecar is in force every call is direct, and teaches nothing.
        faults.all_is_learned_while_it_is_called("the beginning", "details").await;
        faults
    }

    fn new_host(&mut self) -> String {
        let host = format!("fault-{}", self.next_host);
        self.next_host += 1;
        self.learned.push(host.clone());
        host
    }

    /// One request, which must be answered.
    async fn call(&self, host: &str) {
        let answer =
            self.caller.ask(&format!("/fetch?url=http://{host}:9080/")).await.expect("the application answers");
        assert_eq!(answer["status"], 200, "{answer:#}");
    }

    async fn direct(&self, host: &str) {
        eventually(&format!("{host} is direct"), SOON, || async {
            let answer = self.caller.ask(&format!("/fetch?url=http://{host}:9080/")).await?;
            assert_eq!(answer["status"], 200, "{answer:#}");
            anyhow::ensure!(answer["direct"] == "direct", "{answer:#}");
            Ok(())
        })
        .await;
    }

    async fn all_is_learned(&self, when: &str) {
        eventually(&format!("{when}: everything called is in the Sidecar"), SOON, || async { self.has_learned() })
            .await;
    }

    async fn all_is_learned_while_it_is_called(&self, when: &str, host: &str) {
        eventually(&format!("{when}: everything called is in the Sidecar"), SOON, || async {
            self.caller.ask(&format!("/fetch?url=http://{host}:9080/")).await?;
            self.has_learned()
        })
        .await;
    }

    fn has_learned(&self) -> anyhow::Result<()> {
        let sidecar = self.testbed.get(&["sidecar", "productpage", "-n", "default"])?;
        let egress = sidecar["spec"]["egress"].as_array().cloned().unwrap_or_default();
        anyhow::ensure!(egress.len() == 1, "a switch is under way: {egress:?}");
        let hosts = egress[0]["hosts"].to_string();
        let lacking = self.learned.iter().find(|host| !hosts.contains(&format!("*/{host}.default.svc")));
        anyhow::ensure!(lacking.is_none(), "{lacking:?} is not in {hosts}");
        Ok(())
    }

    /// One to a host that is direct, if there is one yet, one to a host that the mesh does not know.
    async fn loads(&self) -> Loads {
        let details = self.testbed.get(&["service", "details", "-n", "default"]).unwrap();
        let address = details["spec"]["clusterIP"].as_str().unwrap();
        let unknown = format!("http://{address}:9080/&header=Host:unknown.example");
        Loads {
            direct: self.caller.start_load("http://details:9080/", RATE).await,
            fallback: self.caller.start_load(&unknown, RATE).await,
            began: Instant::now(),
        }
    }

    async fn ends(&mut self, fault: &str, loads: Loads) {
        self.ends_except(fault, loads, "").await;
    }

    /// Ends the loads; one of them may have lost requests.
    async fn ends_except(&mut self, fault: &str, loads: Loads, may_lose: &str) {
        let mut row = json!({"fault": fault, "seconds": loads.began.elapsed().as_secs()});
        for (way, load) in [("direct", loads.direct), ("fallback", loads.fallback)] {
            let result = self.caller.stop_load(&load).await;
            row[way] =
                json!({"sent": result["sent"], "failed": result["failed_count"], "slowest_ms": result["max_ms"]});
            println!("{fault}, {way}: {}", row[way]);
            let failed = result["failed"].as_array().cloned().unwrap_or_default();
            assert!(failed.is_empty() || way == may_lose, "{fault}, {way}: {failed:?}");
        }
        self.report.push(row);
    }

    fn scale(&self, deployment: &str, replicas: usize) {
        let replicas = format!("--replicas={replicas}");
        self.testbed.kubectl(&["-n", NAMESPACE, "scale", "deployment", deployment, &replicas]).unwrap();
        self.rolled(deployment);
    }

    fn rolled(&self, deployment: &str) {
        let deployment = format!("deployment/{deployment}");
        self.testbed.kubectl(&["-n", NAMESPACE, "rollout", "status", &deployment, "--timeout=120s"]).unwrap();
    }

    async fn old_ones_are_gone(&self, app: &str, left: usize) {
        let selector = format!("app={app}");
        eventually("the old pods are gone", SOON, || async {
            let pods = self.testbed.get(&["pods", "-n", NAMESPACE, "-l", &selector])?;
            let count = pods["items"].as_array().map(Vec::len);
            anyhow::ensure!(count == Some(left), "{count:?}");
            Ok(())
        })
        .await;
    }

    fn end(&self) {
        keep("faults.json", &Value::from(self.report.clone()));
    }
}

/// Keeps a report.
fn keep(file: &str, report: &Value) {
    let folder = repository().join("target/mesh-report");
    let kept =
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(file), format!("{report:#}\n")));
    kept.expect("the report is kept");
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.testbed.kubectl(&["logs", "-n", NAMESPACE, "deploy/lazyload", "--tail=40"]);
            eprintln!("{}", log.unwrap_or_default());
        }
        for failed in [
            self.testbed.kubectl(&["delete", "servicefence", "--all", "-n", "default", "--ignore-not-found"]),
            self.testbed.kubectl(&["delete", "service", "-n", "default", "-l", "trial=faults"]),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            eprintln!("removing the faults' Services: {failed}");
        }
    }
}
