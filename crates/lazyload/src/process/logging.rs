//! Log lines on standard output.

use tracing_subscriber::EnvFilter;

use crate::process::exit::BadInput;

/// Starts logging at a level in the original's words (trace, debug, info, warn, error, fatal, panic).
///
/// # Errors
/// The level is none of these.
pub fn start(level: &str) -> anyhow::Result<()> {
    let level = match level {
        "fatal" | "panic" => "error",
        "warning" => "warn",
        level @ ("trace" | "debug" | "info" | "warn" | "error") => level,
        other => {
            let expected = "expected trace, debug, info, warn, error, fatal or panic";
            return Err(BadInput(format!("log level {other:?}: {expected}")).into());
        }
    };
    let filter = EnvFilter::try_new(format!("{level},h2=warn,hyper=warn,tower=warn,kube_client=warn"))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_target(true).init();
    Ok(())
}
