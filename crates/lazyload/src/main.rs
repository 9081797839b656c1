//! THE ACTS: the one binary. `cli` reads the command line, `run` composes each command from the verb folders
//! (`watch`, `observe`, `apply`, `lead`, `identify`, `forward`, `admin`, `console`, `ask`, `trace`), which touch the world and decide nothing.
//! Never decides: what should be is computed in `lazyload-logic`.

mod admin;
mod apply;
mod ask;
mod cli;
mod console;
mod documents;
mod folder;
mod forward;
mod identify;
mod lead;
mod observe;
mod process;
mod run;
mod simulate;
mod trace;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::parse(std::env::args_os());
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return process::exit::report(&anyhow::anyhow!("a TLS provider was installed twice"));
    }
    match run::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::exit::report(&error),
    }
}
