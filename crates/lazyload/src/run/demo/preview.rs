//! `--mesh DIR`: which fences and Sidecars the user's own YAML gives, before or after an access log. Nothing in DIR changes.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use lazyload_logic::types::Kind;
use serde_json::Value;

use super::replay::{self, Replay, counted};
use super::settle::Desk;
use crate::ask;
use crate::documents;
use crate::folder::{Folder, Keeping};
use crate::process::exit::BadInput;

/// Metadata that only this run gave: of no use to the reader, and harmful if applied (an owner that does not exist is a reason to delete).
const NOT_SHOWN: [&str; 5] = ["creationTimestamp", "generation", "ownerReferences", "resourceVersion", "uid"];

/// Prints the objects on standard output, what is to be known about them on standard error.
///
/// # Errors
/// A file of the folder, or the access log, cannot be used.
pub fn run(directory: &Path, log: Option<&Path>) -> anyhow::Result<()> {
    if !directory.is_dir() {
        return Err(BadInput(format!("{}: expected a folder of YAML", directory.display())).into());
    }
    let log = log.map(|path| (path, std::fs::read(path)));
    let log = match log {
        Some((path, Ok(bytes))) => Some((path, String::from_utf8_lossy(&bytes).into_owned())),
        Some((path, Err(error))) => {
            let problem = BadInput(format!("failed to read {}", path.display()));
            return Err(anyhow::Error::from(error).context(problem));
        }
        None => None,
    };
    let (objects, remarks) = preview(directory, log.as_ref().map(|(path, text)| (*path, text.as_str())))?;
    // The objects first: a broken pipe there ends it quietly.
    std::io::stdout().lock().write_all(objects.as_bytes())?;
    std::io::stderr().lock().write_all(remarks.as_bytes()).context("failed to write the summary")
}

/// The objects as YAML, and the summary.
pub fn preview(directory: &Path, log: Option<(&Path, &str)>) -> anyhow::Result<(String, String)> {
    let folder = Folder::open(directory, Keeping::Memory)?;
    let chosen = ask::choose(&folder)?;
    let mut remarks: Vec<String> = chosen.remarks;
    let (mut desk, problems) = Desk::open(&folder, chosen.settings);
    remarks.extend(problems);
    let replay = log.map(|(path, text)| (path, replay::replay(&mut desk, &folder, text)));

    let mut objects = folder.manifests(Kind::Fence);
    let mut owned = folder.manifests(Kind::Sidecar);
    owned.retain(is_owned);
    let (fences, sidecars) = (objects.len(), owned.len());
    objects.extend(owned);
    let count = format!("{} and {}", counted(fences, "ServiceFence"), counted(sidecars, "Sidecar"));
    objects.iter_mut().for_each(strip);
    let text = if objects.is_empty() { String::new() } else { documents::write_like_kubectl(&objects)? };

    let mut summary: Vec<String> = remarks.into_iter().map(|remark| format!("note: {remark}")).collect();
    if let Some((path, replay)) = &replay {
        summary.extend(Replay::summary(replay, &path.display().to_string(), &directory.display().to_string()));
    }
    summary.push(format!("{count}, as {} gives them", directory.display()));
    Ok((text, summary.join("\n") + "\n"))
}

fn is_owned(sidecar: &Value) -> bool {
    sidecar.pointer("/metadata/ownerReferences").is_some()
}

/// Leaves out how a fence is doing: the documentation does not print it, and on paper there is no API server that could refuse anything.
pub fn strip_conditions(object: &mut Value) {
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.retain(|field, _| field != "conditions" && field != "observedGeneration");
    }
}

fn strip(object: &mut Value) {
    strip_conditions(object);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !NOT_SHOWN.contains(&key.as_str()));
    }
}
