//! Running programs to their end.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a program and returns its standard output.
///
/// # Errors
/// The program cannot be started or ends with a failure; the error has its standard error.
pub fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[S]) -> anyhow::Result<String> {
    run_with_input(program, arguments, "")
}

/// Runs a program with this standard input and returns its standard output.
///
/// # Errors
/// As [`run`].
pub fn run_with_input<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[S],
    input: &str,
) -> anyhow::Result<String> {
    let shown = || {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        format!("{} {}", program.as_ref().to_string_lossy(), arguments.join(" "))
    };
    let mut child = Command::new(program.as_ref())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| anyhow::anyhow!("{}: {error}", shown()))?;
    let mut stdin = child.stdin.take();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.as_mut().map(|stdin| stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output()?;
    let written = writer.join();
    anyhow::ensure!(
        output.status.success(),
        "{}: {}: {}",
        shown(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    anyhow::ensure!(written.is_ok(), "{}: its input could not be written", shown());
    Ok(String::from_utf8(output.stdout)?)
}
