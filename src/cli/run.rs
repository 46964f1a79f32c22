//! `serin run`: serves until told to stop.

use super::log::Log;
use super::output::{self, BAD_INPUT};
use super::signals::Signals;
use crate::app::{self, Options, StartError};
use crate::config::{Place, render_text};
use anyhow::Context;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// What to serve, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Signals: SIGHUP reads the configuration again. SIGTERM drains: /readyz fails, connections are
accepted for drain.delay, then requests in flight finish within drain.timeout. SIGINT drains without
the delay; a second SIGTERM or SIGINT ends at once.

A file that is wrong at the start ends the command. A ConfigMap is waited for: until its first right
version the process lives, /readyz says why it is not ready, and nothing is served. After that,
whatever happens to it or to the API, the last good version serves on.

Examples:
  serin run --config serin.yaml
  serin run --config /etc/serin/               # a folder, such as a mounted ConfigMap
  serin run --configmap shop/serin             # the ConfigMap itself, without the kubelet's minute
  serin run --configmap-selector shop/app=serin --admin 0.0.0.0:9901
  SERIN_CONFIG=serin.yaml SERIN_LOG=warn serin run --workers 2")]
pub struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,

    /// Where /livez, /readyz, /metrics, the API and the dashboard are if the configuration does not
    /// say `admin.address`, and before there is one; by default 127.0.0.1:9901
    #[arg(long, env = "SERIN_ADMIN", value_name = "IP:PORT")]
    admin: Option<SocketAddr>,

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

/// Where the configuration is: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PlaceArguments {
    /// A file, or a folder whose *.yaml and *.yml are read as one document; it is watched, and a
    /// change is taken in while serving
    #[arg(long, short, env = "SERIN_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,

    /// A ConfigMap, watched through the Kubernetes API: all keys that end in .yaml or .yml, in the
    /// order of their names, are read as one document, or the one KEY
    #[arg(long, env = "SERIN_CONFIGMAP", value_name = "NAMESPACE/NAME[/KEY]",
        value_parser = Place::config_map)]
    configmap: Option<Place>,

    /// The same of the newest ConfigMap that bears certain labels, for those that are never changed
    /// but replaced by one of another name
    #[arg(long, env = "SERIN_CONFIGMAP_SELECTOR", value_name = "NAMESPACE/SELECTOR",
        value_parser = Place::newest)]
    configmap_selector: Option<Place>,
}

impl PlaceArguments {
    fn place(&self) -> Option<Place> {
        let api = self.configmap.as_ref().or(self.configmap_selector.as_ref());
        api.cloned().or_else(|| self.config.clone().map(Place::Path))
    }
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
    let place = arguments.place.place().context("nobody says where the configuration is")?;
    let options = Options { workers, kubeconfig, admin: arguments.admin, ..Options::at(place) };
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
    Ok(signals.run(&mut bound, Some(hangup)).await)
}
