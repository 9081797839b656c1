//! What breaks around a mesh that is in use: 50 requests a second to a host that is direct and 50 through the fallback, all the time. Nothing
//! learned is lost, and what is called meanwhile is learned. Which faults there are, and where the others are shown: docs/faults.md.
//! `FAULTS_SECONDS` makes the long ones longer.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use serde_json::{Value, json};

use super::install::{Installation, NAMESPACE};
use super::pods::Pod;
use super::testbed::{Testbed, lazyload_binary, script};
use super::turn;
use crate::support::process::run;
use crate::support::repository;
use crate::support::waiting::eventually;

const RATE: u32 = 50;
const SOON: Duration = Duration::from_secs(120);
/// A host for each fault, called while it lasts.
const HOSTS: usize = 12;
/// Shorter than what its liveness probe takes to end a controller.
const HANGS: Duration = Duration::from_secs(6);
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
    faults.istiod_is_killed_while_a_host_is_learned().await;
    faults.the_controller_hangs().await;
    faults.no_controller_runs().await;
    faults.the_api_server_hangs().await;
    faults.global_sidecars_come_and_go().await;
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

/// The API server's process, stopped; it goes on when this is dropped.
struct Stopped {
    pid: String,
}

impl Stopped {
    fn apiserver() -> Self {
        let status = script(&["status"]);
        let line = status.lines().find_map(|line| line.strip_prefix("kube-apiserver")).expect("the API server's line");
        let pid = line.trim().strip_prefix("pid ").expect("its process").to_owned();
        run("kill", &["-STOP", &pid]).expect("it stops");
        Self { pid }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = run("kill", &["-CONT", &self.pid]) {
            eprintln!("the API server is still stopped: {error}");
        }
    }
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

    /// istiod's end takes the pushes along that were on their way, and its connections.
    async fn istiod_is_killed_while_a_host_is_learned(&mut self) {
        let loads = self.loads().await;
        let host = self.new_host();
        self.call(&host).await;
        script(&["kill-container", "istio-system", "istiod-", "discovery"]);
        let other = self.new_host();
        self.call(&other).await;
        self.all_is_learned("istiod was killed").await;
        self.testbed
            .kubectl(&["-n", "istio-system", "rollout", "status", "deployment/istiod", "--timeout=120s"])
            .unwrap();
        for host in [host, other] {
            self.direct(&host).await;
        }
        self.ends("istiod is killed while a host is learned", loads).await;
    }

    /// Long enough to be missed, too short for its liveness probe to end it.
    async fn the_controller_hangs(&mut self) {
        let loads = self.loads().await;
        script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGSTOP"]);
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(HANGS).await;
        script(&["kill-container", NAMESPACE, "lazyload-", "slime", "SIGCONT"]);
        // What the proxy could not send is gone; an application calls again.
        self.call(&host).await;
        self.all_is_learned("the controller hung").await;
        self.direct(&host).await;
        self.ends("the controller hangs", loads).await;
    }

    async fn no_controller_runs(&mut self) {
        let loads = self.loads().await;
        self.scale("lazyload", 0);
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(self.lasts).await;
        self.call(&host).await;
        self.scale("lazyload", 1);
        // The global-sidecar's proxy connects again, after a pause that grew while nobody was there.
        self.all_is_learned_while_it_is_called("no controller ran", &host).await;
        self.direct(&host).await;
        self.ends("no controller runs", loads).await;
    }

    /// Nothing can be written and no watch says anything; traffic goes on, and what is called is learned.
    async fn the_api_server_hangs(&mut self) {
        let loads = self.loads().await;
        let stopped = Stopped::apiserver();
        let host = self.new_host();
        self.call(&host).await;
        tokio::time::sleep(self.lasts.min(Duration::from_secs(12))).await;
        drop(stopped);
        self.all_is_learned("the API server hung").await;
        self.direct(&host).await;
        self.ends("the API server hangs", loads).await;
    }

    /// 1 -> 3 -> rolled -> 1.
    async fn global_sidecars_come_and_go(&mut self) {
        let loads = self.loads().await;
        self.scale("global-sidecar", 3);
        self.testbed.kubectl(&["-n", NAMESPACE, "rollout", "restart", "deployment/global-sidecar"]).unwrap();
        self.rolled("global-sidecar");
        let host = self.new_host();
        self.call(&host).await;
        self.all_is_learned("global-sidecars were rolled").await;
        self.scale("global-sidecar", 1);
        self.old_ones_are_gone("global-sidecar", 1).await;
        self.direct(&host).await;
        self.ends("global-sidecars come and go: 1, 3, rolled, 1", loads).await;
    }

