//! `lazyload install-yaml`.

use std::io::Write;

use crate::cli::InstallArgs;
use crate::documents;

/// Prints the CRDs and the operator's objects as YAML.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &InstallArgs) -> anyhow::Result<()> {
    let text = documents::write(&lazyload_logic::boot::install_objects(&args.namespace, &args.image)?)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_install_yaml_in_deploy_is_that_of_this_version() {
        let Command::InstallYaml(args) = Cli::parse_from(["lazyload", "install-yaml"]).command else {
            panic!("another command")
        };
        let objects = lazyload_logic::boot::install_objects(&args.namespace, &args.image).unwrap();
        let text = documents::write(&objects).unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/install.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        assert!(
            kept == text,
            "deploy/install.yaml differs from `lazyload install-yaml`: run this test with UPDATE_GOLDEN=1 and review the change"
        );
    }
}
