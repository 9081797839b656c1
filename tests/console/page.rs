//! A page: opened, read, clicked, typed into, looked at.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::DEADLINE;
use super::browser::Browser;
use crate::apiserver::cluster::cache;
use crate::support::repository;
use crate::support::waiting::eventually;

/// A page of a browser.
pub struct Page {
    browser: Arc<Browser>,
    session: String,
}

impl Page {
    /// Opens an address in a window of this size.
    pub async fn open(browser: &Arc<Browser>, address: &str, size: (u32, u32)) -> Self {
        let call = async |method: &str, parameters| browser.call(None, method, parameters).await.unwrap();
        let target = call("Target.createTarget", json!({"url": "about:blank"})).await["targetId"].clone();
        let attached = call("Target.attachToTarget", json!({"targetId": target, "flatten": true})).await;
        let page = Self { browser: browser.clone(), session: attached["sessionId"].as_str().unwrap().to_owned() };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page.resize(size).await;
        page.call("Page.navigate", json!({"url": address})).await;
        page
    }

    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.browser.call(Some(&self.session), method, parameters).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub async fn resize(&self, (width, height): (u32, u32)) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// `light` or `dark`.
    pub async fn prefer(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// What an expression is in the page.
    pub async fn read(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.call("Runtime.evaluate", asked).await;
        assert!(told["exceptionDetails"].is_null(), "{expression}: {}", told["exceptionDetails"]);
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true in the page.
    pub async fn holds(&self, expression: &str) {
        eventually(expression, DEADLINE, || async {
            let told = self.read(&format!("Boolean({expression})")).await;
            if told == true { Ok(()) } else { Err(self.read("document.body?.innerText").await) }
        })
        .await;
    }

    /// Waits until the page says this.
    pub async fn says(&self, text: &str) {
        self.holds(&format!("document.body?.innerText.includes({})", json!(text))).await;
    }

    /// Clicks the element that a selector finds.
    pub async fn click(&self, selector: &str) {
        self.holds(&format!("document.querySelector({})", json!(selector))).await;
        self.read(&format!("document.querySelector({}).click()", json!(selector))).await;
    }

    /// Presses a key and lets it go, with the text that it writes, if any.
    pub async fn press(&self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            " " => (32, " "),
            _ => (0, key),
        };
        let event = |kind: &str| json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", event("keyDown")).await;
        self.call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code})).await;
    }

    /// Writes where the focus is.
    pub async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Keeps what it looks like, in `target/console-report`.
    pub async fn keep(&self, name: &str) {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(report().join(format!("{name}.png")), bytes).unwrap();
    }

    /// What the browser complained of: errors of scripts, warnings, what a policy forbade, what was not found.
    pub fn complaints(&self) -> Vec<Value> {
        let events = self.browser.events(&self.session);
        let is_bad = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning"].iter().any(|kind| event["params"]["type"] == *kind)
            }
            Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
            _ => false,
        };
        events.into_iter().filter(is_bad).map(|event| event["params"].clone()).collect()
    }

    /// Every address that was asked for.
    pub fn asked(&self) -> Vec<String> {
        let events = self.browser.events(&self.session);
        let requests = events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        requests.map(|event| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What axe finds wrong for people who see, hear or move differently: rule, and where.
    pub async fn barriers(&self) -> Vec<String> {
        if self.read("typeof axe").await == "undefined" {
            self.read(&(std::fs::read_to_string(cache().join("axe.min.js")).unwrap() + "; true")).await;
        }
        let told = "axe.run().then((found) => found.violations.flatMap((rule) => rule.nodes.map((node) => \
                    `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))";
        serde_json::from_value(self.read(told).await).unwrap()
    }
}

/// Where pictures and numbers are kept.
pub fn report() -> PathBuf {
    let folder = repository().join("target/console-report");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
