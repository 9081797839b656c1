//! Programs that write to a log.

use std::fs::File;
use std::path::Path;

use lazyload_bench_common::process::Running;
use tokio::process::Command;

/// Starts a program whose output goes to the end of a file.
pub fn start(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, String)],
    log: &Path,
) -> anyhow::Result<Running> {
    let output = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    command.stdout(output.try_clone()?).stderr(output);
    Running::start(command)
}
