//! The signals by which a process that serves is told what to do.

use crate::app::{Bound, Stop};
use std::io;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end a process, caught from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to catch SIGTERM and SIGINT; fails if the system does not allow it.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub async fn stop(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => Stop::Gracefully,
            _ = self.interrupt.recv() => Stop::Soon,
        }
    }

    /// Lets a proxy run until it has ended, by itself or for a signal; a second signal does not
    /// wait for requests in flight and is a failure. Each item of `hangup` reads the configuration
    /// again.
    pub async fn run(&mut self, bound: &mut Bound, mut hangup: Option<Signal>) -> ExitCode {
        let mut stopping = false;
        loop {
            let stop = tokio::select! {
                drained = bound.ended() => {
                    tracing::info!(drained, "stopped");
                    return ExitCode::SUCCESS;
                }
                () = heard(&mut hangup), if !stopping => tokio::select! {
                    // A refusal is logged where it is found.
                    _ = bound.reload() => continue,
                    // Reading may take long; who ends the process does not wait for it.
                    stop = self.stop() => stop,
                },
                stop = self.stop() => stop,
            };
            if std::mem::replace(&mut stopping, true) {
                tracing::warn!("told to stop again: not waiting for requests in flight");
                return ExitCode::FAILURE;
            }
            bound.stop(stop).await;
        }
    }
}

/// Waits for a signal, for ever if it is not caught.
async fn heard(signal: &mut Option<Signal>) {
    let heard = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}
