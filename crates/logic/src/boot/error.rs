//! What is wrong with a SlimeBoot, by the path of the field.

use crate::settings::SettingsError;

/// A SlimeBoot that no objects can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct BootError {
    /// The field, such as `spec.module[0].general.wormholePort[1]`.
    pub path: String,
    /// What was expected, what was found, what to do.
    pub message: String,
}

impl BootError {
    pub(crate) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// Of a value that is right, but not served yet.
    pub(super) fn unsupported(path: impl Into<String>, what: &str, instead: &str) -> Self {
        Self::new(path, format!("{what} is not supported yet; {instead}"))
    }

    pub(super) fn from_reader(error: SettingsError) -> Self {
        let SettingsError { path, expected, found } = error;
        Self { path, message: format!("expected {expected}, got {found}") }
    }

    /// Settings know their place within the module entry; users look for it in the SlimeBoot.
    pub(super) fn from_settings(error: SettingsError, module_path: &str) -> Self {
        let mut error = Self::from_reader(error);
        error.path = if error.path.starts_with("component") {
            format!("spec.{}", error.path)
        } else if let Some(rest) = error.path.strip_prefix("module") {
            format!("{module_path}{rest}")
        } else {
            format!("{module_path}.{}", error.path)
        };
        error
    }
}
