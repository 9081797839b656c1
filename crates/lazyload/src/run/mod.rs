//! Owns one composition root for each command.
//! Never decides and never parses: it wires the verb folders to the decisions and waits for the end.
//! Next: the command that interests you.

mod analyze;
mod boot;
mod break_glass;
mod completions;
mod controller;
mod crds;
mod demo;
mod doctor;
pub mod engine;
mod explain;
mod export;
pub mod global_sidecar;
mod graph;
mod install;
mod logs;
mod recommend;
mod reload;
mod render;
mod replica;
mod reset;
mod savings;
mod self_check;
mod status;
mod top;
#[cfg(test)]
mod traced;
mod uninstall;

use crate::cli::Command;

/// Runs a command to its end.
///
/// # Errors
/// Whatever ended it, with the object or file that it is about.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Controller(args) => block_on(controller::run(args)),
        Command::Boot(args) => block_on(boot::run(args)),
        Command::InstallYaml(args) => install::run(&args),
        Command::GlobalSidecar => block_on_loop(global_sidecar::run()),
        Command::Crds(args) if args.apply => block_on(crds::apply()),
        Command::Crds(_) => crds::run(),
        Command::Uninstall(args) => block_on(uninstall::run(args)),
        Command::Render(args) => render::run(&args),
        Command::Status(args) => block_on(status::run(args)),
        Command::Analyze(args) => block_on(analyze::run(args)),
        Command::Explain(args) => block_on(explain::run(args)),
        Command::Doctor(args) => block_on(doctor::run(args)),
        Command::Top(args) => block_on(top::run(args)),
        Command::BreakGlass(args) => block_on(break_glass::run(args)),
        Command::Recommend(args) => block_on(recommend::run(args)),
        Command::Reset(args) => block_on(reset::run(args)),
        Command::Savings(args) => block_on(savings::run(args)),
        Command::Graph(args) => block_on(graph::run(args)),
        Command::Export(args) => block_on(export::run(args)),
        Command::Simulate(args) => demo::simulate(&args),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Runs a long-running command on every core.
fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}

/// The same for one that deals its connections out to event loops itself; this is the first of them.
fn block_on_loop(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}
