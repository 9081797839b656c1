//! `lazyload status`: how fences are doing.

use lazyload_logic::report::{FenceReport, Origin, Standing, reports};

use crate::ask::{age, coverage_cells, coverage_told, fetch, print, table};
use crate::cli::StatusArgs;
use crate::process::clock::Clock;

const FENCES: [&str; 10] =
    ["NAMESPACE", "NAME", "ORIGIN", "MODE", "SIDECAR", "HOSTS", "LEARNED", "EXTERNAL", "READY", "REASON"];
/// How well each is known that learns only, and what its condition says.
const WIDE: [&str; 5] = ["OBSERVED", "NEWEST", "SEEN", "TO-FALLBACK", "MESSAGE"];

/// Prints the fences, or one with its dependencies.
///
/// # Errors
/// They cannot be fetched, or the one that is asked for is not there.
pub async fn run(args: StatusArgs) -> anyhow::Result<()> {
    let mut asked = fetch(args.source.mesh.as_deref(), args.source.namespace.as_deref()).await?;
    if let Some(workload) = &args.workload {
        asked.only(workload)?;
    }
    let reports = reports(&asked.fences, &asked.sidecars);
    let one_alone = args.workload.is_some();
    let now = Clock::start().now().unix_seconds;
    print(&reports, args.output, |reports, wide| {
        if one_alone {
            return reports.iter().map(|report| one(report, now)).collect();
        }
        all(reports, wide, now)
    })
}

fn all(reports: &[FenceReport], wide: bool, now: i64) -> std::io::Result<String> {
    if reports.is_empty() {
        return Ok("No ServiceFences. Label a Service slime.io/serviceFenced=true to make one (general.autoFence), or write one.\n".to_owned());
    }
    let mut header = FENCES.to_vec();
    header.push("AGE");
    if wide {
        header.extend(WIDE);
    }
    let rows: Vec<Vec<String>> = reports.iter().map(|report| row(report, wide, now)).collect();
    table(&header, &rows)
}

fn row(report: &FenceReport, wide: bool, now: i64) -> Vec<String> {
    let ready = report.find_condition("Ready");
    let told = |pick: fn(&lazyload_logic::report::Condition) -> &String| {
        ready.map(pick).filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| "-".to_owned())
    };
    let mut cells = vec![
        report.namespace.clone(),
        report.name.clone(),
        origin(report.origin).to_owned(),
        report.mode.clone(),
        sidecar(report),
        report.routed.len().to_string(),
        report.learned().to_string(),
        report.external().to_string(),
        told(|condition| &condition.status),
        told(|condition| &condition.reason),
        age(report.created, now),
    ];
    if wide {
        cells.extend(coverage_cells(report.coverage.as_deref(), now));
        cells.push(told(|condition| &condition.message));
    }
    cells
}

fn one(report: &FenceReport, now: i64) -> std::io::Result<String> {
    let mut text = format!("ServiceFence {}/{} ({})\n", report.namespace, report.name, origin(report.origin));
    text += &format!("Mode: {}\n", report.mode);
    if let Some(coverage) = &report.coverage {
        text += &format!("Coverage: {}\n", coverage_told(coverage, now));
    }
    text += &format!("Sidecar: {}, {} entries\n", sidecar(report), report.routed.len());
    if !report.announced.is_empty() {
        text += &format!("  clusters only: {}\n", report.announced.join(", "));
    }
    for condition in &report.conditions {
        let (kind, status, reason) = (&condition.kind, &condition.status, &condition.reason);
        let message = if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
        text += &format!("{kind}: {status} {reason}{message}\n");
    }
    if report.dependencies.is_empty() {
        return Ok(text + "It depends on nothing yet: what its pods call is learned with the first call.\n");
    }
    let rows: Vec<Vec<String>> = report
        .dependencies
        .iter()
        .map(|dependency| {
            let others: Vec<&str> =
                dependency.brings.iter().map(String::as_str).filter(|host| *host != dependency.host).collect();
            vec![
                dependency.host.clone(),
                dependency.reason.name().to_owned(),
                dependency.evidence.clone().unwrap_or_else(|| "-".to_owned()),
                dependency.state(),
                if others.is_empty() { "-".to_owned() } else { others.join(", ") },
            ]
        })
        .collect();
    Ok(text + "\n" + &table(&["HOST", "WHY", "CALLS", "STATE", "BRINGS BESIDES"], &rows)?)
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Automatic => "automatic",
        Origin::Manual => "manual",
    }
}

