//! The forwarder beside its peers (`measure`), and under a long mixed load (`soak`).
//!
//! `backend` and `load` are the two ends; `measure` starts them and the proxies as processes of their own, each on its core.

mod backend;
mod http1;
mod load;
mod measure;
mod peers;
mod report;
mod rows;
mod soak;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The forwarder beside its peers, and under a long mixed load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures all peers in interleaved rounds and writes a Markdown table and JSON.
    Measure(measure::Arguments),
    /// Mixed traffic for long, with destinations that die; fails if something leaks or a request is lost.
    Soak(soak::Arguments),
    /// Answers `GET /SIZE` with so many bytes, HTTP/1.1 on one port and HTTP/2 on another; prints both.
    Backend,
    /// Loads one proxy for a while; prints what it saw as JSON.
    Load(load::Arguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Measure(arguments) => measure::run(&arguments).await,
        Command::Soak(arguments) => soak::run(arguments).await,
        Command::Backend => backend::run().await,
        Command::Load(arguments) => load::run(arguments).await,
    }
}
