//! `serin demo`: two small upstreams, the proxy in front, and a file to edit while it runs.

mod file;
mod guide;
mod upstream;

use super::output::{self, BAD_INPUT};
use super::signals::Signals;
use super::{log, run};
use crate::app::{self, Options, StartError};
use crate::config::compile::{Compiled, compile};
use crate::config::{Diagnostic, FileSource, render_text};
use crate::telemetry::metrics::Metrics;
use crate::upstream::registry::Registry;
use crate::upstream::settings::PoolConfig;
use file::Origin;
use guide::Guide;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Worker threads of the proxy: a demo needs no more.
const WORKERS: usize = 2;

/// Where the demo's configuration is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is written if it is not there, and never overwritten. What to try is printed: each line is
a command that works as pasted. An upstream is started at each endpoint of the file's pools as they
are at the start. Ctrl-C ends the demo and leaves the file.

Examples:
  serin demo
  serin demo --config /tmp/try.yaml")]
pub struct Arguments {
    /// The file to use, and to write if it is not there
    #[arg(long, short, default_value = "serin-demo.yaml", value_name = "FILE")]
    config: PathBuf,
}

/// Runs the demo until it is told to stop.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    log::start_for_watching();
    let origin = file::provide(&arguments.config)?;
    let runtime = run::control()?;
    let result = runtime.block_on(serve(&arguments.config, origin));
    runtime.shutdown_background();
    result
}

async fn serve(path: &Path, origin: Origin) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let (Compiled { config, .. }, text) = match read(path) {
        Ok(read) => read,
        Err(diagnostics) => return Ok(refused(path, &diagnostics)),
    };
    let upstreams = start_upstreams(&config.pools, path).await?;
    let options = Options { workers: Some(WORKERS), ..Options::new(path) };
    let mut bound = match Box::pin(app::bind(options)).await {
        Ok(bound) => bound,
        Err(StartError::Config(diagnostics)) => return Ok(refused(path, &diagnostics)),
        Err(error) => return Err(error.into()),
    };
    let first = config.listeners.first().map(|listener| listener.name.as_str());
    let addresses = bound.addresses();
    let proxy = addresses.iter().find(|(name, _)| Some(&**name) == first);
    let guide = Guide {
        origin,
        file: path,
        text: &text,
        upstreams: &upstreams,
        proxy: proxy.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), |(_, address)| *address),
        admin: *bound.admin.borrow(),
    };
    output::write(guide.text().as_bytes())?;
    let code = signals.run(&mut bound, None).await;
    output::write(format!("\nStopped. The configuration is in {}.\n", path.display()).as_bytes())?;
    Ok(code)
}

/// The configuration and the text that it was written as.
fn read(path: &Path) -> Result<(Compiled, String), Vec<Diagnostic>> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let files = FileSource::new(path).read()?;
    let compiled = compile(&files, 1, &registry, &metrics)?;
    let texts = files.iter().map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
    let text = texts.collect();
    Ok((compiled, text))
}

fn refused(path: &Path, diagnostics: &[Diagnostic]) -> ExitCode {
    output::complain(&render_text(diagnostics));
    let path = path.display();
    output::complain(&format!("help: change {path}, or delete it to have it written anew\n"));
    ExitCode::from(BAD_INPUT)
}

/// Starts an upstream at each endpoint; says the pool and address of each.
async fn start_upstreams(
    pools: &[PoolConfig],
    path: &Path,
) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let mut started = Vec::new();
    let mut known = HashSet::new();
    for pool in pools {
        let name = &pool.name.value;
        for address in pool.listed().iter().map(|endpoint| endpoint.address) {
            if !known.insert(address) {
                continue;
            }
            let socket = TcpListener::bind(address).await.map_err(|error| {
                let path = path.display();
                let why = match error.kind() {
                    ErrorKind::AddrInUse => "another process listens there".to_owned(),
                    ErrorKind::AddrNotAvailable => "it is no address of this machine".to_owned(),
                    _ => error.to_string(),
                };
                anyhow::anyhow!(
                    "can not be the upstream `{name}` at {address}: {why}\n\
                     help: write a free address of this machine into {path}, or delete that file \
                     to have it written anew"
                )
            })?;
            tokio::spawn(upstream::serve(socket, name.as_str().into()));
            started.push((name.clone(), address));
        }
    }
    Ok(started)
}
