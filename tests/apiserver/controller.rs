//! The controller as a process, with its endpoints.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::DEADLINE;
use super::cluster::Cluster;
use crate::support::binary;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;

/// A controller that can be killed and started again, at the same addresses.
pub struct Controller {
    process: Option<Running>,
    metric: Value,
    kubeconfig: PathBuf,
    config: PathBuf,
    log: PathBuf,
    host: String,
    /// `misc` settings, and the environment, of one replica of several.
    misc: Value,
    environment: Vec<(&'static str, String)>,
    aux_port: u16,
    metrics_port: u16,
    console_port: u16,
    log_source_port: u16,
}

impl Controller {
    /// Starts a controller with `general` settings.
    pub fn start(cluster: &Cluster, general: &Value) -> Self {
        Self::start_at(cluster.folder(), &cluster.kubeconfig(), general)
    }

    /// Starts a controller that keeps its files in a folder.
    pub fn start_at(folder: &Path, kubeconfig: &Path, general: &Value) -> Self {
        Self::start_with_metric(folder, kubeconfig, general, &Value::Null)
    }

    /// Starts a controller with `general` and `metric` settings.
    pub fn start_with_metric(folder: &Path, kubeconfig: &Path, general: &Value, metric: &Value) -> Self {
        let mut controller = Self::new(folder, kubeconfig, "127.0.0.1", free_port());
        controller.metric = metric.clone();
        controller.configure(general, &json!({}));
        controller.start_again();
        controller
    }

    /// Starts one replica of several: pod `lazyload-NUMBER` at 127.0.0.NUMBER. All of them have the same port for access logs.
    pub fn start_replica(folder: &Path, kubeconfig: &Path, number: u8, log_source_port: u16, general: &Value) -> Self {
        Self::start_replica_in("mesh-operator", folder, kubeconfig, number, log_source_port, general)
    }

    /// The same in another namespace.
    pub fn start_replica_in(
        namespace: &str,
        folder: &Path,
        kubeconfig: &Path,
        number: u8,
        log_source_port: u16,
        general: &Value,
    ) -> Self {
        let mut controller = Self::new(folder, kubeconfig, &format!("127.0.0.{number}"), log_source_port);
        controller.misc = json!({"enableLeaderElection": "on"});
        controller.environment =
            vec![("POD_NAME", format!("lazyload-{number}")), ("POD_NAMESPACE", namespace.to_owned())];
        controller.configure(general, &json!({}));
        controller.start_again();
        controller
    }

    /// A controller that was not started yet and has no settings.
    pub fn stopped(cluster: &Cluster) -> Self {
        Self::new(cluster.folder(), &cluster.kubeconfig(), "127.0.0.1", free_port())
    }

    fn new(folder: &Path, kubeconfig: &Path, host: &str, log_source_port: u16) -> Self {
        let (aux_port, metrics_port) = (free_port(), free_port());
        let config = folder.join(format!("controller-{aux_port}.json"));
        Self {
            process: None,
            metric: Value::Null,
            host: host.to_owned(),
            misc: json!({}),
            environment: Vec::new(),
            kubeconfig: kubeconfig.to_owned(),
            log: config.with_extension("log"),
            config,
            aux_port,
            metrics_port,
            console_port: free_port(),
            log_source_port,
        }
    }

    /// Writes its settings: `general`, and keys of `global`. A controller that runs reads them again.
    pub fn configure(&self, general: &Value, global: &Value) {
        let mut entry = json!({
            "name": "lazyload", "kind": "lazyload", "enable": true, "general": general, "metric": self.metric,
            "global": {
                "log": {"logLevel": "debug"},
                "misc": {
                    "aux-addr": format!("{}:{}", self.host, self.aux_port),
                    "metrics-addr": format!("{}:{}", self.host, self.metrics_port),
                    "console-addr": format!("{}:{}", self.host, self.console_port),
                    "logSourcePort": format!("{}:{}", self.host, self.log_source_port),
                },
            },
        });
        entry["global"]["misc"].as_object_mut().unwrap().extend(self.misc.as_object().unwrap().clone());
        entry["global"].as_object_mut().unwrap().extend(global.as_object().unwrap().clone());
        self.write_config(&entry.to_string());
    }

    /// Replaces its settings file, as a kubelet does.
    pub fn write_config(&self, text: &str) {
        let new = self.config.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.config).unwrap();
    }

    /// Starts it again after [`Controller::kill`].
    pub fn start_again(&mut self) {
        self.start_version(&binary::lazyload());
    }

    /// Starts a version of it, after the end of another one.
    pub fn start_version(&mut self, program: &Path) {
        assert!(self.process.is_none(), "it runs");
        let arguments = ["controller".to_owned(), format!("--config={}", self.config.display())];
        let mut environment = vec![("KUBECONFIG", self.kubeconfig.display().to_string())];
        environment.extend(self.environment.clone());
        let started = Running::start(program, &arguments, &environment, self.log.clone());
        self.process = Some(started.unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let status = self.process.take().expect("it runs").kill().unwrap();
        assert_eq!(status.code(), Some(128 + 9), "ended by itself: {}", self.log());
    }

    /// SIGTERM; returns the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.end().await
    }

    /// Waits until the process ends; returns the exit code.
    pub async fn end(&mut self) -> Option<i32> {
        let start = std::time::Instant::now();
        loop {
            if let Some(code) = self.ended() {
                return Some(code);
            }
            assert!(start.elapsed() < DEADLINE, "it does not end: {}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Sends a signal, such as `STOP`.
    pub fn signal(&mut self, name: &str) {
        self.process.as_mut().expect("it runs").signal(name).unwrap();
    }

    /// The exit code, if the process has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.process.as_mut().expect("it was started").ended().unwrap()?;
        self.process = None;
        status.code()
    }

    /// Fails if the process has ended.
    pub fn assert_running(&mut self) {
        let ended = self.process.as_mut().expect("it runs").ended().unwrap();
        assert_eq!(ended, None, "{}", self.log());
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&self) {
        eventually("the controller is ready", DEADLINE, || async {
            match self.get("/modules/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", self.log())),
            }
        })
        .await;
    }

    /// GET of the auxiliary endpoints.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get(&self.host, self.aux_port, path).await
    }

    /// HOST:PORT of the auxiliary endpoints.
    pub fn auxiliary_address(&self) -> String {
        format!("{}:{}", self.host, self.aux_port)
    }

    /// Where the console is.
    pub fn console(&self) -> String {
        format!("http://{}:{}/", self.host, self.console_port)
    }

    /// GET of the address that is for metrics alone.
    pub async fn get_metrics(&self) -> anyhow::Result<(u16, String)> {
        get(&self.host, self.metrics_port, "/metrics").await
    }

    /// Port of the address that is for metrics alone.
    pub fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// The value of one series, given as in the exposition; 0 where there is none.
    pub async fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200);
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines.filter(|(name, _)| *name == series).map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Waits until a series is at least so much.
    pub async fn counts(&self, series: &str, at_least: f64) {
        eventually(series, DEADLINE, || async {
            let value = self.metric(series).await;
            if value >= at_least { Ok(()) } else { Err(value) }
        })
        .await;
    }

    /// Where access logs go.
    pub fn log_source(&self) -> String {
        format!("http://{}:{}", self.host, self.log_source_port)
    }

    /// What it has said, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

async fn get(host: &str, port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(format!("http://{host}:{port}{path}").parse()?).await?;
    let status = answer.status().as_u16();
    Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
}
