//! Log lines in a file that is rotated. Source: contract 1.6 (`log.logRotateConfig`), D7, 6.5.

use serde_json::{Value, json};

use super::reader::{Reader, SettingsError};

/// Where log lines go instead of standard output, and what is kept of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// The file that is written: an absolute path.
    pub path: String,
    /// A file that would grow beyond this is put aside, in MiB.
    pub max_size_mb: u32,
    /// Files put aside that are kept at most.
    pub max_backups: u32,
    /// Files put aside are kept for so many days at most.
    pub max_age_days: u32,
    /// Files put aside are compressed with gzip.
    pub compress: bool,
}

impl Default for LogFile {
    fn default() -> Self {
        Self {
            path: "/tmp/log/slime.log".to_owned(),
            max_size_mb: 100,
            max_backups: 10,
            max_age_days: 10,
            compress: true,
        }
    }
}

impl LogFile {
    /// The folder of the file.
    #[must_use]
    pub fn folder(&self) -> &str {
        match self.path.rsplit_once('/') {
            Some(("", _)) | None => "/",
            Some((folder, _)) => folder,
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let Self { path, max_size_mb, max_backups, max_age_days, compress } = self;
        json!({
            "filePath": path, "maxSizeMB": max_size_mb, "maxBackups": max_backups, "maxAgeDay": max_age_days, "compress": compress,
        })
    }
}

/// Reads `global.log`; `None` means standard output. What is absent, empty or 0 has its default, one by one.
pub(super) fn read(log: &Reader<'_>) -> Result<Option<LogFile>, SettingsError> {
    if !log.key("logRotate").flag()? {
        return Ok(None);
    }
    let config = log.key("logRotateConfig");
    config.map()?;
    let default = LogFile::default();
    let count = |key: &str, default: u32| -> Result<u32, SettingsError> {
        Ok(config.key(key).count()?.filter(|count| *count != 0).unwrap_or(default))
    };
    Ok(Some(LogFile {
        path: path(&config.key("filePath"))?.unwrap_or(default.path),
        max_size_mb: count("maxSizeMB", default.max_size_mb)?,
        max_backups: count("maxBackups", default.max_backups)?,
        max_age_days: count("maxAgeDay", default.max_age_days)?,
        compress: if config.key("compress").is_set() { config.key("compress").flag()? } else { default.compress },
    }))
}

/// What is odd about `global.log`.
pub(super) fn warnings(log: &Reader<'_>) -> Result<Option<String>, SettingsError> {
    let idle = log.key("logRotateConfig").is_set() && !log.key("logRotate").flag()?;
    Ok(idle.then(|| "global.log.logRotateConfig has no effect: global.log.logRotate is not true".to_owned()))
}

fn path(reader: &Reader<'_>) -> Result<Option<String>, SettingsError> {
    let Some(path) = reader.name()? else { return Ok(None) };
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if path.strip_prefix('/').is_some_and(|rest| !rest.split('/').any(odd)) {
        return Ok(Some(path));
    }
    Err(reader.error("the absolute path of a file, without . and .., such as /tmp/log/slime.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(log: &Value) -> Result<Option<LogFile>, String> {
        read(&Reader::new("global.log", Some(log))).map_err(|error| error.to_string())
    }

    fn config(config: &Value) -> LogFile {
        read_of(&json!({"logRotate": true, "logRotateConfig": config})).unwrap().unwrap()
    }

    #[test]
    fn without_log_rotate_lines_go_to_standard_output_whatever_else_is_said() {
        assert_eq!(read_of(&json!({})), Ok(None));
        let idle = json!({"logRotateConfig": {"maxBackups": 3}});
        assert_eq!(read_of(&idle), Ok(None));
        let warning = warnings(&Reader::new("global.log", Some(&idle))).unwrap();
        assert_eq!(
            warning.as_deref(),
            Some("global.log.logRotateConfig has no effect: global.log.logRotate is not true")
        );
    }

    #[test]
    fn each_value_has_its_default_alone_and_so_has_zero() {
        assert_eq!(read_of(&json!({"logRotate": true})), Ok(Some(LogFile::default())));
        assert_eq!(
            config(&json!({"filePath": "", "maxSizeMB": 0, "maxBackups": 0, "maxAgeDay": 0})),
            LogFile::default()
        );
        let default = LogFile::default;
        assert_eq!(
            config(&json!({"filePath": "/logs/a.log"})),
            LogFile { path: "/logs/a.log".to_owned(), ..default() }
        );
        assert_eq!(config(&json!({"maxSizeMB": "7"})), LogFile { max_size_mb: 7, ..default() });
        assert_eq!(config(&json!({"maxBackups": 3})), LogFile { max_backups: 3, ..default() });
        assert_eq!(config(&json!({"maxAgeDay": 1})), LogFile { max_age_days: 1, ..default() });
        assert_eq!(config(&json!({"compress": false})), LogFile { compress: false, ..default() });
    }

    #[test]
    fn a_path_is_absolute_and_has_no_detours() {
        for path in ["slime.log", "/logs/", "/", "/logs/../etc/passwd", "//logs/a.log"] {
            let error = read_of(&json!({"logRotate": true, "logRotateConfig": {"filePath": path}})).unwrap_err();
            assert!(error.starts_with("global.log.logRotateConfig.filePath: expected the absolute path"), "{error}");
        }
        assert_eq!(LogFile { path: "/a.log".to_owned(), ..LogFile::default() }.folder(), "/");
        assert_eq!(LogFile::default().folder(), "/tmp/log");
    }

    #[test]
    fn counts_are_whole_numbers() {
        let error = read_of(&json!({"logRotate": true, "logRotateConfig": {"maxSizeMB": -1}})).unwrap_err();
        assert_eq!(error, "global.log.logRotateConfig.maxSizeMB: expected a whole number, got -1");
    }
}
