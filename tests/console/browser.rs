//! Chromium, steered over two pipes by the protocol of its developer tools: no port, no driver.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::DEADLINE;
use crate::support::running::Running;
use crate::support::{can_run, process, repository};

/// Debian's, installed by the testbed's build script.
const BROWSER: &str = "/usr/bin/chromium-headless-shell";
/// Chromium reads what it is told on descriptor 3, and answers on 4.
const STEERED: &str = r#"exec "$0" "$@" 3<"$TOLD" 4>"$ANSWERED""#;

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Value>>>>;

/// A running browser.
pub struct Browser {
    told: tokio::sync::Mutex<pipe::Sender>,
    waiting: Waiting,
    /// Events of all pages, in their order.
    events: Arc<Mutex<Vec<Value>>>,
    next: AtomicU64,
    process: Running,
    _folder: TempDir,
}

impl Browser {
    /// Starts one; nothing if it cannot run here.
    pub fn start(test: &str) -> Option<Arc<Self>> {
        if let Err(missing) = installed() {
            assert!(!can_run(&format!("console::{test}"), Some(missing)));
            return None;
        }
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["told", "answered"] {
            assert!(Command::new("mkfifo").arg(path(name)).status().unwrap().success());
        }
        // Both ends, so that no side has to wait for the other.
        let told = pipe::OpenOptions::new().read_write(true).open_sender(path("told")).unwrap();
        let answered = pipe::OpenOptions::new().read_write(true).open_receiver(path("answered")).unwrap();
        let arguments = [
            "-c",
            STEERED,
            BROWSER,
            // Root has no sandbox.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ];
        let mut arguments: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", path("profile").display()));
        let environment = ["told", "answered"].map(|name| (name, path(name).display().to_string()));
        let environment = environment.map(|(name, path)| (if name == "told" { "TOLD" } else { "ANSWERED" }, path));
        let process = Running::start(Path::new("/bin/sh"), &arguments, &environment, path("log")).unwrap();
        let (waiting, events) = (Waiting::default(), Arc::default());
        tokio::spawn(listen(answered, waiting.clone(), Arc::clone(&events)));
        let told = tokio::sync::Mutex::new(told);
        Some(Arc::new(Self { told, waiting, events, next: AtomicU64::new(1), process, _folder: folder }))
    }

    /// Tells the browser, or one of its pages, to do something, and waits for what came out.
    pub async fn call(&self, session: Option<&str>, method: &str, parameters: Value) -> anyhow::Result<Value> {
        let id = self.next.fetch_add(1, Relaxed);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let (answer_tx, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, answer_tx);
        let bytes = [message.to_string().as_bytes(), b"\0"].concat();
        self.told.lock().await.write_all(&bytes).await?;
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        let mut answer = answer.with_context(|| format!("{method}: no answer\n{}", self.process.log()))??;
        anyhow::ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        Ok(answer["result"].take())
    }

    /// What happened in a page.
    pub fn events(&self, session: &str) -> Vec<Value> {
        let events = self.events.lock().unwrap();
        events.iter().filter(|event| event["sessionId"] == session).cloned().collect()
    }
}

/// Hands out answers, and keeps events.
async fn listen(answered: pipe::Receiver, waiting: Waiting, events: Arc<Mutex<Vec<Value>>>) {
    let mut answered = BufReader::new(answered);
    let mut message = Vec::new();
    while answered.read_until(0, &mut message).await.is_ok_and(|read| read > 0) {
        message.pop();
        let value: Value = serde_json::from_slice(&message).unwrap();
        message.clear();
        let waits = value["id"].as_u64().and_then(|id| waiting.lock().unwrap().remove(&id));
        match waits {
            Some(waits) => drop(waits.send(value)),
            None => events.lock().unwrap().push(value),
        }
    }
}

/// Installs what is missing; the script does nothing if all is there.
fn installed() -> Result<(), &'static str> {
    static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let script = repository().join("testbed/cluster.sh");
        process::run(script, &["build", "--only", "browser"]).map(drop).map_err(|error| error.to_string())
    });
    installed.as_ref().copied().map_err(String::as_str)
}
