//! The command line: one file per command.

pub mod check;
pub mod completions;
pub mod demo;
pub mod explain;
pub mod log;
pub mod man;
pub mod output;
pub mod run;
pub mod schema;
pub mod signals;

use clap::{Parser, Subcommand, ValueEnum};
use std::process::ExitCode;

/// A gray-release data plane: decides for every request between the stable pool and the canary.
#[derive(Debug, Parser)]
#[command(
    name = "serin",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  serin demo                                  # try it: two upstreams, the proxy, a file to edit
  serin check serin.yaml                      # what is wrong with a configuration
  serin explain -c serin.yaml -H 'cookie: beta=1' http://shop.example.com/cart
  serin run -c serin.yaml                     # serve; the file is watched

Exit codes: 0 fine, 1 ran and failed, 2 bad usage or bad configuration."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, and take in changes of the configuration while serving
    Run(run::Arguments),
    /// Say everything that is wrong with a configuration
    Check(check::Arguments),
    /// Say which pool a request would get, and why
    Explain(explain::Arguments),
    /// Try it: two small upstreams, the proxy in front, and a file to edit while it runs
    Demo(demo::Arguments),
    /// Print the JSON Schema of the configuration
    Schema(schema::Arguments),
    /// Print what a shell needs to complete the command line
    Completions(completions::Arguments),
    /// Print the manual page
    Man(man::Arguments),
}

/// How a command writes its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// Runs the command that the process was started with. Exit code 0: fine; 1: it ran and failed; 2:
/// bad usage or bad configuration.
pub fn main() -> ExitCode {
    let result = match &Arguments::parse().command {
        Command::Run(arguments) => run::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    };
    result.unwrap_or_else(|error| {
        output::complain(&format!("error: {error:#}\n"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Arguments::command().debug_assert();
    }
}
