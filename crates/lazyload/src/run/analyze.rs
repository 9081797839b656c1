//! `lazyload analyze`: what is wrong, and what to do.

use anyhow::bail;
use lazyload_logic::state::analyze::{Finding, PeerAuthentications, Severity};

use crate::ask::{World, peer_authentications, print, table, world};
use crate::cli::AnalyzeArgs;

/// Prints the findings.
///
/// # Errors
/// What it needs cannot be fetched; something is wrong that fails requests.
pub async fn run(args: AnalyzeArgs) -> anyhow::Result<()> {
    let World { state, unix_seconds } = world(&args.from).await?;
    let peers =
        if args.from.source.mesh.is_none() { peer_authentications().await? } else { PeerAuthentications::default() };
    let mut findings = state.analyze(&peers, unix_seconds);
    if let Some(namespace) = &args.from.source.namespace {
        findings.retain(|finding| finding.object.contains(&format!(" {namespace}/")));
    }
    print(&findings, args.output, |findings, wide| told(findings, wide))?;
    match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
        0 => Ok(()),
        1 => bail!("1 error was found"),
        several => bail!("{several} errors were found"),
    }
}

fn told(findings: &[Finding], wide: bool) -> std::io::Result<String> {
    if findings.is_empty() {
        return Ok("Nothing is wrong.\n".to_owned());
    }
    let mut header = vec!["SEVERITY", "CODE", "OBJECT", "WHAT"];
    if wide {
        header.push("WHAT TO DO");
    }
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| {
            let mut cells = vec![
                finding.severity.name().to_owned(),
                finding.code.name().to_owned(),
                finding.object.clone(),
                finding.message.clone(),
            ];
            if wide {
                cells.push(finding.remedy.clone());
            }
            cells
        })
        .collect();
    let more = if wide { "" } else { "\nWhat to do: -o wide\n" };
    Ok(table(&header, &rows)? + more)
}

#[cfg(test)]
mod tests {
    use lazyload_logic::state::analyze::Code;

    use super::*;

    #[test]
    fn findings_are_told_in_columns_and_none_in_a_sentence() {
        let finding = Finding {
            severity: Severity::Error,
            code: Code::ForeignSidecar,
            object: "ServiceFence default/a".into(),
            message: "what".into(),
            remedy: "do".into(),
        };
        let findings = [finding];
        assert_eq!(
            told(&findings, true).unwrap(),
            "SEVERITY   CODE    OBJECT                   WHAT   WHAT TO DO\nerror      LZ101   ServiceFence default/a   what   do\n"
        );
        assert!(told(&findings, false).unwrap().ends_with("   what\n\nWhat to do: -o wide\n"));
        assert_eq!(told(&[], false).unwrap(), "Nothing is wrong.\n");
    }
}
