//! The page: a table for each benchmark, against its aim, and plots.

mod growth;
mod plot;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;

use crate::churn::Churned;
use crate::cold::Cold;
use crate::direct::Direct;
use crate::ingest::Ingested;
use crate::istio::Measured;

#[derive(Args)]
pub struct Arguments {
    /// Folder with `cold-start.json`, `cold-start-pods.json`, `churn.json`, `ingest.json`, `istio.json` and `direct.json`; what is missing has no table.
    #[arg(long)]
    from: PathBuf,
    /// Folder for the plots; links of the page go to its name.
    #[arg(long)]
    plots: PathBuf,
    /// Where the page goes.
    #[arg(long)]
    page: PathBuf,
    /// A text with which the page begins.
    #[arg(long)]
    preface: PathBuf,
    /// The page on larger meshes, whose measured part is written anew.
    #[arg(long)]
    scale: PathBuf,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    fs::create_dir_all(&arguments.plots)?;
    let mut page = fs::read_to_string(&arguments.preface)?;
    let plots = Plots { folder: &arguments.plots };
    if let Some(sizes) = read::<Vec<Cold>>(&arguments.from, "cold-start")? {
        page += &tables::cold(&sizes);
        let services =
            |of: fn(&Cold) -> f64| sizes.iter().map(|size| (size.services as f64, of(size))).collect::<Vec<_>>();
        page += &plots.lines(
            "cold-start",
            "seconds until every Sidecar is in its last form, by Services",
            &[
                (
                    "the controller, in one step",
                    services(|size| middle(size.fastest.iter().map(|start| start.settled_seconds))),
                ),
                ("a loop that applies the same", services(|size| middle(size.apply_loop.iter().copied()))),
            ],
        )?;
        let more_pods = read::<Vec<Cold>>(&arguments.from, "cold-start-pods")?;
        let all: Vec<&Cold> = sizes.iter().chain(more_pods.iter().flatten()).collect();
        growth::fill(&arguments.scale, &growth::tables(&all))?;
        page += &plots.lines(
            "memory",
            "MiB of the controller at rest, by Services with five pods each",
            &[
                ("resident", services(|size| middle(size.lossless.iter().map(|start| start.memory_mib)))),
                ("at most", services(|size| middle(size.lossless.iter().map(|start| start.peak_mib)))),
            ],
        )?;
    }
    if let Some(churned) = read::<Churned>(&arguments.from, "churn")? {
        page += &tables::churn(&churned);
    }
    if let Some(ingested) = read::<Ingested>(&arguments.from, "ingest")? {
        page += &tables::ingest(&ingested);
    }
    if let Some(measured) = read::<Measured>(&arguments.from, "istio")? {
        page += &tables::saved(&measured.saved);
        page += &tables::bursts(&measured.bursts);
        let bursts = |fences: usize| {
            let of = measured.bursts.iter().filter(|burst| burst.fences == fences);
            of.map(|burst| (burst.hosts as f64, middle(burst.contexts.iter().copied()))).collect::<Vec<_>>()
        };
        page += &plots.lines(
            "bursts",
            "istiod's rounds of pushing, by hosts learned at once",
            &[("1 fence", bursts(1)), ("50 fences", bursts(50))],
        )?;
    }
    if let Some(direct) = read::<Direct>(&arguments.from, "direct")? {
        page += &tables::direct(&direct);
    }
    fs::write(&arguments.page, page).with_context(|| arguments.page.display().to_string())
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> anyhow::Result<Option<T>> {
    let path = folder.join(name).with_extension("json");
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)?;
    Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?))
}

fn middle(values: impl IntoIterator<Item = f64>) -> f64 {
    lazyload_bench_common::Spread::of(values).median
}

struct Plots<'a> {
    folder: &'a Path,
}

impl Plots<'_> {
    /// Draws, and returns the link to it.
    fn lines(&self, name: &str, title: &str, series: &[(&str, Vec<(f64, f64)>)]) -> anyhow::Result<String> {
        if series.iter().all(|(_, points)| points.len() < 2) {
            return Ok(String::new());
        }
        let path = self.folder.join(name).with_extension("svg");
        plot::lines(&path, title, series).with_context(|| path.display().to_string())?;
        let folder = self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(format!("\n![{title}]({folder}/{name}.svg)\n"))
    }
}
