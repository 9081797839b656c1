//! Log lines, with a level and a destination that can change while the process runs.

use std::io::IsTerminal;

use lazyload_logic::settings::LogFile;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use super::log_file::Output;

/// Changes the level of a running process.
#[derive(Clone, Debug)]
pub struct LevelHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// A level that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("log level {level:?}: expected trace, debug, info, warn, error, fatal or panic")]
pub struct LevelError {
    level: String,
}

/// Starts logging to standard output at a level in the original's words.
///
/// # Errors
/// The level is none of them, or logging was started before.
pub fn start(level: &str) -> anyhow::Result<LevelHandle> {
    Ok(start_to(level, None)?.0)
}

/// As [`start`], to a file where one is given; the output can be changed later.
///
/// # Errors
/// The level is none of them, or logging was started before.
pub fn start_to(level: &str, file: Option<&LogFile>) -> anyhow::Result<(LevelHandle, Output)> {
    let output = Output::default();
    output.set(file);
    // Colours are for people who look on.
    let colours = file.is_none() && std::io::stdout().is_terminal();
    let (filter, handle) = reload::Layer::new(filter(level)?);
    tracing_subscriber::registry()
        .with(filter)
        .with(fmt::layer().with_ansi(colours).with_writer(output.clone()))
        .try_init()?;
    Ok((LevelHandle { filter: handle }, output))
}

/// Starts logging to standard error, for commands whose standard output is what their user asked for.
///
/// # Errors
/// The level is none of those that [`start`] takes, or logging was started before.
pub fn start_on_stderr(level: &str) -> anyhow::Result<()> {
    let lines = fmt::layer().with_writer(std::io::stderr);
    Ok(tracing_subscriber::registry().with(filter(level)?).with(lines).try_init()?)
}

impl LevelHandle {
    /// Changes the level.
    ///
    /// # Errors
    /// The level is none of those that [`start`] takes.
    pub fn set(&self, level: &str) -> anyhow::Result<()> {
        self.filter.reload(filter(level)?)?;
        tracing::info!(level, "log level changed");
        Ok(())
    }
}

fn filter(level: &str) -> Result<EnvFilter, LevelError> {
    let known = match level {
        "fatal" | "panic" => "error",
        "warning" => "warn",
        "trace" | "debug" | "info" | "warn" | "error" => level,
        _ => return Err(LevelError { level: level.to_owned() }),
    };
    // Libraries say at `debug` what concerns only themselves.
    let directives = format!("{known},h2=warn,hyper=warn,hyper_util=warn,rustls=warn,tower=warn,kube_client=warn");
    EnvFilter::try_new(directives).map_err(|_| LevelError { level: level.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_words_are_levels_and_others_are_not() {
        for level in ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert_eq!(
            filter("loud").unwrap_err().to_string(),
            "log level \"loud\": expected trace, debug, info, warn, error, fatal or panic"
        );
    }
}
