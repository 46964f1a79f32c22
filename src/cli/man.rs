//! `serin man`: the manual page, as one document or one page per command.

use super::output;
use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  serin man | man -l -
  serin man --dir ~/.local/share/man/man1")]
pub struct Arguments {
    /// Write one page per command into this folder, which is created if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the page of all commands to standard output, or the pages into a folder.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut command = super::Arguments::command().disable_help_subcommand(true);
    command.build();
    match &arguments.dir {
        None => {
            let mut document = page(&command)?;
            for subcommand in command.get_subcommands() {
                document.push_str(&chapter(subcommand)?);
            }
            output::write(document.as_bytes())?;
        }
        Some(folder) => {
            let unwritable = || format!("can not write into {}", folder.display());
            fs::create_dir_all(folder).with_context(unwritable)?;
            for command in std::iter::once(&command).chain(command.get_subcommands()) {
                let path = folder.join(format!("{}.1", name(command)));
                fs::write(path, page(command)?).with_context(unwritable)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a command's page, such as `serin-run`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of one command.
fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    Ok(text(&page) + &notes(command)?)
}

/// What is said of a subcommand in the page of all: its sections, one level down.
fn chapter(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone());
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    let sections = text(&sections) + &notes(command)?;
    let title = name(command).replace('-', " ").to_uppercase();
    Ok(format!(".SH \"{title}\"\n") + &sections.replace(".SH ", ".SS "))
}

/// The examples and what stands beside them, line by line as they were written.
fn notes(command: &Command) -> io::Result<String> {
    let mut section = Vec::new();
    Man::new(command.clone()).render_extra_section(&mut section)?;
    Ok(match text(&section).split_once(".SH EXTRA\n") {
        Some((_, lines)) => format!(".SH NOTES\n.nf\n{lines}.fi\n"),
        None => String::new(),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
