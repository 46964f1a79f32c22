//! `serin run`: serves until told to stop.

use super::log::Log;
use super::output::{self, BAD_INPUT};
use super::signals::Signals;
use crate::app::{self, Options, StartError};
use crate::config::render_text;
use anyhow::Context;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// What to serve, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signals: SIGHUP reads the configuration again. SIGTERM drains: /readyz fails, connections are
accepted for drain.delay, then requests in flight finish within drain.timeout. SIGINT drains without
the delay; a second SIGTERM or SIGINT ends at once.

Examples:
  serin run --config serin.yaml
  serin run --config /etc/serin/               # a folder, such as a mounted ConfigMap
  SERIN_CONFIG=serin.yaml SERIN_LOG=warn serin run --workers 2")]
pub struct Arguments {
    /// The configuration: a file, or a folder whose *.yaml and *.yml are read as one document; it
    /// is watched, and a change is taken in while serving
    #[arg(long, short, env = "SERIN_CONFIG", value_name = "PATH")]
    config: PathBuf,

    /// Worker threads, 1 to 1024; by default one per core that the process may use
    #[arg(long, env = "SERIN_WORKERS", value_name = "NUMBER",
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,

    /// How the Kubernetes API is reached; by default KUBECONFIG or ~/.kube/config say it, else what
    /// a pod is given
    #[arg(long, env = "SERIN_KUBECONFIG", value_name = "PATH")]
    kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    log: Log,
}

/// Serves; the exit code says how it ended.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.log.start()?;
    let runtime = control()?;
    let result = runtime.block_on(serve(arguments));
    // Whatever still reads a file must not hold up the end.
    runtime.shutdown_background();
    result
}

/// The runtime of the control plane.
pub(super) fn control() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime for the control plane")
}

async fn serve(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let hangup = signal(SignalKind::hangup())?;
    let mut signals = Signals::catch()?;
    let workers = arguments.workers.map(usize::from);
    let kubeconfig = arguments.kubeconfig.clone();
    let options = Options { workers, kubeconfig, ..Options::new(&arguments.config) };
    let bound = tokio::select! {
        bound = Box::pin(app::bind(options)) => bound,
        _ = signals.stop() => return Ok(ExitCode::SUCCESS),
    };
    let mut bound = match bound {
        Ok(bound) => bound,
        Err(StartError::Config(diagnostics)) => {
            output::complain(&render_text(&diagnostics));
            return Ok(ExitCode::from(BAD_INPUT));
        }
        Err(error) => return Err(error.into()),
    };
    for (name, address) in &bound.addresses {
        tracing::info!(%name, %address, "listening");
    }
    if let Some(address) = *bound.admin.borrow() {
        tracing::info!(%address, "admin listening");
    }
    Ok(signals.run(&mut bound, Some(hangup)).await)
}
