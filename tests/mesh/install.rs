//! The product in the cluster, as `lazyload crds` and `lazyload render` print it.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::testbed::{Testbed, lazyload_binary, script};
use crate::support::process::{run, run_with_input};
use crate::support::repository;
use crate::support::waiting::eventually;

/// Namespace of the product.
pub const NAMESPACE: &str = "mesh-operator";

/// The installation; removed when it is dropped.
pub struct Installation<'a> {
    testbed: &'a Testbed,
}

impl<'a> Installation<'a> {
    /// Installs the sample SlimeBoot of cluster mode and waits until its pods are ready.
    ///
    /// # Panics
    /// Something is refused, or does not become ready.
    pub async fn new(testbed: &'a Testbed) -> Self {
        Self::with(testbed, "lossless").await
    }

    /// The same with a setting of `general.switching`.
    ///
    /// # Panics
    /// As [`Installation::new`].
    pub async fn with(testbed: &'a Testbed, switching: &str) -> Self {
        Self::with_general(testbed, &[("switching", switching)]).await
    }

    /// The same with settings of `general`.
    ///
    /// # Panics
    /// As [`Installation::new`].
    pub async fn with_general(testbed: &'a Testbed, settings: &[(&str, &str)]) -> Self {
        Self::of(testbed, &slime_boot(settings)).await
    }

    /// The same with one more port in `wormholePort`.
    ///
    /// # Panics
    /// As [`Installation::new`].
    pub async fn with_port(testbed: &'a Testbed, port: u16) -> Self {
        let listed = "          - \"9080\"\n";
        Self::of(testbed, &sample().replacen(listed, &format!("{listed}          - \"{port}\"\n"), 1)).await
    }

    async fn of(testbed: &'a Testbed, slime_boot: &str) -> Self {
        remove(testbed);
        let installation = Self { testbed };
        installation.apply(&lazyload_binary(), slime_boot);
        installation.ready().await;
        installation
    }

    /// The sample as another version's binary installs it, which runs in its pods too.
    ///
    /// # Panics
    /// As [`Installation::new`].
    pub async fn by(testbed: &'a Testbed, program: &Path) -> Self {
        remove(testbed);
        let installation = Self { testbed };
        script(&["image", "--binary", &program.to_string_lossy()]);
        installation.apply(program, &sample());
        installation.ready().await;
        installation
    }

    /// The same over what another version installed.
    ///
    /// # Panics
    /// As [`Installation::new`].
    pub async fn becomes(&self, program: &Path) {
        script(&["image", "--binary", &program.to_string_lossy()]);
        self.apply(program, &sample());
        // The image has the same name.
        let restart = ["-n", NAMESPACE, "rollout", "restart", "deployment/lazyload", "deployment/global-sidecar"];
        self.testbed.kubectl(&restart).expect("pods are rolled");
        self.ready().await;
    }

    fn apply(&self, program: &Path, slime_boot: &str) {
        self.testbed.apply(&run(program, &["crds"]).expect("lazyload crds"));
        self.testbed.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"));
        self.testbed.apply(slime_boot);
        self.testbed.apply(&run_with_input(program, &["render", "-f", "-"], slime_boot).expect("lazyload render"));
    }

    /// Waits until exactly the pods that there should be are ready.
    ///
    /// # Panics
    /// They do not become ready.
    pub async fn ready(&self) {
        for deployment in ["lazyload", "global-sidecar"] {
            let target = format!("deployment/{deployment}");
            let arguments = ["-n", NAMESPACE, "rollout", "status", &target, "--timeout=120s"];
            self.testbed.kubectl(&arguments).expect("the product's pods become ready");
        }
        eventually("old pods are gone", Duration::from_secs(90), || async {
            let pods = self.pods();
            if pods.len() == 2 { Ok(()) } else { Err(pods) }
        })
        .await;
    }

