//! `lazyload render`: every object that a SlimeBoot stands for, without a cluster.

use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use lazyload_api::{names, slime_boot::SlimeBootSpec};
use lazyload_logic::boot;
use serde_json::Value;

use crate::cli::RenderArgs;
use crate::documents;
use crate::process::exit::BadInput;

/// Prints the objects of the SlimeBoot in a file as YAML, in the order in which they are to be applied.
///
/// # Errors
/// The file cannot be read, is not one SlimeBoot, or says what cannot be installed.
pub fn run(args: &RenderArgs) -> anyhow::Result<()> {
    let name = if args.file == Path::new("-") { "standard input".to_owned() } else { args.file.display().to_string() };
    let text = read(&args.file)
        .map_err(|error| anyhow::Error::from(error).context(BadInput(format!("failed to read {name}"))))?;
    let rendered = render(&name, &text)?;
    let mut errors = std::io::stderr();
    for warning in &rendered.warnings {
        writeln!(errors, "lazyload: {name}: warning: {warning}").context("failed to write a warning")?;
    }
    std::io::stdout().lock().write_all(rendered.text.as_bytes())?;
    Ok(())
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

#[derive(Debug)]
struct Rendered {
    text: String,
    warnings: Vec<String>,
}

fn render(name: &str, text: &str) -> anyhow::Result<Rendered> {
    let documents = documents::read(text).map_err(|error| BadInput(format!("{name}:{error}")))?;
    let spec = slime_boot(documents).map_err(|problem| BadInput(format!("{name}: {problem}")))?;
    let reading = boot::read(&spec).map_err(|error| {
        let line = documents::line_of(text, &error.path).map(|line| format!("{line}:")).unwrap_or_default();
        BadInput(format!("{name}:{line} {error}"))
    })?;
    let objects = reading.installation.as_ref().map(boot::desired_objects).unwrap_or_default();
    let text = if objects.is_empty() { String::new() } else { documents::write(&objects)? };
    Ok(Rendered { text, warnings: reading.warnings })
}

fn slime_boot(documents: Vec<Value>) -> Result<SlimeBootSpec, String> {
    let [document] = <[Value; 1]>::try_from(documents)
        .map_err(|documents| format!("expected one SlimeBoot, got {} documents", documents.len()))?;
    let found = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or("nothing").to_owned();
    if found("kind") != "SlimeBoot" {
        return Err(format!("kind: expected SlimeBoot, got {}", found("kind")));
    }
    if found("apiVersion") != names::SLIME_BOOT_API_VERSION {
        return Err(format!("apiVersion: expected {}, got {}", names::SLIME_BOOT_API_VERSION, found("apiVersion")));
    }
    match document.get("spec") {
        Some(Value::Object(fields)) => Ok(SlimeBootSpec { fields: fields.clone() }),
        _ => Err("spec: expected a map with image and module".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = include_str!("../../../../install/samples/lazyload/slimeboot_cluster_accesslog.yaml");

    #[test]
    fn every_sample_is_rendered_without_a_warning_in_the_mode_and_with_the_source_of_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../install/samples/lazyload");
        let mut seen = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let documents = documents::read(&text).unwrap();
            if documents[0]["kind"] != "SlimeBoot" {
                continue;
            }
            assert_eq!(documents[0]["spec"]["image"]["tag"], concat!("v", env!("CARGO_PKG_VERSION")), "{name}");
            let rendered = render(&name, &text).unwrap();
            assert_eq!(rendered.warnings, Vec::<String>::new(), "{name}");
            let objects = documents::read(&rendered.text).unwrap();
            let redirection = &objects.last().unwrap()["metadata"];
            let named = |kind: &str, name: &str| {
                objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            };
            let mode = if redirection["namespace"] == "istio-system" { "cluster" } else { "namespace" };
            let source = if named("EnvoyFilter", "global-sidecar-accesslog") { "accesslog" } else { "prometheus" };
            assert_eq!(redirection["name"], "to-global-sidecar", "{name}");
            assert_eq!(
                named("EnvoyFilter", "global-sidecar-metadata-exchange-remove"),
                source == "prometheus",
                "{name}"
            );
            assert_eq!(name.trim_end_matches("_log_files"), format!("slimeboot_{mode}_{source}"));
            seen.push(name);
        }
        assert_eq!(seen.len(), 5, "one for each mode, and one with log files: {seen:?}");
    }

    #[test]
    fn a_wrong_value_is_named_by_file_line_and_field() {
        let line = 1 + BOOT.lines().position(|line| line.contains("\"9080\"")).unwrap();
        let error = render("boot.yaml", &BOOT.replace("\"9080\"", "http")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "boot.yaml:{line}: spec.module[0].general.wormholePort[0]: expected a port number from 1 to 65535, got \"http\""
            )
        );
        assert!(error.is::<BadInput>());
    }

    #[test]
    fn what_is_no_slime_boot_is_refused() {
        for (text, expected) in [
            ("a: [", "f:1:4: unclosed bracket"),
            ("", "f: expected one SlimeBoot, got 0 documents"),
            ("kind: Pod", "f: kind: expected SlimeBoot, got Pod"),
            ("kind: SlimeBoot", "f: apiVersion: expected config.netease.com/v1alpha1, got nothing"),
            (
                "apiVersion: config.netease.com/v1alpha1\nkind: SlimeBoot",
                "f: spec: expected a map with image and module",
            ),
        ] {
            let error = render("f", text).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(error.is::<BadInput>());
        }
    }
}
