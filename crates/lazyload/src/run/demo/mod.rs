//! Owns `lazyload demo` and `lazyload simulate`: the real controller, ledger, access-log server and forwarder around a cluster in a folder.
//! Never stands in for the mesh itself: that is `simulate`; never prints a success that it did not see.
//! Next: `story` for what is told, `parts` for what runs, `preview` for `--mesh`.

mod example;
mod paper;
mod parts;
mod play;
mod preview;
mod replay;
mod settle;
mod story;

#[cfg(test)]
mod tests;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::cli::{DemoArgs, SimulateArgs};
use crate::process::{logging, signals};
use paper::Paper;

/// Runs the demo that the arguments ask for.
///
/// # Errors
/// A file or address cannot be used, or the story did not come out.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let level = std::env::var("LOG_LEVEL").unwrap_or_default();
    logging::start_on_stderr(if level.is_empty() { "warn" } else { &level })
        .context("environment variable LOG_LEVEL")?;
    let shutdown = signals::shutdown()?;
    let mut paper = Paper::for_stdout();
    match (args.mesh.as_deref(), args.access_log.as_deref()) {
        (None, _) => story_of_the_example(&mut paper, args.keep, shutdown).await,
        (Some(directory), None) if args.keep => play::mesh(&mut paper, directory, shutdown).await,
        (Some(directory), log) => preview::run(directory, log),
    }
}

/// Replays an access log around a folder.
///
/// # Errors
/// A file cannot be used.
pub fn simulate(args: &SimulateArgs) -> anyhow::Result<()> {
    preview::run(&args.mesh, Some(&args.access_log))
}

async fn story_of_the_example(paper: &mut Paper, keep: bool, shutdown: CancellationToken) -> anyhow::Result<()> {
    let example = example::Example::write()?;
    let told = tell(paper, &example, keep, shutdown).await;
    let removed = if keep { Ok(()) } else { example.remove() };
    told.and(removed)
}

async fn tell(
    paper: &mut Paper,
    example: &example::Example,
    keep: bool,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let ended = shutdown.clone();
    let mut parts = parts::start(example.directory(), &shutdown.child_token()).await?;
    let told = tokio::select! {
        told = story::tell(paper, &mut parts, example.directory()) => told,
        () = ended.cancelled() => Err(anyhow::anyhow!("ended by a signal before the story was told")),
    };
    if told.is_ok() && keep {
        play::example(paper, &mut parts, example.directory(), ended).await?;
    }
    parts.end().await?;
    told
}