fn sidecar(report: &FenceReport) -> String {
    let standing = match report.sidecar {
        Standing::None if !report.enabled => "disabled",
        Standing::None => "none",
        Standing::Foreign => "foreign",
        Standing::Settled => "settled",
        Standing::Switching => "switching",
        Standing::Wide => "wide",
        Standing::Leaving => "leaving",
    };
    standing.to_owned()
}

#[cfg(test)]
mod tests {
    use lazyload_api::service_fence::DomainStatus;
    use lazyload_logic::report::{Condition, Dependency, Reason};

    use super::*;

    fn report() -> FenceReport {
        let host = |name: &str| format!("{name}.default.svc.cluster.local");
        FenceReport {
            namespace: "default".into(),
            name: "productpage".into(),
            origin: Origin::Automatic,
            enabled: true,
            mode: "enforce".into(),
            coverage: None,
            sidecar: Standing::Settled,
            routed: vec!["*/a".into(), "istio-system/*".into()],
            announced: Vec::new(),
            dependencies: vec![
                Dependency {
                    host: host("details"),
                    reason: Reason::Learned,
                    evidence: Some("1".into()),
                    external: false,
                    status: DomainStatus::Active,
                    brings: vec![host("details"), host("details-v2")],
                    unused: None,
                },
                Dependency {
                    host: "x.example".into(),
                    reason: Reason::Learned,
                    evidence: Some("2".into()),
                    external: true,
                    status: DomainStatus::Active,
                    brings: Vec::new(),
                    unused: None,
                },
            ],
            conditions: vec![Condition {
                kind: "Ready".into(),
                status: "True".into(),
                reason: "Applied".into(),
                message: String::new(),
            }],
            created: 1_000,
        }
    }

    #[test]
    fn fences_are_told_in_columns() {
        assert_eq!(
            all(&[report()], false, 1_000 + 7_200).unwrap(),
            "NAMESPACE   NAME          ORIGIN      MODE      SIDECAR   HOSTS   LEARNED   EXTERNAL   READY   REASON    AGE\n\
             default     productpage   automatic   enforce   settled   2       2         1          True    Applied   2h\n"
        );
    }

    #[test]
    fn one_fence_is_told_with_what_it_depends_on_and_why() {
        let text = one(&report(), 0).unwrap();
        assert!(
            text.starts_with(
                "ServiceFence default/productpage (automatic)\nMode: enforce\nSidecar: settled, 2 entries\nReady: True Applied\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("learned   1       active                details-v2.default.svc.cluster.local\n"),
            "{text}"
        );
        assert!(text.contains("learned   2       unknown to the mesh   -\n"), "{text}");
    }

    #[test]
    fn a_fence_that_learns_only_is_told_with_how_well_it_is_known() {
        let coverage =
            serde_json::json!({"since": "1970-01-02T00:00:00Z", "pods": 2, "calls": 1_000, "callsToFallback": 1});
        let coverage = serde_json::from_value(coverage).unwrap();
        let learning = FenceReport { mode: "waiting".into(), coverage: Some(coverage), ..report() };
        let text = one(&learning, 4 * 86_400).unwrap();
        assert!(
            text.contains(
                "Mode: waiting\nCoverage: observed for 3d (since 1970-01-02T00:00:00Z); nothing new learned since; 2 pods seen calling; \
                 1 of 1000 calls (0.100%) would have gone through the global-sidecar\n"
            ),
            "{text}"
        );
        let text = all(&[learning, report()], true, 4 * 86_400).unwrap();
        assert!(
            text.lines().next().unwrap().ends_with("AGE   OBSERVED   NEWEST   SEEN     TO-FALLBACK   MESSAGE"),
            "{text}"
        );
        assert!(text.contains("3d    3d         -        2 pods   0.100%        -\n"), "{text}");
        assert!(text.contains("3d    -          -        -        -             -\n"), "{text}");
    }

    #[test]
    fn an_empty_mesh_says_what_would_make_a_fence() {
        assert!(all(&[], false, 0).unwrap().contains("slime.io/serviceFenced=true"));
    }
}
