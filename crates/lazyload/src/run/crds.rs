//! `lazyload crds`.

use std::io::Write;

use crate::documents;

/// Prints the CRDs as YAML.
///
/// # Errors
/// Standard output cannot be written.
pub fn run() -> anyhow::Result<()> {
    let text = documents::write(&lazyload_logic::boot::crds()?)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crds_in_deploy_are_those_of_this_version() {
        let text = documents::write(&lazyload_logic::boot::crds().unwrap()).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/crds.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            kept == text,
            "deploy/crds.yaml differs from `lazyload crds`: run this test with UPDATE_GOLDEN=1 and review the change"
        );
    }
}
