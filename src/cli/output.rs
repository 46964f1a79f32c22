//! What commands write, and how a command ends.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// The exit code of bad usage and of bad configuration.
pub const BAD_INPUT: u8 = 2;

/// Writes to standard output; whoever reads it may have left, which is no error.
pub fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes to standard error; nobody could be told that this failed.
pub fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
}

/// Says what is wrong with how the command was called.
pub fn bad_input(message: &str) -> ExitCode {
    complain(&format!("error: {message}\n"));
    ExitCode::from(BAD_INPUT)
}

/// Whether text for this stream may be coloured: it is a terminal and nobody asked for none
/// (<https://no-color.org>).
pub fn may_colour(stream: &impl IsTerminal) -> bool {
    let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !asked_for_none
}
