//! `lazyload graph`: who calls whom.

use std::io::Write;

use lazyload_logic::report::{Format, edges, render, reports};

use crate::ask::fetch;
use crate::cli::{GraphArgs, GraphOutput};

/// Prints the dependencies of all fences.
///
/// # Errors
/// They cannot be fetched.
pub async fn run(args: GraphArgs) -> anyhow::Result<()> {
    let asked = fetch(args.source.mesh.as_deref(), args.source.namespace.as_deref()).await?;
    let edges = edges(&reports(&asked.fences, &asked.sidecars));
    let text = match args.output {
        GraphOutput::Text => render(&edges, Format::Text),
        GraphOutput::Dot => render(&edges, Format::Dot),
        GraphOutput::Mermaid => render(&edges, Format::Mermaid),
        GraphOutput::Json => serde_json::to_string_pretty(&edges)? + "\n",
    };
    if edges.is_empty() {
        writeln!(std::io::stderr(), "lazyload: no dependencies are known yet")?;
    }
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
