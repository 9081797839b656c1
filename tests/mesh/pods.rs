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
        let list = testbed.get(&["pods", "-n", "default", "-l", selector]).expect("pods");
        let running = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|pod| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running");
        let pod = running.unwrap_or_else(|| panic!("no running pod with {selector}"));
        let address = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok()).expect("podIP");
        Self {
            name: pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            address: SocketAddr::new(address, 9080),
        }
    }

    /// What the application answers.
    ///
    /// # Errors
    /// It does not answer, or not with JSON.
    pub async fn ask(&self, path_and_query: &str) -> anyhow::Result<Value> {
        let uri: hyper::Uri = format!("http://{}{path_and_query}", self.address).parse()?;
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let answer = client.get(uri).await.with_context(|| format!("{}{path_and_query}", self.name))?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        serde_json::from_slice(&body)
            .with_context(|| format!("{}{path_and_query}: {status}: {}", self.name, String::from_utf8_lossy(&body)))
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

/// Lines of a proxy's access log that contain a text.
///
/// # Panics
/// The log cannot be read.
pub fn access_log(testbed: &Testbed, pod: &str, containing: &str) -> Vec<String> {
    let log = testbed.kubectl(&["logs", "-n", "default", pod, "-c", "istio-proxy"]).expect("the proxy's log");
    log.lines().filter(|line| line.contains(containing)).map(str::to_owned).collect()
}
