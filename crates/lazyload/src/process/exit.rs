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
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        // What the API server says, without all the fields that it is said in.
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            words.push(status.message.clone());
            break;
        }
        // Many libraries tell their cause in their own words, too.
        let cause = cause.to_string();
        if !words.iter().any(|told| told.contains(&cause)) {
            words.push(cause);
        }
    }
    words.join(": ")
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

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_is_said_is_told_once_and_of_the_api_server_without_its_fields() {
        let refused = Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = anyhow::Error::from(kube::Error::Api(Box::new(refused))).context("failed to list pods");
        assert_eq!(chain(error.as_ref()), "failed to list pods: pods is forbidden");
        let inner = Err::<(), _>(std::io::Error::other("inner")).context("outer, as inner says");
        assert_eq!(chain(inner.unwrap_err().as_ref()), "outer, as inner says");
        let other = Err::<(), _>(std::io::Error::other("inner")).context("outer").unwrap_err();
        assert_eq!(chain(other.as_ref()), "outer: inner");
    }
}
