//! The programs that packaging is tested with, built or fetched where they are missing.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::apiserver::cluster::cache;
use crate::support::process::run;
use crate::support::{can_run, repository};

/// Helm; `None` if it cannot be had.
pub fn helm(test: &str) -> Option<PathBuf> {
    static HELM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    found(test, HELM.get_or_init(|| program("helm", "helm")))
}

/// ShellCheck; `None` if it cannot be had.
pub fn shellcheck(test: &str) -> Option<PathBuf> {
    static SHELLCHECK: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    found(test, SHELLCHECK.get_or_init(|| program("shellcheck", "shellcheck")))
}

/// promtool, which comes with Prometheus; `None` if it cannot be had.
pub fn promtool(test: &str) -> Option<PathBuf> {
    static PROMTOOL: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    found(test, PROMTOOL.get_or_init(|| program("promtool", "prometheus")))
}

fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    let program = cache().join("bin").join(name);
    if !program.exists() {
        let script = repository().join("testbed/cluster.sh");
        run(script, &["build", "--only", package]).map_err(|error| error.to_string())?;
    }
    Ok(program)
}

fn found(test: &str, program: &Result<PathBuf, String>) -> Option<PathBuf> {
    can_run(test, program.as_ref().err().map(String::as_str)).then(|| program.clone().ok()).flatten()
}
