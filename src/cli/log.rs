//! The log of a process that serves: what is written to standard error, and how.

use super::output;
use clap::ValueEnum;
use std::io;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged to standard error, and how.
#[derive(Debug, clap::Args)]
pub struct Log {
    /// What is logged: error, warn, info, debug or trace, also per module
    /// (`info,serin::upstream=debug`)
    #[arg(long, env = "SERIN_LOG", default_value = "info", value_parser = filter, value_name = "FILTER")]
    log: String,

    /// How a log line is written; by default text on a terminal, else json
    #[arg(long, env = "SERIN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// For programs, an object a line
    Json,
}

impl Log {
    /// Begins to log.
    pub fn start(&self) -> anyhow::Result<()> {
        let terminal = io::IsTerminal::is_terminal(&io::stderr());
        let automatic = if terminal { LogFormat::Text } else { LogFormat::Json };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(&self.log)?)
            .with_writer(io::stderr)
            .with_ansi(output::may_colour(&io::stderr()))
            // A reader of the log who left is no reason to panic.
            .log_internal_errors(false);
        match self.log_format.unwrap_or(automatic) {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
        Ok(())
    }
}

/// Begins to log short lines for a person who watches: changes of the configuration and warnings.
pub fn start_for_watching() {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("warn,serin::config::reload=info"))
        .with_writer(io::stderr)
        .with_ansi(output::may_colour(&io::stderr()))
        .without_time()
        .with_target(false)
        .log_internal_errors(false)
        .init();
}

/// A filter that says what its author meant: a misspelt level would count as the name of a module,
/// and silence all others.
fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map_err(|error| error.to_string())?;
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let spans = text.contains('[');
    match text
        .split(',')
        .map(str::trim)
        .find(|part| !spans && !part.contains('=') && !part.contains("::") && !is_level(part))
    {
        Some(part) => Err(format!(
            "`{part}` is no level: write error, warn, info, debug, trace or off, or MODULE=LEVEL"
        )),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_misspelt_level_is_refused() {
        for right in ["info", "INFO", "off", "warn,serin::proxy=debug", "info,hyper=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
        for wrong in ["inof", "info, hyper=trace", "", "warn,", "serin=loud", "info,hyper"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
