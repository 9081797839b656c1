//! Pods that are asked themselves, by way of the API server, and who they are.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, Config, ResourceExt};
use lazyload_api::names;
use lazyload_logic::types::ObjectRef;

use crate::process::api_server;
use crate::process::exit::BadInput;

/// The name of the port on which a controller tells of itself.
const AUXILIARY_PORT: &str = "aux-port";
/// Longest that a pod may take to answer.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(10);

/// What answers HTTP.
pub struct Asked {
    client: Client,
    /// What comes before the path.
    prefix: String,
    name: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Asked {
    /// A pod, asked by way of the API server.
    pub fn pod(client: Client, id: &ObjectRef, port: u16) -> Self {
        let prefix = format!("/api/v1/namespaces/{}/pods/{}:{port}/proxy", id.namespace, id.name);
        Self { client, prefix, name: format!("pod {id}") }
    }

    /// An address, asked directly.
    fn at(address: &str) -> anyhow::Result<Self> {
        let bad = || BadInput(format!("{address}: expected HOST:PORT"));
        let uri = format!("http://{address}").parse::<http::Uri>().map_err(|_| bad())?;
        if uri.port_u16().is_none() || uri.path() != "/" {
            return Err(bad().into());
        }
        let client = Client::try_from(Config::new(uri))?;
        Ok(Self { client, prefix: String::new(), name: address.to_owned() })
    }

    /// Whether a process is ready, and what it says besides.
    ///
    /// # Errors
    /// It does not answer, or the API server refuses.
    pub async fn readiness(&self) -> anyhow::Result<(bool, String)> {
        match self.get("/modules/readyz").await {
            Ok(said) => Ok((true, said)),
            Err(error) => match error.downcast_ref::<kube::Error>() {
                Some(kube::Error::Api(status)) if status.code == 503 => Ok((false, status.message.clone())),
                _ => Err(error),
            },
        }
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// It does not answer, or refuses, or the API server does.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let request = http::Request::get(format!("{}{path}", self.prefix)).body(Vec::new())?;
        let answered = tokio::time::timeout(ANSWER, self.client.request_text(request)).await;
        let answer = answered.with_context(|| format!("{self} did not answer {path} within {} s", ANSWER.as_secs()))?;
        answer.with_context(|| format!("failed to ask {self} for {path}: you need the right to get pods/proxy"))
    }
}

/// The controllers of the cluster, or the one at an address.
///
/// # Errors
/// There is none; the API server cannot be reached, or refuses.
pub async fn controllers(address: Option<&str>) -> anyhow::Result<Vec<Asked>> {
    if let Some(address) = address {
        return Ok(vec![Asked::at(address)?]);
    }
    let client = api_server::client().await?;
    let found = controllers_of(&client, &deployments(&client).await?).await?;
    if found.is_empty() {
        bail!(
            "no controller runs: no pod of a SlimeBoot's controller is Running (--controller HOST:PORT asks another)"
        );
    }
    Ok(found)
}

/// What a Deployment of an installation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `lazyload controller`
    Controller,
    /// `lazyload global-sidecar`
    GlobalSidecar,
}

/// What a Deployment runs, by its containers' commands; `None` if it is neither.
pub fn role(deployment: &Deployment) -> Option<Role> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    let mut words = containers.iter().flat_map(|container| container.command.iter().chain(&container.args).flatten());
    words.find_map(|word| match word.as_str() {
        "controller" => Some(Role::Controller),
        "global-sidecar" => Some(Role::GlobalSidecar),
        _ => None,
    })
}

/// The Deployments of SlimeBoots.
///
/// # Errors
/// The API server refuses.
pub async fn deployments(client: &Client) -> anyhow::Result<Vec<Deployment>> {
    let ours = ListParams::default().labels(&format!("{}={}", names::PART_OF_LABEL, names::PART_OF));
    let deployments = Api::<Deployment>::all(client.clone()).list(&ours).await;
    Ok(deployments.context("failed to list deployments (--controller HOST:PORT needs no right to)")?.items)
}

/// The namespaces in which SlimeBoots' controllers are to run, whether they do or not.
///
/// # Errors
/// The API server refuses.
pub async fn controller_namespaces(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let ours = deployments(client).await?;
    let controllers = ours.iter().filter(|deployment| role(deployment) == Some(Role::Controller));
    Ok(controllers.filter_map(ResourceExt::namespace).collect())
}

/// The controllers that run: pods of these Deployments.
///
/// # Errors
/// The API server refuses.
pub async fn controllers_of(client: &Client, deployments: &[Deployment]) -> anyhow::Result<Vec<Asked>> {
    let mut found = Vec::new();
    for deployment in deployments.iter().filter(|deployment| role(deployment) == Some(Role::Controller)) {
        if let Some(port) = auxiliary_port(deployment) {
            found.extend(of(client, deployment, port).await?);
        }
    }
    Ok(found)
}

/// The pods of a Deployment that run, to be asked on this port.
///
/// # Errors
/// The API server refuses.
pub async fn of(client: &Client, deployment: &Deployment, port: u16) -> anyhow::Result<Vec<Asked>> {
    let labels = deployment.spec.iter().flat_map(|spec| spec.selector.match_labels.iter().flatten());
    let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
    let running = ListParams::default().labels(&labels.join(",")).fields("status.phase=Running");
    let namespace = deployment.namespace().unwrap_or_default();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&running).await;
    let pods = pods.with_context(|| format!("failed to list pods of {namespace}"))?;
    let ids = pods.items.iter().map(|pod| ObjectRef::new(namespace.as_str(), pod.name_any()));
    Ok(ids.map(|id| Asked::pod(client.clone(), &id, port)).collect())
}

/// Where a controller tells of itself.
fn auxiliary_port(deployment: &Deployment) -> Option<u16> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(AUXILIARY_PORT))?;
    u16::try_from(port.container_port).ok()
}
