//! Objects put beside the API server: fifty thousand pods take seconds, not minutes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::{Client, Config};
use serde_json::{Value, json};

/// Operations in one transaction; etcd takes 128.
const AT_ONCE: usize = 100;

/// etcd's gateway for JSON.
pub struct Etcd {
    client: Client,
}

impl Etcd {
    /// At a port of the loopback interface.
    pub fn new(port: u16) -> anyhow::Result<Self> {
        let address = format!("http://127.0.0.1:{port}").parse()?;
        Ok(Self { client: Client::try_from(Config::new(address))? })
    }

    /// Puts objects below their keys, as the API server would, and deletes what is at other keys.
    pub async fn change(&self, put: &[(String, Value)], delete: &[String]) -> anyhow::Result<()> {
        let puts = put.iter().map(|(key, value)| {
            json!({"requestPut": {"key": STANDARD.encode(key), "value": STANDARD.encode(value.to_string())}})
        });
        let deletions = delete.iter().map(|key| json!({"requestDeleteRange": {"key": STANDARD.encode(key)}}));
        let operations: Vec<Value> = puts.chain(deletions).collect();
        for some in operations.chunks(AT_ONCE) {
            self.post("/v3/kv/txn", &json!({"success": some})).await?;
        }
        Ok(())
    }

    /// Deletes everything below a prefix.
    pub async fn delete(&self, prefix: &str) -> anyhow::Result<()> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.post("/v3/kv/deleterange", &json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)}))
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let request =
            http::Request::post(path).header("content-type", "application/json").body(body.to_string().into_bytes())?;
        self.client.request::<Value>(request).await?;
        Ok(())
    }
}
