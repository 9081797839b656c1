//! What the measured sizes come to in a mesh that nothing here can hold: tables for the page on larger meshes.

use std::fs;
use std::path::Path;

use anyhow::Context;
use lazyload_bench_common::{Growth, Sight};

use super::middle;
use crate::cold::{Cold, Start};

/// The mesh that is asked about.
const SERVICES: f64 = 100_000.0;
const PODS: f64 = 1_000_000.0;
/// What is counted by; figures of one Service are too small to be read.
const THOUSAND: f64 = 1_000.0;

const BEGIN: &str = "<!-- Written by `bench/run.sh` from here … -->\n";
const END: &str = "<!-- … to here. -->\n";

/// What is asked of a start, and in which unit.
const FIGURES: [(&str, fn(&Start) -> f64); 4] = [
    ("resident MiB at rest", |start| start.memory_mib),
    ("resident MiB, at most", |start| start.peak_mib),
    ("CPU seconds of a cold start", |start| start.cpu_seconds),
    ("seconds of a cold start, to the last form of the last Sidecar", |start| start.settled_seconds),
];

/// Replaces the measured part of a page.
pub fn fill(page: &Path, measured: &str) -> anyhow::Result<()> {
    let named = || page.display().to_string();
    let text = fs::read_to_string(page).with_context(named)?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{}: no line {BEGIN}", named()))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{}: no line {END}", named()))?;
    fs::write(page, format!("{before}{BEGIN}{measured}{END}{after}")).with_context(named)
}

/// The sizes, and how each figure grows.
pub fn tables(sizes: &[&Cold]) -> String {
    let mut text = "\n| Services | pods | MiB at rest | MiB at most | CPU s | s | writes for each Service |\n|---|---|---|---|---|---|---|\n".to_owned();
    for size in sizes {
        let [rest, most, cpu, seconds] = FIGURES.map(|(_, figure)| figure_of(size, figure));
        let writes = size.lossless_writes.values().sum::<u64>() as f64 / size.services as f64;
        text += &format!(
            "| {} | {} | {rest:.0} | {most:.0} | {cpu:.1} | {seconds:.1} | {writes:.1} |\n",
            size.services, size.pods
        );
    }
    text += "\n| figure | fixed | for 1,000 Services | for 1,000 pods | worst fit | 100,000 Services with 1,000,000 pods |\n|---|---|---|---|---|---|\n";
    for (name, figure) in FIGURES {
        text += &row(name, sizes, figure);
    }
    text.push('\n');
    text
}

fn row(name: &str, sizes: &[&Cold], figure: fn(&Start) -> f64) -> String {
    let sight = |size: &&Cold| Sight {
        services: size.services as f64 / THOUSAND,
        pods: size.pods as f64 / THOUSAND,
        figure: figure_of(size, figure),
    };
    let sights: Vec<Sight> = sizes.iter().map(sight).collect();
    let Some(growth) = Growth::of(&sights) else { return format!("| {name} | one size tells nothing | | | | |\n") };
    let (pods, there) = match growth.pods {
        Some(pods) => (format!("{pods:.2}"), format!("{:.0}", growth.at(SERVICES / THOUSAND, PODS / THOUSAND))),
        None => (
            "in the Services'".to_owned(),
            format!("{:.0}, with as many pods each as above", growth.at(SERVICES / THOUSAND, 0.0)),
        ),
    };
    let worst = 100.0 * growth.off_by(&sights);
    format!("| {name} | {:.1} | {:.2} | {pods} | {worst:.0} % | {there} |\n", growth.fixed, growth.services)
}

fn figure_of(size: &Cold, figure: fn(&Start) -> f64) -> f64 {
    middle(size.lossless.iter().map(figure))
}
