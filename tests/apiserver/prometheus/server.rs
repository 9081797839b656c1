//! A real Prometheus as a process, from Debian's package.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::super::DEADLINE;
use super::super::cluster::cache;
use crate::support::running::{Running, free_port};
use crate::support::waiting::eventually;
use crate::support::{can_run, process, repository};

/// A Prometheus that can be stopped and started again, at the same address.
pub struct Prometheus {
    process: Option<Running>,
    program: PathBuf,
    folder: PathBuf,
    web: Option<PathBuf>,
    port: u16,
}

impl Prometheus {
    /// Starts one that scrapes a port twice a second; `None` if it cannot run here. `web` is its file for TLS and users.
    pub async fn start(test: &str, folder: &Path, scraped: u16, web: Option<PathBuf>) -> Option<Self> {
        Self::start_as(test, folder, &config(&[scraped], "[]"), web).await
    }

    /// Starts one that scrapes these ports and also evaluates the rules of a file, twice a second.
    pub async fn start_with_rules(test: &str, folder: &Path, scraped: &[u16], rules: &Path) -> Option<Self> {
        Self::start_as(test, folder, &config(scraped, &format!("['{}']", rules.display())), None).await
    }

    async fn start_as(test: &str, folder: &Path, config: &str, web: Option<PathBuf>) -> Option<Self> {
        let program = match program() {
            Ok(program) => program.clone(),
            Err(missing) => {
                assert!(!can_run(test, Some(missing)));
                return None;
            }
        };
        let folder = folder.join("prometheus");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let mut prometheus = Self { process: None, program, folder, web, port: free_port() };
        prometheus.start_again();
        if prometheus.web.is_none() {
            prometheus.ready().await;
        }
        Some(prometheus)
    }

    /// Starts it again with what it has stored.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut arguments = vec![
            format!("--config.file={}", self.folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", self.folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
            "--log.level=warn".to_owned(),
        ];
        arguments.extend(self.web.as_ref().map(|file| format!("--web.config.file={}", file.display())));
        let log = self.folder.join("log");
        self.process = Some(Running::start(&self.program, &arguments, &[], log).unwrap());
    }

    /// SIGKILL.
    pub fn stop(&mut self) {
        self.process.take().expect("it runs").kill().unwrap();
    }

    /// Everything that it has stored is lost.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "it runs");
        std::fs::remove_dir_all(self.folder.join("data")).unwrap();
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub async fn ready(&self) {
        eventually("Prometheus is ready", DEADLINE, || async {
            match self.get("/-/ready").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?} {}", self.process.as_ref().map(Running::log).unwrap_or_default())),
            }
        })
        .await;
    }

    /// How many queries it has answered, by its own count.
    pub async fn queries(&self) -> f64 {
        let (_, text) = self.get("/metrics").await.unwrap();
        let of_queries = |line: &&str| {
            line.starts_with("prometheus_http_requests_total{") && line.contains("handler=\"/api/v1/query\"")
        };
        let counts = text.lines().filter(of_queries).filter_map(|line| line.rsplit_once(' '));
        counts.map(|(_, count)| count.parse::<f64>().unwrap()).sum()
    }

    /// The rules and what became of them.
    pub async fn rules(&self) -> Vec<serde_json::Value> {
        let (_, text) = self.get("/api/v1/rules").await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
        answer["data"]["groups"][0]["rules"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until it knows a series of this metric.
    pub async fn scraped(&self, metric: &str, deadline: std::time::Duration) {
        eventually("it is scraped", deadline, || async {
            let (_, text) = self.get(&format!("/api/v1/query?query={metric}")).await?;
            let answer: serde_json::Value = serde_json::from_str(&text)?;
            anyhow::ensure!(answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()), "{text}");
            Ok(())
        })
        .await;
    }

    async fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.get(format!("http://{}{path}", self.address()).parse()?).await?;
        let status = answer.status().as_u16();
        Ok((status, String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?))
    }
}

fn config(scraped: &[u16], rule_files: &str) -> String {
    let targets: Vec<String> = scraped.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
         rule_files: {rule_files}\n\
         scrape_configs:\n- job_name: mesh\n  static_configs: [{{targets: [{}]}}]\n",
        targets.join(", ")
    )
}

/// The program, which is fetched where it is missing.
fn program() -> &'static Result<PathBuf, String> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = cache().join("bin/prometheus");
        if !program.exists() {
            let script = repository().join("testbed/cluster.sh");
            process::run(script, &["build", "--only", "prometheus"]).map_err(|error| error.to_string())?;
        }
        if program.exists() { Ok(program) } else { Err(format!("no {}", program.display())) }
    })
}
