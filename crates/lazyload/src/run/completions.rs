//! `lazyload completions`: what lets a shell complete the command line.

use std::io::Write;

use clap_complete::{Shell, generate};

use crate::cli::{self, CompletedShell, CompletionsArgs};

/// Prints it for the name under which the binary was called.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<()> {
    let called = std::env::args_os().next();
    let name = cli::completed_name(called.as_deref());
    std::io::stdout().lock().write_all(&completions(args.shell, name))?;
    Ok(())
}

fn completions(shell: CompletedShell, name: &str) -> Vec<u8> {
    let shell = match shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    // In the memory first: a reader that goes away would be a panic.
    generate(shell, &mut cli::command(None), name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_every_command_under_the_name_that_it_has_there() {
        for shell in [CompletedShell::Bash, CompletedShell::Zsh, CompletedShell::Fish] {
            let script = String::from_utf8(completions(shell, "kubectl-lazyload")).unwrap();
            assert!(script.contains("kubectl-lazyload"), "{script}");
            for command in cli::command(None).get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell:?} {}", command.get_name());
            }
        }
    }
}
