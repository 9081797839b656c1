//! From the text of a file to its objects, each with the line where it begins, and to everything that is wrong with it.

use std::cell::OnceCell;
use std::path::Path;

use lazyload_logic::types::{Kind, ObjectRef};
use serde_json::Value;

use super::layout::STATUS_SUFFIX;
use super::problem::Problem;
use super::typed;
use crate::documents::{self, Positions, Step};

/// An object of a watched kind, or a SlimeBoot.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is.
    pub key: Key,
    /// All of it.
    pub value: Value,
    /// Where its document begins.
    pub line: u64,
}

/// Identity of an object in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Of a watched kind.
    Object(Kind, ObjectRef),
    /// The installation.
    SlimeBoot(ObjectRef),
}

/// Reads a file's text.
pub fn read(file: &Path, text: &str) -> (Vec<Found>, Vec<Problem>) {
    let mut reading = Reading { file, found: Vec::new(), problems: Vec::new() };
    if file.extension().is_some_and(|extension| extension == "json") {
        reading.document(text, 1);
    } else {
        for (line, document) in split(text) {
            reading.document(&document, line);
        }
    }
    (reading.found, reading.problems)
}

/// One document of a file.
struct Document<'a> {
    /// Padded, see [`split`].
    text: &'a str,
    /// Where it begins.
    line: u64,
    /// Looked for only when asked for.
    positions: OnceCell<Positions>,
    value: Value,
}

impl Document<'_> {
    /// Line and column of a field of the object at `path`.
    fn place(&self, path: &[Step], steps: &[Step]) -> (u64, u64) {
        let positions = self.positions.get_or_init(|| Positions::read(self.text));
        positions.find(path.iter().chain(steps)).unwrap_or((self.line, 0))
    }
}

struct Reading<'a> {
    file: &'a Path,
    found: Vec<Found>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn document(&mut self, text: &str, line: u64) {
        let document = match documents::read_one(text) {
            Ok(None) => return,
            Ok(Some(document)) => self.completed(document),
            Err(error) => {
                let (line, column) = error.position().unwrap_or((line, 0));
                return self.problem((line, column), "", error.message());
            }
        };
        let document = Document { text, line, positions: OnceCell::new(), value: document };
        let is_list = document.value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        match document.value.get("items").and_then(Value::as_array).filter(|_| is_list) {
            Some(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.object(&document, &[Step::Key("items".to_owned()), Step::Index(place)], item);
                }
            }
            None => self.object(&document, &[], &document.value),
        }
    }

    /// A file of ours about a user's fence has no spec: that is the user's.
    fn completed(&self, mut document: Value) -> Value {
        let is_status = self.file.to_string_lossy().ends_with(STATUS_SUFFIX);
        if let Some(fields) = document.as_object_mut().filter(|_| is_status) {
            fields.entry("spec").or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        document
    }

    fn object(&mut self, document: &Document<'_>, path: &[Step], value: &Value) {
        let place = |steps: &[Step]| document.place(path, steps);
        let Some(fields) = value.as_object() else {
            return self.problem(place(&[]), "", "expected an object with apiVersion, kind and metadata".to_owned());
        };
        for key in ["apiVersion", "kind"] {
            match fields.get(key) {
                Some(Value::String(_)) => {}
                Some(_) => return self.problem(place(&[Step::Key(key.to_owned())]), key, "expected text".to_owned()),
                None => return self.problem(place(&[]), key, "expected, but missing".to_owned()),
            }
        }
        let is_boot = fields.get("kind").is_some_and(|kind| kind == "SlimeBoot");
        let kind = typed::kind_of(value);
        if kind.is_none() && !is_boot {
            // A Deployment, say: nothing that the controller looks at.
            return;
        }
        if let Some(misfit) = kind.and_then(|kind| typed::check(kind, value).err()) {
            return self.problem(place(&misfit.steps), &misfit.field, misfit.message);
        }
        let text_at = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let Some(name) = text_at("/metadata/name") else {
            let at = place(&[Step::Key("metadata".to_owned())]);
            return self.problem(at, "metadata.name", "expected a name, but missing".to_owned());
        };
        let namespace =
            if kind == Some(Kind::Namespace) { "" } else { text_at("/metadata/namespace").unwrap_or("default") };
        if let Some(field) =
            [("metadata.name", name), ("metadata.namespace", namespace)].iter().find(|(_, text)| !is_plain(text))
        {
            let at = place(&[
                Step::Key("metadata".to_owned()),
                Step::Key(field.0.trim_start_matches("metadata.").to_owned()),
            ]);
            return self.problem(at, field.0, format!("expected a Kubernetes name, got {:?}", field.1));
        }
        let id = ObjectRef::new(namespace, name);
        let key = kind.map_or_else(|| Key::SlimeBoot(id.clone()), |kind| Key::Object(kind, id.clone()));
        self.found.push(Found {
            key,
            value: value.clone(),
            line: if path.is_empty() { document.line } else { place(&[]).0 },
        });
    }

    fn problem(&mut self, (line, column): (u64, u64), field: &str, message: String) {
        self.problems.push(Problem { file: self.file.to_owned(), line, column, field: field.to_owned(), message });
    }
}

/// A name becomes part of a file's name: letters, digits, `-`, `.` and nothing that leads out of the folder.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    name.bytes().all(allowed) && !name.starts_with('.')
}

/// The documents of a file and the lines where they begin. Each document is padded with empty lines, so that the positions in its errors
/// are those of the file; one that is broken does not hide the others.
fn split(text: &str) -> Vec<(u64, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in (1_u64..).zip(text.split_inclusive('\n')) {
        let separates =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if separates {
            documents.push((number + 1, "\n".repeat(usize::try_from(number).unwrap_or(0))));
        } else if let Some((_, document)) = documents.last_mut() {
            document.push_str(line);
        }
    }
    documents.retain_mut(|(line, document)| {
        // Not the comments before it: the line of its first word.
        let is_content = |line: &str| !line.trim().is_empty() && !line.starts_with('#');
        let first = (1_u64..).zip(document.lines()).find(|(_, text)| is_content(text));
        *line = first.map_or(*line, |(number, _)| number);
        first.is_some()
    });
    documents
}
