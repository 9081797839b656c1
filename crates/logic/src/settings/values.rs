//! Text that must have a form: what cannot work is refused where it is written, and not found out later.

use super::PodLabel;
use super::reader::{Reader, SettingsError};

/// Log levels, in the original's words.
const LOG_LEVELS: &[&str] = &["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];

const A_NAMESPACE: &str =
    "a namespace: at most 63 lower-case letters, digits and '-', not beginning or ending with '-'";

/// Whether text is a DNS label, such as the name of a namespace.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

/// The name of a namespace.
pub(super) fn namespace(reader: &Reader<'_>) -> Result<Option<String>, SettingsError> {
    let name = reader.name()?;
    if name.as_deref().is_some_and(|name| !is_dns_label(name)) {
        return Err(reader.error(A_NAMESPACE));
    }
    Ok(name)
}

/// A list of namespaces.
pub(super) fn namespaces(list: &Reader<'_>) -> Result<Vec<String>, SettingsError> {
    list.list()?.iter().map(|item| namespace(item)?.ok_or_else(|| item.error(A_NAMESPACE))).collect()
}

/// Comma-separated text, trimmed; empty pieces do not count.
pub(super) fn comma_list(list: &Reader<'_>) -> Result<Option<Vec<String>>, SettingsError> {
    let split =
        |text: String| text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(list.name()?.map(split))
}

/// Comma-separated namespaces.
pub(super) fn comma_namespaces(list: &Reader<'_>) -> Result<Option<Vec<String>>, SettingsError> {
    let names = comma_list(list)?;
    if names.iter().flatten().any(|name| !is_dns_label(name)) {
        return Err(list.error("names of namespaces with commas between them"));
    }
    Ok(names)
}

/// A listener: `HOST:PORT` or `:PORT`.
pub(super) fn listener(reader: &Reader<'_>, default: &str) -> Result<String, SettingsError> {
    let Some(text) = reader.name()? else { return Ok(default.to_owned()) };
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text),
        _ => Err(reader.error(&format!("HOST:PORT or :PORT, such as {default}"))),
    }
}

/// The same, or `off`.
pub(super) fn listener_unless_off(reader: &Reader<'_>, default: &str) -> Result<Option<String>, SettingsError> {
    match reader.name()?.as_deref() {
        // In YAML an `off` without quotes may be a flag.
        Some("off" | "false") => Ok(None),
        _ => listener(reader, default).map(Some),
    }
}

/// A log level.
pub(super) fn log_level(reader: &Reader<'_>) -> Result<String, SettingsError> {
    let level = reader.name()?.unwrap_or_else(|| "info".to_owned());
    if LOG_LEVELS.contains(&level.as_str()) {
        return Ok(level);
    }
    Err(reader.error("trace, debug, info, warn, error, fatal or panic"))
}

/// The key of a label, `NAME` or `PREFIX/NAME`. The error is about `reader`'s value.
pub(super) fn label_key(reader: &Reader<'_>, key: &str) -> Result<String, SettingsError> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let ends =
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    let name_fits = (1..=63).contains(&name.len()) && name.chars().all(inner) && ends;
    let prefix_fits = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    if name_fits && prefix_fits {
        Ok(key.to_owned())
    } else {
        Err(reader.error("a label key such as example.com/name"))
    }
}

/// `KEY` or `KEY:ALIAS`; the alias begins names of fences.
pub(super) fn pod_label(reader: &Reader<'_>) -> Result<Option<PodLabel>, SettingsError> {
    let Some(text) = reader.name()? else { return Ok(None) };
    let (key, alias) = text.split_once(':').unwrap_or((&text, "app"));
    if !is_dns_label(alias) {
        return Err(
            reader.error("LABEL_KEY or LABEL_KEY:ALIAS, where the alias has lower-case letters, digits and '-'")
        );
    }
    Ok(Some(PodLabel { key: label_key(reader, key)?, alias: alias.to_owned() }))
}
