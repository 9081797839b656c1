//! The binary as somebody at a terminal uses it.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::binary;

/// Runs it to its end. Gives the exit code and what it printed, or, where it printed nothing, what it complained of.
pub fn ask(kubeconfig: &Path, arguments: &[&str]) -> (i32, String) {
    let (code, printed, told) = run(kubeconfig, arguments);
    (code, if printed.is_empty() { told } else { printed })
}

/// Runs it to its end. Gives the exit code and all that it said; what it printed comes first.
pub fn hear(kubeconfig: &Path, arguments: &[&str]) -> (i32, String) {
    let (code, printed, told) = run(kubeconfig, arguments);
    (code, printed + &told)
}

fn run(kubeconfig: &Path, arguments: &[&str]) -> (i32, String, String) {
    let asked = Command::new(binary::lazyload()).args(arguments).env("KUBECONFIG", kubeconfig).output().unwrap();
    let Output { status, stdout, stderr } = asked;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}
