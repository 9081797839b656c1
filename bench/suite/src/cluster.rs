//! etcd and kube-apiserver on loopback ports, in a temporary folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::ApiResource;
use kube::{Client, Config};
use lazyload_bench_common::process::{Running, free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::etcd::Etcd;
use crate::process;

/// What a controller writes, and how often: `RESOURCE VERB`, or `RESOURCE/SUBRESOURCE VERB`.
pub type Writes = BTreeMap<String, u64>;

const WRITTEN: [&str; 2] = ["servicefences", "sidecars"];
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// An API server with the CRDs of the product and of Istio's Sidecar.
pub struct Cluster {
    pub client: Client,
    pub etcd: Etcd,
    pub kubeconfig: PathBuf,
    folder: TempDir,
    _processes: [Running; 2],
}

impl Cluster {
    /// Starts it. `binaries` holds `etcd` and `kube-apiserver`; `crds` are YAML texts.
    pub async fn start(binaries: &Path, crds: &[String]) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let (etcd_port, peer_port, port) = (free_port()?, free_port()?, free_port()?);
        let etcd = start_etcd(binaries, folder.path(), etcd_port, peer_port)?;
        let kubeconfig = write_access(folder.path(), port)?;
        let mut apiserver = start_apiserver(binaries, folder.path(), etcd_port, port)?;
        let waiting = async {
            loop {
                apiserver.check().context("kube-apiserver")?;
                // The certificate is made by the API server itself.
                if let Ok(client) = connect(&kubeconfig).await
                    && client
                        .request_text(http::Request::get("/api/v1/namespaces/default").body(Vec::new())?)
                        .await
                        .is_ok()
                {
                    return anyhow::Ok(client);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let client = tokio::time::timeout(STARTS_WITHIN, waiting).await.context("kube-apiserver does not start")??;
        for text in crds {
            install(&client, text).await?;
        }
        let etcd_client = Etcd::new(etcd_port)?;
        Ok(Self { client, etcd: etcd_client, kubeconfig, folder, _processes: [etcd, apiserver] })
    }

    /// A folder that goes with the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changing requests so far for fences and Sidecars.
    pub async fn writes(&self) -> anyhow::Result<Writes> {
        let text = self.client.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
        let mut writes = Writes::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let (labels, count) = line.rsplit_once("} ").context("a line of metrics without a value")?;
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value)
            };
            let (resource, verb) = (label("resource").unwrap_or_default(), label("verb").unwrap_or_default());
            let is_write = ["POST", "PUT", "PATCH", "APPLY", "DELETE"].contains(&verb);
            if is_write && WRITTEN.contains(&resource) {
                let subresource = label("subresource").filter(|it| !it.is_empty()).map(|it| format!("/{it}"));
                let what = format!("{resource}{} {verb}", subresource.unwrap_or_default());
                *writes.entry(what).or_default() += count.parse::<f64>()? as u64;
            }
        }
        Ok(writes)
    }
}

/// Those that came after others.
pub fn since(before: &Writes, after: &Writes) -> Writes {
    let more = after.iter().map(|(what, count)| (what.clone(), count - before.get(what).copied().unwrap_or_default()));
    more.filter(|(_, count)| *count > 0).collect()
}

async fn connect(kubeconfig: &Path) -> anyhow::Result<Client> {
    let options = KubeConfigOptions::default();
    Ok(Client::try_from(Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?)?)
}

async fn install(client: &Client, text: &str) -> anyhow::Result<()> {
    let resource = ApiResource {
        group: "apiextensions.k8s.io".into(),
        version: "v1".into(),
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        plural: "customresourcedefinitions".into(),
    };
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    for crd in documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition") {
        let name = crd["metadata"]["name"].as_str().context("a CRD without a name")?.to_owned();
        api.patch(&name, &PatchParams::apply("bench").force(), &Patch::Apply(&crd)).await?;
        let served = async {
            loop {
                let conditions = api.get(&name).await?.data["status"]["conditions"].clone();
                let all = conditions.as_array().cloned().unwrap_or_default();
                if all.iter().any(|it| it["type"] == "Established" && it["status"] == "True") {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(STARTS_WITHIN, served).await.with_context(|| format!("{name} is not served"))??;
    }
    Ok(())
}

fn start_etcd(binaries: &Path, folder: &Path, port: u16, peer_port: u16) -> anyhow::Result<Running> {
    let (here, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peer_port}"));
    let arguments = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={here}"),
        format!("--advertise-client-urls={here}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=8000000000".to_owned(),
        "--log-level=error".to_owned(),
    ];
    process::start(&binaries.join("etcd"), &arguments, &[], &folder.join("etcd.log"))
}

fn start_apiserver(binaries: &Path, folder: &Path, etcd_port: u16, port: u16) -> anyhow::Result<Running> {
    let pki = folder.join("pki");
    let key = pki.join("apiserver.key").display().to_string();
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--cert-dir={}", pki.display()),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        // Whoever measures and whoever is measured are users like others: no rights that would spare them the server's fairness.
        "--authorization-mode=AlwaysAllow".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={key}"),
        format!("--service-account-signing-key-file={key}"),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
    ];
    process::start(&binaries.join("kube-apiserver"), &arguments, &[], &folder.join("kube-apiserver.log"))
}

fn write_access(folder: &Path, port: u16) -> anyhow::Result<PathBuf> {
    std::fs::write(folder.join("tokens.csv"), "bench-token,bench,bench\n")?;
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": folder.join("pki/apiserver.crt"),
        }}],
        "users": [{"name": "bench", "user": {"token": "bench-token"}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    });
    let path = folder.join("kubeconfig");
    std::fs::write(&path, config.to_string())?;
    Ok(path)
}
