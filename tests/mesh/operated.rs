//! A mesh with the operator, and what SlimeBoots make of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::install::{NAMESPACE, remove};
use super::pods::{Pod, access_log};
use super::testbed::{Testbed, lazyload_binary, script};
use crate::support::process::run;
use crate::support::repository;
use crate::support::waiting::eventually;

const SOON: Duration = Duration::from_secs(60);
/// Kinds of what a SlimeBoot stands for.
const KINDS: &str = "deployments,services,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,envoyfilters,destinationrules,sidecars";
/// As the seed makes a fence by hand: its SlimeBoots do not ask for fences by label.
pub const FENCE: &str = "apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: productpage, namespace: default}
spec: {enable: true}
";
/// Requests a second through the global-sidecar.
pub const RATE: u32 = 50;

/// A mesh with the operator; removed when it is dropped.
pub struct Operated<'a> {
    pub testbed: &'a Testbed,
}

impl<'a> Operated<'a> {
    /// The operator as `install-yaml` gives it.
    ///
    /// # Panics
    /// It does not run.
    pub fn install(testbed: &'a Testbed) -> Self {
        remove(testbed);
        let image = "--image=docker.io/testbed/lazyload:1";
        testbed.apply(&run(lazyload_binary(), &["install-yaml", image]).expect("install-yaml"));
        let rollout = ["-n", NAMESPACE, "rollout", "status", "deployment/slime-boot", "--timeout=120s"];
        testbed.kubectl(&rollout).expect("the operator runs");
        Self { testbed }
    }

    /// Changes a setting and waits until it is in force.
    ///
    /// # Panics
    /// It does not come into force.
    pub async fn change(&self, boot: &mut Value, what: &str, pointer: &str, key: &str, value: Value) {
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
    ///
    /// # Panics
    /// It does not get ready.
    pub async fn ready(&self) {
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

    /// Waits until the Sidecar of productpage has these Services of the namespace default, and no switch is under way.
    ///
    /// # Panics
    /// It does not.
    pub async fn sidecar_has(&self, services: &[&str]) {
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
    ///
    /// # Panics
    /// They cannot be listed.
    pub fn left(&self) -> Vec<String> {
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
///
/// # Panics
/// The log cannot be read.
pub fn by_fallback(testbed: &Testbed, caller: &Pod) -> usize {
    let lines = access_log(testbed, &caller.name, "unknown.example");
    lines.iter().filter(|line| line.contains("||global-sidecar.")).count()
}

/// What proxies refused since istiod started, of all kinds of configuration.
///
/// # Panics
/// istiod cannot be asked.
pub fn rejects(testbed: &Testbed) -> f64 {
    let path = "/api/v1/namespaces/istio-system/services/istiod:15014/proxy/metrics";
    let metrics = testbed.kubectl(&["get", "--raw", path]).expect("istiod's metrics");
    assert!(metrics.contains("pilot_xds_pushes"), "these are not istiod's metrics: {metrics}");
    let refused = metrics.lines().filter(|line| line.starts_with("pilot_total_xds_rejects"));
    refused.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// A SlimeBoot of the seed as it is printed, with the testbed's image for its placeholders.
///
/// # Panics
/// It cannot be read.
pub fn printed(case: &str) -> Value {
    let case = format!("the_seeds_{case}_example");
    let path = repository().join("crates/logic/tests/boot/golden").join(case).join("given.yaml");
    let mut boot: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let image = json!({"repository": "docker.io/testbed/lazyload", "tag": "1", "pullPolicy": "IfNotPresent"});
    boot["spec"]["component"]["globalSidecar"]["image"] = image.clone();
    boot["spec"]["image"] = image;
    boot
}
