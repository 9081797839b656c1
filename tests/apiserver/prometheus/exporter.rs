//! Counters as the proxies of callees, or a global-sidecar, expose them, on a port that Prometheus scrapes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Series by their labels, in the form of the exposition.
#[derive(Clone)]
pub struct Exporter {
    /// By metric and labels.
    series: Arc<Mutex<BTreeMap<(&'static str, String), u64>>>,
    pub port: u16,
}

impl Exporter {
    /// Serves until the test ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let series = Arc::new(Mutex::new(BTreeMap::new()));
        let shown = series.clone();
        tokio::spawn(async move {
            loop {
                let Ok((mut connection, _)) = listener.accept().await else { continue };
                let mut request = [0; 4096];
                let read = connection.read(&mut request).await;
                let body = text(&shown.lock().unwrap());
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                if read.is_ok() && connection.write_all(answer.as_bytes()).await.is_err() {
                    continue;
                }
            }
        });
        Self { series, port }
    }

    /// The callee's proxy has counted so many requests of an app in all.
    pub fn requests(&self, source_app: &str, destination_service: &str, count: u64) {
        let labels = format!(
            "reporter=\"destination\",source_app=\"{source_app}\",destination_service=\"{destination_service}\",\
             source_workload_namespace=\"default\",request_protocol=\"http\",response_code=\"200\""
        );
        self.set(&labels, count);
    }

    /// Any series of `istio_requests_total`.
    pub fn set(&self, labels: &str, count: u64) {
        self.count("istio_requests_total", labels, count);
    }

    /// Any series of any counter.
    pub fn count(&self, metric: &'static str, labels: &str, count: u64) {
        self.series.lock().unwrap().insert((metric, labels.to_owned()), count);
    }

    /// The callees' pods are gone, or new.
    pub fn clear(&self) {
        self.series.lock().unwrap().clear();
    }
}

fn text(series: &BTreeMap<(&'static str, String), u64>) -> String {
    let mut text = String::new();
    let mut before = "";
    for ((metric, labels), count) in series {
        if std::mem::replace(&mut before, *metric) != *metric {
            writeln!(text, "# TYPE {metric} counter").unwrap();
        }
        writeln!(text, "{metric}{{{labels}}} {count}").unwrap();
    }
    text
}
