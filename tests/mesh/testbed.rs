//! The cluster that the testbed gives, with the product's image in it.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::process::{run, run_with_input};
use crate::support::running::Running;
use crate::support::{can_run, repository};

/// A running cluster with Istio, and how to talk to it.
pub struct Testbed {
    kubectl: PathBuf,
    kubeconfig: String,
}

impl Testbed {
    /// The running cluster; started, and the product's image made, if need be. `None` where that cannot be.
    ///
    /// # Panics
    /// The cluster cannot be started although it should, or this is CI and it cannot be.
    pub fn up(test: &str) -> Option<Self> {
        let missing = std::fs::metadata("/proc/1/ns").map_or(Some("the mesh needs Linux"), |_| None);
        let root = run("id", &["-u"]).is_ok_and(|user| user.trim() == "0");
        let missing = missing.or((!root).then_some("the mesh needs root for its namespaces: run the tests as root"));
        if !can_run(test, missing) {
            return None;
        }
        script(&["up"]);
        let binary = lazyload_binary();
        script(&["image", "--binary", &binary.to_string_lossy()]);
        let environment =
            run("bash", &["-c", &format!("eval \"$({} env)\"; echo $KUBECONFIG; which kubectl", script_path())]);
        let environment = environment.expect("testbed/cluster.sh env");
        let mut lines = environment.lines();
        let kubeconfig = lines.next().expect("KUBECONFIG").to_owned();
        Some(Self { kubectl: lines.next().expect("kubectl").into(), kubeconfig })
    }

    /// A client of the API server.
    ///
    /// # Panics
    /// The kubeconfig cannot be used.
    pub async fn client(&self) -> kube::Client {
        // A second test finds the provider installed, which is as good.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("the kubeconfig");
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("the kubeconfig");
        kube::Client::try_from(config).expect("a client")
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// What kubectl complains about.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(&self.kubectl, &self.arguments(arguments))
    }

    /// Starts kubectl, which goes on until it is dropped.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, arguments: &[String], log: PathBuf) -> anyhow::Result<Running> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Running::start(&self.kubectl, &self.arguments(&arguments), &[], log)
    }

    /// Runs a line of shell at the repository's root as a user of this cluster would: kubectl and helm are on PATH.
    ///
    /// # Errors
    /// It fails.
    pub fn shell(&self, line: &str) -> anyhow::Result<String> {
        let root = repository();
        let line = format!("eval \"$({} env)\"; cd {}; {line}", script_path(), root.display());
        run("bash", &["-euc", &line])
    }

    /// Applies YAML by server-side apply.
    ///
    /// # Panics
    /// The API server refuses it.
    pub fn apply(&self, yaml: &str) {
        let arguments = self.arguments(&["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        run_with_input(&self.kubectl, &arguments, yaml).expect("kubectl apply");
    }

    /// An object or a list as JSON.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let arguments: Vec<&str> = ["get", "-o", "json"].iter().chain(arguments).copied().collect();
        Ok(serde_json::from_str(&self.kubectl(&arguments)?)?)
    }

    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let own = [format!("--kubeconfig={}", self.kubeconfig)];
        own.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
    }
}

/// Runs a command of the testbed.
///
/// # Panics
/// It fails.
pub fn script(arguments: &[&str]) -> String {
    run(script_path(), arguments).expect("testbed/cluster.sh")
}

fn script_path() -> String {
    repository().join("testbed/cluster.sh").to_string_lossy().into_owned()
}

/// The product as built by the same cargo run as this test.
pub fn lazyload_binary() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let binary = test.parent().and_then(|deps| deps.parent()).map(|target| target.join("lazyload"));
    binary.filter(|path| path.exists()).expect("the lazyload binary beside the tests: cargo build -p lazyload")
}
