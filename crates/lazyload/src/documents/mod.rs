//! Owns YAML as users see it: objects as documents for `kubectl`, and the line of a field that is wrong.
//! Never knows what the objects mean.
//! Next: `lines` for finding a field, `run::render` for the reader.

mod kubectl;
mod lines;

use serde_json::Value;

pub use kubectl::write_like_kubectl;
pub use lines::{Positions, Step, line_of};

/// Documents that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", place.map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default())]
pub struct DocumentError {
    /// Line and column, where they are known.
    place: Option<(u64, u64)>,
    message: String,
}

impl DocumentError {
    fn new(error: &serde_saphyr::Error) -> Self {
        let message = error.without_snippet().to_string();
        let Some(at) = error.location() else { return Self { place: None, message } };
        let (line, column) = (at.line(), at.column());
        // The library says the place after the message, compilers and editors expect it before.
        let message = message.replace(&format!(" at line {line}, column {column}"), "");
        // Advice for programmers.
        let message = message.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
        Self { place: Some((line, column)), message }
    }

    /// Line and column, where they are known.
    #[must_use]
    pub fn position(&self) -> Option<(u64, u64)> {
        self.place
    }

    /// What is wrong, without the place.
    #[must_use]
    pub fn message(&self) -> String {
        self.message.clone()
    }
}

/// Reads all documents of a text; empty ones are left out.
///
/// # Errors
/// The text is not YAML.
pub fn read(text: &str) -> Result<Vec<Value>, DocumentError> {
    let options = serde_saphyr::options! { leading_zero_numbers_as_strings: true, with_snippet: false };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| DocumentError::new(&error))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Reads the only document of a text; nothing for an empty one.
///
/// # Errors
/// The text is not one YAML document.
pub fn read_one(text: &str) -> Result<Option<Value>, DocumentError> {
    Ok(read(text)?.into_iter().next())
}

/// Writes objects as YAML documents. Text that looks like another type is quoted, for readers of YAML 1.1 too.
///
/// # Errors
/// A value that YAML cannot hold.
pub fn write(objects: &[Value]) -> Result<String, serde_saphyr::ser::Error> {
    // A line of JSON stays a line: folding it would hide where its spaces are.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_multiple_with_options(objects, options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_that_looks_like_another_type_is_quoted() {
        for text in [
            "true",
            "on",
            "yes",
            "n",
            "80",
            "0x1f",
            "1e3",
            "null",
            "~",
            "",
            "2026-01-01",
            "12:30",
            "0o17",
            "1_000",
            ".5",
            "*",
            "@a",
        ] {
            let written = write(&[json!({"value": text})]).unwrap();
            let quoted = ["\"", "'"].iter().any(|quote| written.starts_with(&format!("value: {quote}")));
            assert!(quoted, "{written}");
            assert_eq!(read(&written).unwrap(), [json!({"value": text})]);
        }
    }

    #[test]
    fn a_long_line_stays_one_line() {
        let text = "{\"a\": \"".to_owned() + &"word ".repeat(60) + "\"}";
        let written = write(&[json!({"cfg": text})]).unwrap();
        assert_eq!(written.lines().count(), 1);
        assert_eq!(read(&written).unwrap(), [json!({"cfg": text})]);
    }

    #[test]
    fn what_is_not_yaml_is_named_by_line_and_column() {
        assert_eq!(read("a: 1\nb: [\n").unwrap_err().to_string(), "2:4: unclosed bracket '['");
        let twice = read("a: 1\na: 2\n").unwrap_err().to_string();
        assert!(twice.starts_with("2:1: duplicate mapping key: a"), "{twice}");
    }
}
