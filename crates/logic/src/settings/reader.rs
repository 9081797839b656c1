//! Reads loosely typed values with their path, so that an error says where it is, what was expected and what was found.

use serde_json::{Map, Value};

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: expected {expected}, got {found}")]
pub struct SettingsError {
    /// Where in the module entry.
    pub path: String,
    /// What would be right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    value: Option<&'a Value>,
    path: String,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(path: impl Into<String>, value: Option<&'a Value>) -> Self {
        Self { value: value.filter(|value| !value.is_null()), path: path.into() }
    }

    pub(crate) fn key(&self, key: &str) -> Reader<'a> {
        let value = self.value.and_then(|value| value.get(key));
        Reader::new(format!("{}.{key}", self.path), value)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.value.is_some()
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Any scalar as text: users write ports and names with and without quotes.
    pub(crate) fn text(&self) -> Result<Option<String>, SettingsError> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
            Some(_) => Err(self.error("text")),
        }
    }

    /// Text that is not empty.
    pub(crate) fn name(&self) -> Result<Option<String>, SettingsError> {
        Ok(self.text()?.filter(|text| !text.is_empty()))
    }

    pub(crate) fn flag(&self) -> Result<bool, SettingsError> {
        match self.value {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => match text.as_str() {
                "true" | "on" => Ok(true),
                "false" | "off" | "" => Ok(false),
                _ => Err(self.error("true or false")),
            },
            Some(_) => Err(self.error("true or false")),
        }
    }

    /// A count, such as of replicas.
    pub(crate) fn count(&self) -> Result<Option<u32>, SettingsError> {
        let Some(text) = self.name()? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| self.error("a whole number"))
    }

    /// The value as it is written.
    pub(crate) fn value(&self) -> Option<&'a Value> {
        self.value
    }

    pub(crate) fn port(&self) -> Result<u16, SettingsError> {
        self.text()?
            .and_then(|text| text.trim().parse::<u16>().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| self.error("a port number from 1 to 65535"))
    }

    pub(crate) fn list(&self) -> Result<Vec<Reader<'a>>, SettingsError> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items
                .iter()
                .enumerate()
                .map(|(position, item)| Reader::new(format!("{}[{position}]", self.path), Some(item)))
                .collect()),
            Some(_) => Err(self.error("a list")),
        }
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, SettingsError> {
        let items = self.list()?;
        items.iter().map(|item| item.name()?.ok_or_else(|| item.error("text that is not empty"))).collect()
    }

    pub(crate) fn map(&self) -> Result<Option<&'a Map<String, Value>>, SettingsError> {
        match self.value {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(_) => Err(self.error("a map")),
        }
    }

    pub(crate) fn error(&self, expected: &str) -> SettingsError {
        let found = self.value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        SettingsError { path: self.path.clone(), expected: expected.to_owned(), found }
    }
}
