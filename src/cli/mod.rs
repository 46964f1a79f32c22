//! The command line: one file per command.

pub mod run;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A gray-release data plane: decides for every request between the stable pool and the canary.
#[derive(Debug, Parser)]
#[command(name = "serin", version, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve
    Run(run::Arguments),
}

/// Runs the command that the process was started with. Exit code 0: fine; 1: it ran and failed; 2:
/// bad usage or bad configuration.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
    }
}
