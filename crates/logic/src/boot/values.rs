//! Readers for values of Kubernetes' own types that pass through to a pod.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{BootError, Image};
use crate::settings::reader::Reader;

/// A value as it is written, once it has proved to be a `T`; nothing if it is not set.
pub(super) fn checked<T: DeserializeOwned>(reader: &Reader<'_>, expected: &str) -> Result<Option<Value>, BootError> {
    let Some(value) = reader.value() else { return Ok(None) };
    match serde_json::from_value::<T>(value.clone()) {
        Ok(_) => Ok(Some(value.clone())),
        Err(error) => Err(BootError::new(reader.path(), format!("expected {expected}: {error}"))),
    }
}

/// A map, empty if it is not set.
pub(super) fn object<T: DeserializeOwned>(reader: &Reader<'_>, expected: &str) -> Result<Value, BootError> {
    Ok(checked::<T>(reader, expected)?.unwrap_or_else(|| json!({})))
}

/// A list of `T`, empty if it is not set.
pub(super) fn items<T: DeserializeOwned>(reader: &Reader<'_>, expected: &str) -> Result<Vec<Value>, BootError> {
    match checked::<Vec<T>>(reader, expected)? {
        Some(Value::Array(items)) => Ok(items),
        _ => Ok(Vec::new()),
    }
}

/// Labels or annotations: scalars become text, because `true` without quotes is what users write.
pub(super) fn texts_by_key(reader: &Reader<'_>) -> Result<Value, BootError> {
    let mut texts = Map::new();
    for key in reader.map().map_err(BootError::from_reader)?.into_iter().flat_map(Map::keys) {
        let text = reader.key(key).text().map_err(BootError::from_reader)?;
        texts.insert(key.clone(), Value::String(text.unwrap_or_default()));
    }
    Ok(Value::Object(texts))
}

/// An image; what is not set comes from `default`.
pub(super) fn image(reader: &Reader<'_>, default: Option<&Image>) -> Result<Image, BootError> {
    let text = |key: &str| reader.key(key).name().map_err(BootError::from_reader);
    let name = match (text("repository")?, text("tag")?, default) {
        (Some(repository), Some(tag), _) => format!("{repository}:{tag}"),
        (Some(repository), None, _) => repository,
        (None, None, Some(default)) => default.name.clone(),
        (None, Some(_), Some(_)) => {
            let path = format!("{}.repository", reader.path());
            return Err(BootError::new(path, "expected the image's name because there is a tag, got nothing"));
        }
        (None, _, None) => {
            let path = format!("{}.repository", reader.path());
            return Err(BootError::new(path, "expected the image's name without its tag, got nothing"));
        }
    };
    let pull_policy = match text("pullPolicy")?.as_deref() {
        None => default.map_or("Always", |default| &default.pull_policy).to_owned(),
        Some(policy @ ("Always" | "IfNotPresent" | "Never")) => policy.to_owned(),
        Some(other) => {
            let path = format!("{}.pullPolicy", reader.path());
            return Err(BootError::new(path, format!("expected Always, IfNotPresent or Never, got {other:?}")));
        }
    };
    Ok(Image { name, pull_policy })
}

/// The name of a namespace, which may begin with a digit.
pub(super) fn namespace(path: &str, name: &str) -> Result<(), BootError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && name.len() <= 63 && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
    {
        return Ok(());
    }
    let expected =
        "expected a namespace: at most 63 lower-case letters, digits and '-', not beginning or ending with '-'";
    Err(BootError::new(path, format!("{expected}; got {name:?}")))
}

/// The name of an object that is also a DNS label.
pub(super) fn dns_label(path: &str, name: &str) -> Result<(), BootError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !name.starts_with(|c: char| !c.is_ascii_lowercase()) && !name.ends_with('-');
    if !name.is_empty() && name.len() <= 63 && name.chars().all(fits) && ends {
        return Ok(());
    }
    let expected =
        "expected at most 63 lower-case letters, digits and '-', beginning with a letter and not ending with '-'";
    Err(BootError::new(path, format!("{expected}, got {name:?}")))
}
