//! The example app's pods, as clients and as servers.

use std::net::SocketAddr;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::testbed::Testbed;

/// A pod that is asked to call others. Its application listens on port 9080.
pub struct Pod {
    /// Its name.
    pub name: String,
    address: SocketAddr,
}

impl Pod {
    /// The first running pod with a label.
    ///
    /// # Panics
    /// There is none.
    pub fn find(testbed: &Testbed, selector: &str) -> Self {
        Self::find_in(testbed, "default", selector, 9080)
    }

    /// The first running pod of a namespace with a label, and the port that is asked.
    ///
    /// # Panics
    /// There is none.
    pub fn find_in(testbed: &Testbed, namespace: &str, selector: &str, port: u16) -> Self {
        let list = testbed.get(&["pods", "-n", namespace, "-l", selector]).expect("pods");
        let running = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|pod| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running");
        let pod = running.unwrap_or_else(|| panic!("no running pod with {selector}"));
        let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok()).expect("podIP");
        Self {
            name: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            address: SocketAddr::new(address, port),
        }
    }

    /// Its address.
    pub fn ip(&self) -> String {
        self.address.ip().to_string()
    }

    /// Its address with another port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip(), port)
    }

    /// What the application answers.
    ///
    /// # Errors
    /// It does not answer, or not with JSON.
    pub async fn ask(&self, path_and_query: &str) -> anyhow::Result<Value> {
        let text = self.text(path_and_query).await?;
        serde_json::from_str(&text).with_context(|| format!("{}{path_and_query}: {text}", self.name))
    }

    /// The same as text.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn text(&self, path_and_query: &str) -> anyhow::Result<String> {
        get(self.address, path_and_query).await.with_context(|| self.name.clone())
    }

    /// Starts a steady load; [`Pod::stop_load`] ends it.
    ///
    /// # Panics
    /// The pod does not answer.
    pub async fn start_load(&self, url: &str, rate: u32) -> String {
        let started = self.ask(&format!("/load/start?url={url}&rate={rate}")).await.expect("a load starts");
        started["id"].as_str().expect("its id").to_owned()
    }

    /// Ends a load and returns what became of its requests.
    ///
    /// # Panics
    /// The pod does not answer.
    pub async fn stop_load(&self, id: &str) -> Value {
        self.ask(&format!("/load/stop?id={id}")).await.expect("a load stops")
    }
}

/// What is answered at an address, whatever the status.
///
/// # Errors
/// There is no answer.
pub async fn get(address: SocketAddr, path_and_query: &str) -> anyhow::Result<String> {
    let uri: hyper::Uri = format!("http://{address}{path_and_query}").parse()?;
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(uri).await.with_context(|| path_and_query.to_owned())?;
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Lines of a proxy's access log that contain a text.
///
/// # Panics
/// The log cannot be read.
pub fn access_log(testbed: &Testbed, pod: &str, containing: &str) -> Vec<String> {
    let log = testbed.kubectl(&["logs", "-n", "default", pod, "-c", "istio-proxy"]).expect("the proxy's log");
    log.lines().filter(|line| line.contains(containing)).map(str::to_owned).collect()
}

/// The clusters that a deployment's proxy knows, as Envoy lists them.
///
/// # Errors
/// The proxy cannot be asked.
pub fn clusters(testbed: &Testbed, deployment: &str) -> anyhow::Result<String> {
    let deployment = format!("deploy/{deployment}");
    let exec = ["exec", "-n", "default", &deployment, "-c", "istio-proxy", "--"];
    let ask = ["pilot-agent", "request", "GET", "clusters"];
    testbed.kubectl(&[&exec[..], &ask].concat())
}
