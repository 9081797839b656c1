//! The product's controller as a process.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use lazyload_bench_common::process::{Running, free_port};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::metrics;
use crate::process;
use crate::world::PORT;

const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Without a write for so long it is at rest: longer than a stage of a switch takes.
const REST: Duration = Duration::from_secs(4);

/// A running controller.
pub struct Controller {
    process: Running,
    /// Where it takes access logs.
    pub log_source_port: u16,
    admin: Client,
}

impl Controller {
    /// Starts it; every Service is to be fenced. `general` is laid over the settings.
    pub fn start(program: &Path, cluster: &Cluster, general: &Value) -> anyhow::Result<Self> {
        let (aux_port, metrics_port, log_source_port) = (free_port()?, free_port()?, free_port()?);
        let mut settings = json!({"wormholePort": [PORT], "autoFence": true, "defaultFence": true});
        for (key, value) in general.as_object().into_iter().flatten() {
            settings[key] = value.clone();
        }
        let entry = json!({
            "name": "lazyload", "kind": "lazyload", "enable": true, "general": settings,
            "global": {"log": {"logLevel": "warn"}, "misc": {
                "aux-addr": format!("127.0.0.1:{aux_port}"), "metrics-addr": format!("127.0.0.1:{metrics_port}"),
                "logSourcePort": format!("127.0.0.1:{log_source_port}"),
            }},
        });
        let config = cluster.folder().join(format!("controller-{aux_port}.json"));
        std::fs::write(&config, entry.to_string())?;
        let arguments = ["controller".to_owned(), format!("--config={}", config.display())];
        let environment = [("KUBECONFIG", cluster.kubeconfig.display().to_string())];
        let process = process::start(program, &arguments, &environment, &config.with_extension("log"))?;
        let admin = Client::try_from(Config::new(format!("http://127.0.0.1:{aux_port}").parse()?))?;
        Ok(Self { process, log_source_port, admin })
    }

    /// Waits until it has seen everything.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let waiting = async {
            while self.admin.request_text(http::Request::get("/modules/readyz").body(Vec::new())?).await.is_err() {
                self.process.check().context("the controller")?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(STARTS_WITHIN, waiting).await.context("the controller is not ready")?
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Sum of a metric over all labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.admin.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        // A counter comes with its first count.
        Ok(metrics::sum(&text, name).unwrap_or_default())
    }

    /// Waits until nothing was written for a while.
    pub async fn at_rest(&self) -> anyhow::Result<()> {
        let mut before = -1.0;
        loop {
            let writes = self.metric("lazyload_writes_total").await?;
            if writes == before {
                return Ok(());
            }
            before = writes;
            tokio::time::sleep(REST).await;
        }
    }

    /// Kills it.
    pub async fn end(self) -> anyhow::Result<()> {
        self.process.end().await
    }
}
