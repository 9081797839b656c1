//! `lazyload export`: fences and Sidecars to keep.

use std::io::Write;

use lazyload_logic::report::{Exported, export};

use crate::ask::fetch;
use crate::cli::{ExportArgs, ExportedKind};
use crate::documents;

/// Prints them as YAML.
///
/// # Errors
/// They cannot be fetched.
pub async fn run(args: ExportArgs) -> anyhow::Result<()> {
    let asked = fetch(args.source.mesh.as_deref(), args.source.namespace.as_deref()).await?;
    let what = match args.what {
        ExportedKind::Fences => Exported::Fences,
        ExportedKind::Sidecars => Exported::Sidecars,
    };
    let objects = export(what, &asked.fences, &asked.sidecars);
    if objects.is_empty() {
        writeln!(std::io::stderr(), "lazyload: there are none")?;
        return Ok(());
    }
    std::io::stdout().lock().write_all(documents::write(&objects)?.as_bytes())?;
    Ok(())
}
