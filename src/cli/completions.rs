//! `serin completions`: what a shell needs to complete the command line.

use super::output;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// For which shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin completions bash > ~/.local/share/bash-completion/completions/serin
  serin completions zsh > \"${fpath[1]}/_serin\"
  serin completions fish > ~/.config/fish/completions/serin.fish")]
pub struct Arguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Writes the script to standard output.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "serin", &mut script);
    output::write(&script)?;
    Ok(ExitCode::SUCCESS)
}