    /// The product's pods: name, ready containers of all, restarts.
    ///
    /// # Panics
    /// They cannot be listed.
    pub fn pods(&self) -> Vec<(String, String, u64)> {
        let list = self.testbed.get(&["pods", "-n", NAMESPACE]).expect("pods");
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        pods.iter().map(Self::pod).collect()
    }

    fn pod(pod: &Value) -> (String, String, u64) {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let restartable = pod["spec"]["initContainers"].as_array().into_iter().flatten();
        let all = containers.count() + restartable.filter(|container| container["restartPolicy"] == "Always").count();
        let statuses = ["containerStatuses", "initContainerStatuses"].map(|key| pod["status"][key].as_array().cloned());
        let statuses: Vec<Value> = statuses.into_iter().flatten().flatten().collect();
        let running =
            statuses.iter().filter(|status| status["ready"] == true && status["state"]["running"].is_object());
        let restarts = statuses.iter().filter_map(|status| status["restartCount"].as_u64()).sum();
        (
            pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            format!("{}/{all}", running.count()),
            restarts,
        )
    }
}

/// The sample SlimeBoot with settings of `general`.
pub fn slime_boot(settings: &[(&str, &str)]) -> String {
    let lines: String = settings.iter().map(|(key, value)| format!("        {key}: {value}\n")).collect();
    sample().replacen("      general:\n", &format!("      general:\n{lines}"), 1)
}

/// The sample SlimeBoot of cluster mode with the image that the testbed has, and small for a small node.
fn sample() -> String {
    let sample = repository().join("install/samples/lazyload/slimeboot_cluster_accesslog.yaml");
    let sample = std::fs::read_to_string(sample).expect("the sample SlimeBoot");
    let line = |line: &str| match line.trim_start() {
        "repository: docker.io/slimeio/slime-lazyload" => line.replace("slimeio/slime-lazyload", "testbed/lazyload"),
        "pullPolicy: Always" => line.replace("Always", "IfNotPresent"),
        "cpu: 200m" => line.replace("200m", "10m"),
        "memory: 200Mi" => line.replace("200Mi", "20Mi"),
        other if other.starts_with("tag: ") => line.replace(other, "tag: \"1\""),
        _ => line.to_owned(),
    };
    sample.lines().map(|text| line(text) + "\n").collect()
}

impl Drop for Installation<'_> {
    fn drop(&mut self) {
        remove(self.testbed);
    }
}

/// Leaves the mesh without the product, also after a run that was broken off: the filters first, so that nothing is sent to a
/// global-sidecar that is going.
pub fn remove(testbed: &Testbed) {
    let filter = ["-n", "istio-system", "delete", "envoyfilter", "to-global-sidecar", "--ignore-not-found"];
    let unlabel = ["label", "services", "--all", "-n", "default", "slime.io/serviceFenced-"];
    // With an operator they are finalized; without one, after a run that was broken off, nobody does that.
    let finalized = "kubectl get crd slimeboots.config.netease.com -o name --ignore-not-found | grep -q . || exit 0; \
        kubectl delete slimeboots -A --all --timeout=60s || kubectl get slimeboots -A \
        -o jsonpath='{range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}' | while read -r namespace name; do \
        kubectl patch slimeboot -n $namespace $name --type=merge -p '{\"metadata\":{\"finalizers\":null}}'; done";
    let removed = [
        testbed.shell(finalized),
        testbed.kubectl(&filter),
        testbed.kubectl(&unlabel),
        testbed.kubectl(&[
            "delete",
            "crd",
            "servicefences.microservice.slime.io",
            "slimeboots.config.netease.com",
            "--ignore-not-found",
            "--timeout=60s",
        ]),
        testbed.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"]),
        // Of the whole cluster: the operator leaves alone what it did not make.
        testbed.kubectl(&["delete", "clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/part-of=lazyload"]),
        testbed.kubectl(&["wait", "--for=delete", "sidecars", "--all", "-n", "default", "--timeout=60s"]),
    ];
    for failed in removed.into_iter().filter_map(Result::err) {
        eprintln!("removing the installation: {failed}");
    }
}