    /// Those are of no workload: each makes a Sidecar that nobody has, and goes with it.
    async fn fences_are_made_and_deleted_all_the_time(&mut self) {
        let loads = self.loads().await;
        let host = self.new_host();
        let fences = &self.fences;
        let began = Instant::now();
        let mut made = 0;
        while began.elapsed() < self.lasts / 2 {
            let second = Instant::now();
            let names = (made..made + CHURN).map(|number| format!("churn-{number}"));
            futures::future::join_all(names.map(|name| async move {
                let fence = json!({
                    "apiVersion": "microservice.slime.io/v1alpha1", "kind": "ServiceFence",
                    "metadata": {"name": name, "labels": {"trial": "faults"}}, "spec": {"enable": true},
                });
                let fence: DynamicObject = serde_json::from_value(fence).expect("a fence");
                fences.create(&PostParams::default(), &fence).await.expect("made");
                fences.delete(&name, &DeleteParams::default()).await.expect("deleted");
            }))
            .await;
            made += CHURN;
            if made == 2 * CHURN {
                self.call(&host).await;
            }
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(second.elapsed())).await;
        }
        println!("{made} fences in {:.1} s", began.elapsed().as_secs_f64());
        self.all_is_learned("fences came and went").await;
        eventually("their Sidecars are gone", SOON, || async {
            let left = self.testbed.get(&["sidecars", "-n", "default"])?;
            let left = left["items"].as_array().map(Vec::len);
            anyhow::ensure!(left == Some(1), "{left:?}");
            Ok(())
        })
        .await;
        assert_eq!(self.fences.list(&ListParams::default()).await.unwrap().items.len(), 1);
        self.direct(&host).await;
        self.ends("fences are made and deleted all the time", loads).await;
    }

    /// With one replica nobody serves what is unknown until the next one is ready; what is direct is not touched.
    async fn the_only_global_sidecar_is_killed(&mut self) {
        let loads = self.loads().await;
        let kill = ["delete", "pod", "-n", NAMESPACE, "-l", "app=global-sidecar", "--grace-period=0", "--force"];
        self.testbed.kubectl(&kill).unwrap();
        self.rolled("global-sidecar");
        let host = self.new_host();
        eventually("the fallback serves again", SOON, || async {
            let answer = self.caller.ask(&format!("/fetch?url=http://{host}:9080/")).await?;
            anyhow::ensure!(answer["status"] == 200, "{answer:#}");
            Ok(())
        })
        .await;
        self.all_is_learned_while_it_is_called("the only global-sidecar was killed", &host).await;
        self.direct(&host).await;
        self.ends_except("the only global-sidecar is killed", loads, "fallback").await;
    }

    /// Every fence goes with its CRD, as Kubernetes has it, and what was learned with the fence. No request does.
    async fn the_crd_of_fences_is_removed_and_restored(&mut self) {
        let loads = self.loads().await;
        let crd = "servicefences.microservice.slime.io";
        self.testbed.kubectl(&["delete", "crd", crd, "--timeout=60s"]).unwrap();
        eventually("no Sidecar is left", SOON, || async {
            let left = self.testbed.get(&["sidecars", "-n", "default"])?;
            anyhow::ensure!(left["items"].as_array().is_some_and(Vec::is_empty), "{left:#}");
            Ok(())
        })
        .await;
        self.testbed.apply(&run(lazyload_binary(), &["crds"]).expect("lazyload crds"));
        self.testbed.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", crd]).unwrap();
        self.learned.clear();
        self.testbed.apply(
            "apiVersion: microservice.slime.io/v1alpha1\nkind: ServiceFence\n\
             metadata: {name: productpage, namespace: default}\nspec: {enable: true}\n",
        );
        let host = self.new_host();
        self.all_is_learned_while_it_is_called("the CRD was away", &host).await;
        self.direct(&host).await;
        self.ends("the CRD of fences is removed and restored", loads).await;
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
        let folder = repository().join("target/mesh-report");
        let text = format!("{:#}\n", Value::from(self.report.clone()));
        let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join("faults.json"), text));
        kept.expect("the report is kept");
    }
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
