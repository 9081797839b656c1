//! The metrics that are documented, and so those that alerts and dashboard ask for, are those of the code.

use std::path::Path;

use crate::support::repository;

/// Named in the reference because they are missing.
const MISSING: &[&str] = &["lazyload_update_extra_resource_failed", "lazyload_servicefenc_loads"];

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = std::fs::read_to_string(&path).unwrap();
            // Tests name them as they are shown.
            text.push_str(file.split("mod tests {").next().unwrap_or_default());
        }
    }
}

#[test]
fn every_documented_metric_is_registered_in_the_code() {
    let mut code = String::new();
    sources(&repository().join("crates/lazyload/src"), &mut code);
    let reference = std::fs::read_to_string(repository().join("docs/reference/metrics.md")).unwrap();
    let words = reference.split(|char: char| !(char.is_ascii_lowercase() || char == '_'));
    let names: Vec<&str> = words.filter(|word| word.starts_with("lazyload_") && !MISSING.contains(word)).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        // A counter is shown with this ending.
        let registered = name.strip_suffix("_total").unwrap_or(name);
        assert!(code.contains(&format!("\"{registered}\"")), "{name}");
    }
}
