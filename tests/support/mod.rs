//! Owns what the outside views share: waiting, running programs, telling what cannot run here.
//! Never knows Kubernetes objects or the mesh.
//! Next: `apiserver`, `mesh`.

pub mod binary;
pub mod process;
pub mod running;
pub mod waiting;

/// Whether a test can run here; if not, says so loudly, and fails in CI, where everything must run.
///
/// # Panics
/// In CI, if something is missing.
#[must_use]
pub fn can_run(test: &str, missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let message = format!("NOT RUN: {test}: {missing}");
    assert!(std::env::var_os("CI").is_none(), "{message}");
    eprintln!("\n*** {message} ***\n");
    false
}

/// The repository's root.
#[must_use]
pub fn repository() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
