//! Settings that cannot be used end the process with 2 and say where they are wrong. No cluster is needed for that.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::DEADLINE;
use super::controller::Controller;
use crate::support::binary;
use crate::support::waiting::eventually;

/// Exit code and standard error of a controller with this file, which must end by itself.
fn refused(config: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary::lazyload())
        .args(["controller", "--config"])
        .arg(config)
        .env("KUBECONFIG", "/nonexistent")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cfg");
    for (text, named) in [
        ("general: {wormholePort: [9080, http]}", "general.wormholePort[1]"),
        ("general: {autoFence: perhaps}", "general.autoFence"),
        ("general: {globalSidecarMode: both}", "general.globalSidecarMode"),
        ("general: [1]", "general"),
        ("global: {misc: {metricSourceType: guess}}", "metricSourceType"),
        ("- one\n- two", "map"),
        ("general: {", "module entry"),
        ("global: {misc: {logSourcePort: nowhere}}", "nowhere"),
        ("global: {log: {logLevel: loud}}", "loud"),
    ] {
        std::fs::write(&config, text).unwrap();
        let (code, message) = refused(&config);
        assert_eq!(code, Some(2), "{text}: {message}");
        assert!(message.starts_with("lazyload: ") && message.contains(named), "{text}: {message}");
        if !named.starts_with("nowhere") && !named.starts_with("loud") {
            assert!(message.contains(&config.display().to_string()), "{text}: {message}");
        }
    }
    let missing = folder.path().join("missing");
    let (code, message) = refused(&missing);
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains(&missing.display().to_string()), "{message}");
}

#[tokio::test]
async fn an_unknown_setting_is_warned_of_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    let general = json!({"wormholePorts": ["1"], "autoFence": true});
    let mut controller = Controller::start_at(folder.path(), &kubeconfig, &general);
    eventually("it lives", DEADLINE, || controller.get("/modules/livez")).await;
    let log = controller.log();
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains("general.wormholePorts"));
    assert!(warned, "{log}");
    // Without an API server it is not ready, says for what it waits, and does not give up.
    let (status, _) = controller.get("/modules/readyz").await.unwrap();
    assert_eq!(status, 503, "from the first moment on");
    eventually("it waits for each list", DEADLINE, || async {
        let (status, text) = controller.get("/modules/readyz").await.unwrap();
        if (status, text.lines().count()) == (503, 11) { Ok(()) } else { Err((status, text)) }
    })
    .await;
    assert_eq!(controller.terminate().await, Some(0));
}
