//! `serin run`: serves until told to stop.

use crate::app::{self, Options, StartError, Stop};
use crate::config::render_text;
use anyhow::Context;
use clap::ValueEnum;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// What to serve, and how.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Signals: SIGHUP reads the configuration again. SIGTERM drains: /readyz fails, \
    connections are accepted for drain.delay, then requests in flight finish within drain.timeout. \
    SIGINT drains without the delay; a second SIGTERM or SIGINT ends at once."
)]
pub struct Arguments {
    /// The configuration: a file, or a folder whose *.yaml and *.yml are read as one document
    #[arg(long, short, env = "SERIN_CONFIG", value_name = "PATH")]
    config: PathBuf,

    /// Worker threads; by default one per core that the process may use
    #[arg(long, env = "SERIN_WORKERS", value_name = "NUMBER")]
    workers: Option<usize>,

    #[command(flatten)]
    log: Log,
}

/// What is logged to standard error, and how.
#[derive(Debug, clap::Args)]
pub struct Log {
    /// What is logged: error, warn, info, debug or trace, also per module as in `info,hyper=debug`
    #[arg(long, env = "SERIN_LOG", default_value = "info", value_name = "FILTER")]
    log: String,

    /// How a log line is written; by default text on a terminal, else json
    #[arg(long, env = "SERIN_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Log {
    /// Begins to log.
    pub fn start(&self) -> anyhow::Result<()> {
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log)
            .with_context(|| format!("`{}` is no log filter", self.log))?;
        let terminal = std::io::stderr().is_terminal();
        let format =
            self.log_format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(terminal);
        match format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
        Ok(())
    }
}

/// Serves; the exit code says how it ended.
pub fn run(arguments: &Arguments) -> ExitCode {
    let result = arguments.log.start().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .context("no runtime for the control plane")?;
        runtime.block_on(serve(arguments))
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let options = Options { config: arguments.config.clone(), workers: arguments.workers };
    let mut bound = match app::bind(options).await {
        Ok(bound) => bound,
        Err(StartError::Config(diagnostics)) => {
            let mut stderr = std::io::stderr();
            let _ = write!(stderr, "{}", render_text(&diagnostics));
            return Ok(ExitCode::from(2));
        }
        Err(error) => return Err(error.into()),
    };
    for (name, address) in &bound.addresses {
        tracing::info!(%name, %address, "listening");
    }
    if let Some(address) = *bound.admin.borrow() {
        tracing::info!(%address, "admin listening");
    }
    let mut stopping = false;
    loop {
        let stop = tokio::select! {
            drained = bound.ended() => {
                tracing::info!(drained, "stopped");
                return Ok(ExitCode::SUCCESS);
            }
            _ = hangup.recv() => {
                // A refusal is logged where it is found.
                drop(bound.reload().await);
                continue;
            }
            _ = terminate.recv() => Stop::Gracefully,
            _ = interrupt.recv() => Stop::Soon,
        };
        if std::mem::replace(&mut stopping, true) {
            tracing::warn!("told to stop again: not waiting for requests in flight");
            return Ok(ExitCode::FAILURE);
        }
        bound.stop(stop).await;
    }
}
