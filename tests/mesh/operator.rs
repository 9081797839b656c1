//! The seed's four SlimeBoots as printed, by the operator: installed, used, changed and removed, while requests go through the
//! global-sidecar all the time.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::{NAMESPACE, remove};
use super::pods::{Pod, access_log};
use super::testbed::{Testbed, lazyload_binary, script};
use super::turn;
use crate::support::process::run;
use crate::support::repository;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
/// Kinds of what a SlimeBoot stands for.
const KINDS: &str = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,envoyfilters,sidecars";
/// As the seed makes a fence by hand: its SlimeBoots do not ask for fences by label.
const FENCE: &str = "apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: default}
spec: {enable: true}
";
/// Requests a second through the global-sidecar.
const RATE: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_seeds_slime_boots_is_installed_changed_and_removed_and_no_request_fails() {
    let _turn = turn().await;
    let test = "each_of_the_seeds_slime_boots_is_installed_changed_and_removed_and_no_request_fails";
    let Some(testbed) = Testbed::up(test) else { return };
    script(&["bookinfo", "up"]);
    script(&["prometheus", "up"]);
    let operated = Operated::install(&testbed);
    for case in ["cluster_accesslog", "cluster_prometheus", "namespace_accesslog", "namespace_prometheus"] {
        println!("--- {case}");
        operated.live_and_leave(case).await;
    }
}

/// A mesh with the operator; removed when it is dropped.
struct Operated<'a> {
    testbed: &'a Testbed,
}

impl<'a> Operated<'a> {
    fn install(testbed: &'a Testbed) -> Self {
        remove(testbed);
        let image = "--image=docker.io/testbed/lazyload:1";
        testbed.apply(&run(lazyload_binary(), &["install-yaml", image]).expect("install-yaml"));
        let rollout = ["-n", NAMESPACE, "rollout", "status", "deployment/slime-boot", "--timeout=120s"];
        testbed.kubectl(&rollout).expect("the operator runs");
        Self { testbed }
    }

    async fn live_and_leave(&self, case: &str) {
        let testbed = self.testbed;
        let mut boot = printed(case);
        let namespaced = case.starts_with("namespace");
        testbed.apply(&boot.to_string());
        self.ready().await;
        self.pods_are_those_of_the_seed(if namespaced { "default" } else { NAMESPACE });

        testbed.apply(FENCE);
        self.sidecar_has(&[]).await;
        let productpage = Pod::find(testbed, "app=productpage");
        // A host that the mesh does not know never becomes direct.
        let details = testbed.get(&["service", "details", "-n", "default"]).unwrap()["spec"]["clusterIP"].clone();
        let url = format!("http://{}:9080/&header=Host:unknown.example", details.as_str().unwrap());
        let before = by_fallback(testbed, &productpage);
        eventually("what is unknown goes by the fallback", SOON, || async {
            let seen = productpage.ask(&format!("/fetch?url={url}")).await?;
            anyhow::ensure!(seen["status"] == 200 && by_fallback(testbed, &productpage) > before, "{seen:#}");
            Ok(())
        })
        .await;
        let load = productpage.start_load(&url, RATE).await;

        // The seed's story: the first visit is learned.
        let visit = productpage.ask("/fetch?url=http://productpage:9080/productpage").await.unwrap();
        assert_eq!(visit["status"], 200, "{visit:#}");
        self.sidecar_has(&["details", "reviews"]).await;
        eventually("the next call is direct", SOON, || async {
            let seen = productpage.ask("/fetch?url=http://details:9080/").await?;
            anyhow::ensure!(seen["direct"] == "direct", "{seen:#}");
            Ok(())
        })
        .await;

        let general = "/spec/module/0/general";
        for (what, pointer, key, value) in [
            ("a second port", general, "wormholePort", json!(["9080", "9090"])),
            (
                "a dispatch",
                general,
                "dispatches",
                json!([{"name": "out", "domains": ["*.example.org"], "cluster": "PassthroughCluster"}]),
            ),
            ("the log level", "/spec/module/0/global", "log", json!({"logLevel": "debug"})),
            ("resources", "/spec/component/globalSidecar/resources/requests", "cpu", json!("11m")),
            ("one port again", general, "wormholePort", json!(["9080"])),
        ] {
            self.change(&mut boot, what, pointer, key, value).await;
        }
        if namespaced {
            testbed.apply(
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: annex, labels: {istio-injection: enabled}}\n",
            );
            self.change(&mut boot, "a second namespace", general, "namespace", json!(["default", "annex"])).await;
            self.change(&mut boot, "one namespace again", general, "namespace", json!(["default"])).await;
            testbed.kubectl(&["delete", "namespace", "annex", "--wait=false"]).unwrap();
        }
        testbed.kubectl(&["delete", "slimeboot", "lazyload", "-n", NAMESPACE, "--timeout=120s"]).unwrap();
        assert_eq!(self.left(), Vec::<String>::new());
        let result = productpage.stop_load(&load).await;
        let by_fallback = by_fallback(testbed, &productpage) - before;
        println!("{case}: {} requests, {by_fallback} by the fallback", result["sent"]);
        assert_eq!(result["failed"], json!([]), "{case}: no request fails");
        assert!(by_fallback > RATE as usize * 5, "{by_fallback} requests by the fallback are too few to tell");

