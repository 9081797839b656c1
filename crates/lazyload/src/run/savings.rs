//! `lazyload savings`: what Sidecars spare their proxies.

use lazyload_logic::state::savings::{Basis, Kilobytes, Saving, Savings};

use crate::ask::{World, print, table, world};
use crate::cli::SavingsArgs;

const HEADER: [&str; 7] = ["NAMESPACE", "NAME", "PODS", "CLUSTERS", "ENDPOINTS", "PER PROXY", "SAVED"];

/// Prints them.
///
/// # Errors
/// What it needs cannot be fetched.
pub async fn run(args: SavingsArgs) -> anyhow::Result<()> {
    let World { state, .. } = world(&args.from).await?;
    let mut savings = state.savings();
    if let Some(namespace) = &args.from.source.namespace {
        savings = savings.of(namespace);
    }
    print(&savings, args.output, told)
}

fn told(savings: &Savings, wide: bool) -> std::io::Result<String> {
    if savings.workloads.is_empty() {
        let none = "Nothing is saved: no ServiceFence hides anything, and no Service would get one. Label one slime.io/serviceFenced=true, or \
                    try general.autoFence and general.defaultFence by --config FILE; a folder needs its Namespaces.\n";
        return Ok(none.to_owned());
    }
    let mut header = HEADER.to_vec();
    if wide {
        header.push("BASIS");
    }
    let rows: Vec<Vec<String>> = savings.workloads.iter().map(|saving| row(saving, wide)).collect();
    let all = format!(
        "\n{} saved in all (pods: {}), if a cluster takes 45 to 75 kB and an endpoint 0.25 kB.\n",
        megabytes(savings.saved),
        savings.pods
    );
    Ok(table(&header, &rows)? + &all)
}

fn row(saving: &Saving, wide: bool) -> Vec<String> {
    let of = |with: usize, without: usize| format!("{with} of {without}");
    let mut cells = vec![
        saving.namespace.clone(),
        saving.name.clone(),
        saving.pods.to_string(),
        of(saving.with.clusters, saving.without.clusters),
        of(saving.with.endpoints, saving.without.endpoints),
        megabytes(saving.saved_per_proxy),
        megabytes(saving.saved),
    ];
    if wide {
        let basis = match saving.basis {
            Basis::Sidecar => "sidecar",
            Basis::Fence => "fence",
            Basis::Service => "service",
        };
        cells.push(basis.to_owned());
    }
    cells
}

/// A range, of megabytes with one digit behind the point while it is small.
fn megabytes(saved: Kilobytes) -> String {
    let number = |kilobytes: u64| match kilobytes {
        ..10_000 => format!("{}.{}", kilobytes / 1_000, kilobytes % 1_000 / 100),
        _ => (kilobytes / 1_000).to_string(),
    };
    if saved == Kilobytes::default() {
        "0 MB".to_owned()
    } else {
        format!("{}-{} MB", number(saved.low), number(saved.high))
    }
}

#[cfg(test)]
mod tests {
    use lazyload_logic::index::Load;

    use super::*;

    fn savings() -> Savings {
        let saved = Kilobytes { low: 9_450, high: 15_750 };
        let saving = Saving {
            namespace: "default".into(),
            name: "a".into(),
            basis: Basis::Fence,
            pods: 1,
            with: Load { clusters: 12, endpoints: 9 },
            without: Load { clusters: 222, endpoints: 209 },
            saved_per_proxy: saved,
            saved,
        };
        Savings { workloads: vec![saving], pods: 1, saved }
    }

    #[test]
    fn savings_are_told_in_columns_and_summed_up() {
        assert_eq!(
            told(&savings(), true).unwrap(),
            "NAMESPACE   NAME   PODS   CLUSTERS    ENDPOINTS   PER PROXY   SAVED       BASIS\n\
             default     a      1      12 of 222   9 of 209    9.4-15 MB   9.4-15 MB   fence\n\n\
             9.4-15 MB saved in all (pods: 1), if a cluster takes 45 to 75 kB and an endpoint 0.25 kB.\n"
        );
    }

    #[test]
    fn where_nothing_is_saved_it_says_what_would_change_that() {
        let none = Savings { workloads: Vec::new(), pods: 0, saved: Kilobytes::default() };
        assert!(told(&none, false).unwrap().contains("slime.io/serviceFenced=true"));
        assert_eq!(megabytes(none.saved), "0 MB");
    }
}
