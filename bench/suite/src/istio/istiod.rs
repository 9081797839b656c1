//! A real istiod as a process on the loopback interface, with a CA and webhooks switched off: discovery alone is measured.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use lazyload_bench_common::process::{Running, free_port};

use crate::cluster::Cluster;
use crate::metrics;
use crate::process;

const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// A running istiod.
pub struct Istiod {
    process: Running,
    /// Where it serves discovery, without TLS.
    pub port: u16,
    monitoring: Client,
}

impl Istiod {
    /// Starts it, and waits until it serves.
    pub async fn start(program: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        let (http, port, monitoring) = (free_port()?, free_port()?, free_port()?);
        let mesh = cluster.folder().join("mesh.yaml");
        // Without mutual TLS no cluster waits for a certificate that nobody here gives out. Envoy is the plain one, without Istio's filters.
        std::fs::write(
            &mesh,
            "enableAutoMtls: false\ndefaultProviders: {}\noutboundTrafficPolicy: {mode: ALLOW_ANY}\n",
        )?;
        let arguments = [
            "discovery".to_owned(),
            format!("--kubeconfig={}", cluster.kubeconfig.display()),
            format!("--meshConfig={}", mesh.display()),
            format!("--httpAddr=127.0.0.1:{http}"),
            "--httpsAddr=".to_owned(),
            format!("--grpcAddr=127.0.0.1:{port}"),
            "--secureGRPCAddr=".to_owned(),
            format!("--monitoringAddr=127.0.0.1:{monitoring}"),
            "--ctrlz_port=0".to_owned(),
            "--log_output_level=default:error".to_owned(),
        ];
        let environment = [
            ("ENABLE_CA_SERVER", "false"),
            ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
            ("PILOT_CERT_PROVIDER", "none"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
            ("PILOT_ENABLE_GATEWAY_API", "false"),
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            // All proxies connect at once.
            ("PILOT_MAX_REQUESTS_PER_SECOND", "1000"),
            ("POD_NAME", "istiod-bench"),
            ("POD_NAMESPACE", "istio-system"),
            ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        let log = cluster.folder().join("istiod.log");
        let mut process = process::start(program, &arguments, &environment, &log)?;
        let ready = Client::try_from(Config::new(format!("http://127.0.0.1:{http}").parse()?))?;
        let monitoring = Client::try_from(Config::new(format!("http://127.0.0.1:{monitoring}").parse()?))?;
        let waiting = async {
            while ready.request_text(http::Request::get("/ready").body(Vec::new())?).await.is_err() {
                process.check().with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STARTS_WITHIN, waiting).await.context("istiod is not ready")??;
        Ok(Self { process, port, monitoring })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What it has done so far.
    pub async fn work(&self) -> anyhow::Result<Work> {
        let text = self.monitoring.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        let sum = |name| metrics::sum(&text, name).unwrap_or_default();
        Ok(Work {
            contexts: sum("pilot_pushcontext_init_seconds_count"),
            pushes: sum("pilot_xds_pushes"),
            push_seconds: sum("pilot_xds_push_time_sum"),
            cpu_seconds: lazyload_bench_common::procfs::cpu_seconds(self.pid())?,
        })
    }
}

/// Counters.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Rounds of pushing: how often the mesh's whole configuration was looked at.
    pub contexts: f64,
    /// Answers to proxies.
    pub pushes: f64,
    /// Time spent on making them.
    pub push_seconds: f64,
    pub cpu_seconds: f64,
}

impl Work {
    /// What came after something earlier.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            contexts: self.contexts - earlier.contexts,
            pushes: self.pushes - earlier.pushes,
            push_seconds: self.push_seconds - earlier.push_seconds,
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
        }
    }
}
