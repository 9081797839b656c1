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

    /// Path of the kept text, and the text of this version.
    fn generated() -> Vec<(&'static str, String)> {
        let Command::InstallYaml(args) = Cli::parse_from(["lazyload", "install-yaml"]).command else {
            panic!("another command")
        };
        let objects = lazyload_logic::boot::install_objects(&args.namespace, &args.image).unwrap();
        // Helm makes the namespace, and the CRDs of a chart before everything else.
        let (crds, others): (Vec<_>, Vec<_>) =
            objects.iter().cloned().partition(|object| object["kind"] == "CustomResourceDefinition");
        let operator: Vec<_> = others.into_iter().filter(|object| object["kind"] != "Namespace").collect();
        let text = |objects: &[_]| documents::write(objects).unwrap();
        vec![
            ("deploy/crds.yaml", text(&lazyload_logic::boot::crds().unwrap())),
            ("deploy/install.yaml", text(&objects)),
            ("charts/lazyload/crds/crds.yaml", text(&crds)),
            ("charts/lazyload/files/operator.yaml", text(&operator)),
        ]
    }

    #[test]
    fn the_manifests_in_deploy_and_in_the_chart_are_those_of_this_version() {
        for (path, text) in generated() {
            let full = format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&full, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&full).unwrap();
            assert!(
                kept == text,
                "{path} differs from what `lazyload crds` and `lazyload install-yaml` print: run this test with UPDATE_GOLDEN=1 and review the change"
            );
        }
    }
}
