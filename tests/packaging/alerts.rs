//! When the alerts fire, and that they are silent otherwise: asked of promtool, with series made up for it.

use serde_json::Value;

use super::program::promtool;
use crate::support::process::run;
use crate::support::repository;

#[test]
fn each_alert_fires_for_its_reason_and_none_for_a_controller_that_works() {
    let Some(promtool) = promtool("each_alert_fires_for_its_reason_and_none_for_a_controller_that_works") else {
        return;
    };
    let rules = std::fs::read_to_string(repository().join("charts/lazyload/files/alerts.yaml")).unwrap();
    let cases = std::fs::read_to_string(repository().join("tests/packaging/alerts_test.yaml")).unwrap();
    let parsed: Value = serde_saphyr::from_str(&rules).unwrap();
    let alerts: Vec<&str> =
        parsed["groups"][0]["rules"].as_array().unwrap().iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(cases.contains(alert), "{alert} is never made to fire");
    }
    // promtool looks for the rules beside the cases.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alerts.yaml"), rules).unwrap();
    let path = folder.path().join("alerts_test.yaml");
    std::fs::write(&path, cases).unwrap();
    run(promtool, &["test".to_owned(), "rules".to_owned(), path.display().to_string()]).unwrap();
}
