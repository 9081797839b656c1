//! From an error to a message and an exit code.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Marks an error as the user's to mend: the process ends with 2 instead of 1.
#[derive(Debug)]
pub struct BadInput(pub String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadInput {}

/// An error with its causes in one line, where its own words say little.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Prints the error's chain to standard error and returns the exit code. A reader that went away (`| head`) is no failure.
#[must_use]
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let written = writeln!(std::io::stderr(), "lazyload: {}", chain(error.as_ref()));
    // The first finds it as a context, the second as a source.
    let bad_input = error.is::<BadInput>() || error.chain().any(<dyn std::error::Error>::is::<BadInput>);
    ExitCode::from(if bad_input && written.is_ok() { 2 } else { 1 })
}
