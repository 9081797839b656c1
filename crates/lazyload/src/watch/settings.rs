//! Reads the settings file, and tells whether it differs from what was read before.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lazyload_api::names;
use lazyload_logic::settings::{Context, Resolved, resolve};

/// A file that holds no settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SettingsFileError {
    path: PathBuf,
    problem: String,
}

/// One module entry of a SlimeBoot in a file, as JSON or YAML.
#[derive(Debug)]
pub struct SettingsFile {
    path: PathBuf,
    context: Context,
    /// Its text when it was read last, or why it could not be read.
    seen: Option<Result<String, ErrorKind>>,
}

impl SettingsFile {
    /// A file that was not read yet. `context` is what is known from outside of it.
    #[must_use]
    pub fn new(path: &Path, context: Context) -> Self {
        Self { path: path.to_owned(), context, seen: None }
    }

    /// Reads the file; `None` if it is as it was. Kubernetes replaces a mounted ConfigMap by swapping a symbolic link, and editors replace
    /// files: comparing the text is right for all of them.
    ///
    /// # Errors
    /// The file cannot be read or used. A missing file at the default place means default settings.
    pub fn read(&mut self) -> Option<Result<Resolved, SettingsFileError>> {
        let read = std::fs::read_to_string(&self.path);
        let now = read.as_ref().map(String::clone).map_err(std::io::Error::kind);
        if self.seen.as_ref() == Some(&now) {
            return None;
        }
        self.seen = Some(now);
        let problem = |problem: String| SettingsFileError { path: self.path.clone(), problem };
        Some(match read {
            Ok(text) => self.resolve(&text).map_err(problem),
            Err(error) if error.kind() == ErrorKind::NotFound && self.path == Path::new(names::DEFAULT_CONFIG_PATH) => {
                self.resolve("{}").map_err(problem)
            }
            Err(error) => Err(problem(format!("failed to read the settings: {error}"))),
        })
    }

    fn resolve(&self, text: &str) -> Result<Resolved, String> {
        let entry = serde_saphyr::from_str::<serde_json::Value>(text);
        let entry = entry.map_err(|error| format!("expected a module entry: {error}"))?;
        resolve(&entry, &self.context).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto_fence(file: &mut SettingsFile) -> Option<Result<bool, String>> {
        let read = file.read()?;
        Some(read.map(|resolved| resolved.settings.auto_fence).map_err(|error| error.problem))
    }

    #[test]
    fn each_form_of_a_file_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cfg");
        let mut file = SettingsFile::new(&path, Context::default());
        assert!(auto_fence(&mut file).unwrap().unwrap_err().starts_with("failed to read the settings"));
        assert_eq!(auto_fence(&mut file), None);
        std::fs::write(&path, "general: {autoFence: true}").unwrap();
        assert_eq!(auto_fence(&mut file), Some(Ok(true)));
        assert_eq!(auto_fence(&mut file), None);
        std::fs::write(&path, "general: {autoFence: perhaps}").unwrap();
        let problem = "general.autoFence: expected true or false, got \"perhaps\"".to_owned();
        assert_eq!(auto_fence(&mut file), Some(Err(problem)));
        assert_eq!(auto_fence(&mut file), None);
    }

    #[test]
    fn a_swapped_link_is_a_new_form() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("one", "{}"), ("two", "general: {autoFence: true}")] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("cfg"), text).unwrap();
        }
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        std::os::unix::fs::symlink("data/cfg", at("cfg")).unwrap();
        let mut file = SettingsFile::new(&at("cfg"), Context::default());
        assert_eq!(auto_fence(&mut file), Some(Ok(false)));
        std::os::unix::fs::symlink("two", at("new")).unwrap();
        std::fs::rename(at("new"), at("data")).unwrap();
        assert_eq!(auto_fence(&mut file), Some(Ok(true)));
    }
}
