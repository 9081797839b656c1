//! One look at all files: what each object should be according to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::{Value, json};

use super::layout::{Layout, STATUS_SUFFIX};
use super::problem::Problem;
use super::reading::{self, Found, Key};

/// Who writes an object's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user: never touched.
    User,
    /// We.
    Generated,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Scan {
    /// Objects by what they are.
    pub objects: BTreeMap<(Kind, ObjectRef), (Origin, Value)>,
    /// Installations.
    pub slime_boots: BTreeMap<ObjectRef, Value>,
    /// What is wrong, in order.
    pub problems: Vec<Problem>,
}

/// Each file as it was last read.
pub type Files = BTreeMap<PathBuf, File>;

/// A file, and what is in it. What has not changed is not read again.
#[derive(Clone, Debug, Default)]
pub struct File {
    text: String,
    found: Vec<Found>,
    problems: Vec<Problem>,
}

/// Reads everything. `files` has what was found last time; an object that is broken now stays as it was then.
pub fn scan(layout: &Layout, files: &mut Files) -> Scan {
    let mut scan = Scan::default();
    let listed = layout.files();
    for (path, error) in listed.unreadable {
        scan.problems.push(whole_file(&path, format!("expected a readable folder: {error}")));
    }
    let mut before = std::mem::take(files);
    for path in listed.user.iter().chain(&listed.generated) {
        if let Some(file) = scan.read(path, before.remove(path)) {
            files.insert(path.clone(), file);
        }
    }
    let mut generated = Generated::default();
    for path in &listed.generated {
        for found in found_in(files, path) {
            generated.take(path, found);
        }
    }
    let mut places: BTreeMap<Key, (&Path, u64)> = BTreeMap::new();
    for path in &listed.user {
        for found in found_in(files, path) {
            if let Some((file, line)) = places.get(&found.key) {
                let message = format!("expected each object once, but this one is in {}:{line} too", file.display());
                scan.problems.push(Problem { line: found.line, ..whole_file(path, message) });
                continue;
            }
            places.insert(found.key.clone(), (path, found.line));
            scan.take(found, &mut generated);
        }
    }
    for (key, value) in generated.objects {
        scan.objects.insert(key, (Origin::Generated, value));
    }
    scan.problems.sort();
    scan
}

fn found_in<'a>(files: &'a Files, path: &Path) -> impl Iterator<Item = &'a Found> {
    files.get(path).into_iter().flat_map(|file| &file.found)
}

fn read_anew(path: &Path, text: String, before: File) -> File {
    let (mut found, problems) = reading::read(path, &text);
    if !problems.is_empty() {
        let mut known = before.found;
        known.retain(|known| found.iter().all(|new| new.key != known.key));
        found.extend(known);
    }
    File { text, found, problems }
}

fn whole_file(path: &Path, message: String) -> Problem {
    Problem { file: path.to_owned(), line: 0, column: 0, field: String::new(), message }
}

impl Scan {
    /// What is in a file; `None` if it is gone.
    fn read(&mut self, path: &Path, before: Option<File>) -> Option<File> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.problems.push(whole_file(path, format!("expected a readable text file: {error}")));
                return before;
            }
        };
        let before = before.unwrap_or_default();
        let file = if before.text == text { before } else { read_anew(path, text, before) };
        self.problems.extend(file.problems.iter().cloned());
        Some(file)
    }

    /// Takes in what a user's file has, together with what we know about it.
    fn take(&mut self, found: &Found, generated: &mut Generated) {
        let (kind, id) = match &found.key {
            Key::SlimeBoot(id) => {
                self.slime_boots.insert(id.clone(), found.value.clone());
                return;
            }
            Key::Object(kind, id) => (*kind, id),
        };
        let mut value = found.value.clone();
        let key = (kind, id.clone());
        if kind == Kind::Fence {
            let own = generated.objects.remove(&key).and_then(|fence| fence.get("status").cloned());
            let status = generated.statuses.remove(id).or(own).or_else(|| value.get("status").cloned());
            if let Some(fields) = value.as_object_mut() {
                fields.insert("status".to_owned(), status.unwrap_or_else(|| json!({})));
            }
        }
        // A dump of a cluster holds the Sidecars that a controller wrote: ours are newer. A Sidecar of the user's own rules.
        let is_owned = value.pointer("/metadata/ownerReferences").is_some();
        match generated.objects.remove(&key).filter(|_| is_owned) {
            Some(newer) => self.objects.insert(key, (Origin::Generated, newer)),
            None => self.objects.insert(key, (Origin::User, value)),
        };
    }
}

/// What is in our own files.
#[derive(Default)]
struct Generated {
    objects: BTreeMap<(Kind, ObjectRef), Value>,
    statuses: BTreeMap<ObjectRef, Value>,
}

impl Generated {
    fn take(&mut self, path: &Path, found: &Found) {
        let Key::Object(kind, id) = &found.key else { return };
        let is_status = path.to_string_lossy().ends_with(STATUS_SUFFIX);
        match kind {
            Kind::Fence if is_status => {
                let status = found.value.get("status").cloned().unwrap_or_else(|| json!({}));
                self.statuses.insert(id.clone(), status);
            }
            Kind::Fence | Kind::Sidecar => {
                self.objects.insert((*kind, id.clone()), found.value.clone());
            }
            _ => {}
        }
    }
}