        testbed.kubectl(&["delete", "servicefences", "--all", "-n", "default"]).unwrap();
        eventually("the fence's Sidecar is gone", SOON, || async {
            let list = testbed.get(&["sidecars", "-n", "default"])?;
            anyhow::ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list:#}");
            Ok(())
        })
        .await;
    }

    async fn change(&self, boot: &mut Value, what: &str, pointer: &str, key: &str, value: Value) {
        if boot.pointer(pointer).is_none() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            boot.pointer_mut(parent).unwrap()[name] = json!({});
        }
        boot.pointer_mut(pointer).unwrap()[key] = value;
        let start = std::time::Instant::now();
        self.testbed.apply(&boot.to_string());
        self.ready().await;
        println!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    }

    /// Ready, of what was said last.
    async fn ready(&self) {
        eventually("the SlimeBoot is ready", Duration::from_secs(120), || async {
            let boot = self.testbed.get(&["slimeboot", "lazyload", "-n", NAMESPACE])?;
            let conditions = boot["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
            let ready = ready.filter(|ready| ready["observedGeneration"] == boot["metadata"]["generation"]);
            anyhow::ensure!(ready.is_some_and(|ready| ready["status"] == "True"), "{conditions:#?}");
            Ok(())
        })
        .await;
    }

    /// E5: names and counts.
    fn pods_are_those_of_the_seed(&self, global_sidecar: &str) {
        let mut seen = Vec::new();
        for namespace in [NAMESPACE, "default"] {
            let list = self.testbed.kubectl(&["get", "pods", "-n", namespace, "--no-headers"]).unwrap();
            for line in list.lines() {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let name = fields[0].rsplitn(3, '-').last().unwrap_or_default();
                if ["slime-boot", "lazyload", "global-sidecar"].contains(&name) {
                    seen.push(format!("{namespace}/{name} {} {}", fields[1], fields[2]));
                }
            }
        }
        seen.sort();
        let mut wanted = vec![
            format!("{global_sidecar}/global-sidecar 2/2 Running"),
            format!("{NAMESPACE}/lazyload 1/1 Running"),
            format!("{NAMESPACE}/slime-boot 1/1 Running"),
        ];
        wanted.sort();
        assert_eq!(seen, wanted);
    }

    async fn sidecar_has(&self, services: &[&str]) {
        eventually("the Sidecar has what was called", SOON, || async {
            let sidecar = self.testbed.get(&["sidecar", "productpage", "-n", "default"])?;
            let hosts = sidecar["spec"]["egress"][0]["hosts"].to_string();
            let routed = !hosts.contains("~/") && sidecar["spec"]["egress"].as_array().map(Vec::len) == Some(1);
            let lacking = services.iter().find(|service| !hosts.contains(&format!("*/{service}.default.svc")));
            anyhow::ensure!(routed && lacking.is_none(), "{sidecar:#}");
            Ok(())
        })
        .await;
    }

    /// What carries the label of a SlimeBoot, in all namespaces.
    fn left(&self) -> Vec<String> {
        let list = ["get", KINDS, "-A", "-l", "slime.io/slimeboot", "-o", "name"];
        self.testbed.kubectl(&list).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Operated<'_> {
    fn drop(&mut self) {
        let kept = self.testbed.kubectl(&["logs", "-n", NAMESPACE, "deploy/slime-boot", "--tail=40"]);
        if std::thread::panicking() {
            eprintln!("{}", kept.unwrap_or_default());
        }
        remove(self.testbed);
        script(&["prometheus", "down"]);
        script(&["bookinfo", "down"]);
    }
}

/// The caller's requests for the unknown host that its proxy sent to the global-sidecar, in all that is kept of its log.
fn by_fallback(testbed: &Testbed, caller: &Pod) -> usize {
    let lines = access_log(testbed, &caller.name, "unknown.example");
    lines.iter().filter(|line| line.contains("||global-sidecar.")).count()
}

/// A SlimeBoot of the seed as it is printed, with the testbed's image for its placeholders.
fn printed(case: &str) -> Value {
    let case = format!("the_seeds_{case}_example");
    let path = repository().join("crates/logic/tests/boot/golden").join(case).join("given.yaml");
    let mut boot: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let image = json!({"repository": "docker.io/testbed/lazyload", "tag": "1", "pullPolicy": "IfNotPresent"});
    boot["spec"]["component"]["globalSidecar"]["image"] = image.clone();
    boot["spec"]["image"] = image;
    boot
}
