//! The product's binary, in the profile of the tests.

#![allow(clippy::expect_used, reason = "a test fails by a panic")]

use std::path::PathBuf;
use std::sync::OnceLock;

use super::process::run;

/// Builds the binary if need be, once, and tells where it is.
///
/// # Panics
/// If it cannot be built.
#[must_use]
pub fn lazyload() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

const TOLD_BY_CARGO: [&str; 5] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = super::repository().join("Cargo.toml").display().to_string();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    // The choice of packages and targets of ./test.sh: another one has other features, and compiles the dependencies once more.
    let choice = ["build", "--locked", "--workspace", "--all-targets"];
    let arguments = [&choice[..], &["--profile", profile, "--manifest-path", &manifest]].concat();
    // The variables by which the outer cargo tells this test of itself make build scripts run once more, and all behind them be compiled.
    let told = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let told = told.filter(|name| TOLD_BY_CARGO.iter().any(|prefix| name.starts_with(prefix)));
    let unset: Vec<String> = told.flat_map(|name| ["-u".to_owned(), name]).collect();
    let cargo = cargo.to_string_lossy().into_owned();
    let build: Vec<String> =
        unset.into_iter().chain([cargo]).chain(arguments.iter().map(|it| (*it).to_owned())).collect();
    run("env", &build).expect("the binary is built");
    // This test is PROFILE/deps/outside-HASH.
    let this = std::env::current_exe().expect("the path of this test");
    this.ancestors().nth(2).expect("a target folder").join("lazyload")
}
