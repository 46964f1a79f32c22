//! Watching a file or folder: a wake-up for whatever may have changed it.
//!
//! Folders are watched, not files: editors replace a file by renaming, the kubelet swaps a
//! mounted ConfigMap by renaming its `..data` link. The nearest existing folder above is watched
//! too, so that a folder that vanishes is seen to come back.

use super::FileSource;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

/// How long nothing must happen before a wake-up: one change is often several events.
const QUIET: Duration = Duration::from_millis(20);
/// The longest that a wake-up waits for quiet.
const UNQUIET_MAX: Duration = Duration::from_millis(100);
/// How often receivers are woken without any event, for filesystems that tell of none.
const POLL: Duration = Duration::from_secs(10);

impl FileSource {
    /// Wakes the receiver after each possible change until it is dropped; the receiver reads and
    /// compares. Call it inside a tokio runtime; changes after the call are not missed.
    pub fn watch(self: Arc<Self>) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        let changed = Arc::new(Notify::new());
        let path = std::path::absolute(self.path()).unwrap_or_else(|_| self.path().to_owned());
        let mut watched = Watched::new(path, &changed);
        watched.arm();
        tokio::spawn(async move {
            let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
            poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = changed.notified() => settle(&changed).await,
                    _ = poll.tick() => {}
                }
                // Before the wake-up: what changes after it is seen by the new watches.
                watched.arm();
                // A full channel is a wake-up that nobody has taken yet.
                let _ = sender.try_send(());
            }
        });
        receiver
    }
}

/// Waits until nothing has happened for a while.
async fn settle(changed: &Notify) {
    let latest = Instant::now() + UNQUIET_MAX;
    loop {
        let until = latest.min(Instant::now() + QUIET);
        if tokio::time::timeout_at(until, changed.notified()).await.is_err() {
            return;
        }
    }
}

/// The watches that are set for a path.
struct Watched {
    path: PathBuf,
    watcher: Option<RecommendedWatcher>,
    folders: Vec<PathBuf>,
    targets: Arc<parking_lot::Mutex<Vec<PathBuf>>>,
}

impl Watched {
    fn new(path: PathBuf, changed: &Arc<Notify>) -> Self {
        let targets = Arc::new(parking_lot::Mutex::new(vec![path.clone()]));
        let (changed, known) = (Arc::clone(changed), Arc::clone(&targets));
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &known.lock())) {
                changed.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, "changes are not watched, only polled for");
            })
            .ok();
        Self { path, watcher, folders: Vec::new(), targets }
    }

    /// Sets all watches anew: a folder that was replaced has the same name but no watch.
    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut targets = vec![self.path.clone()];
        targets.extend(std::fs::canonicalize(&self.path).ok().filter(|real| *real != self.path));
        let mut folders = Vec::new();
        for target in &targets {
            let above = target.ancestors().skip(1).find(|above| above.is_dir());
            let inside = Some(target.as_path()).filter(|target| target.is_dir());
            folders.extend(inside.into_iter().chain(above).map(Path::to_owned));
        }
        folders.dedup();
        *self.targets.lock() = targets;
        for folder in self.folders.drain(..) {
            // It may be gone, and its watch with it.
            let _ = watcher.unwatch(&folder);
        }
        for folder in folders {
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => self.folders.push(folder),
                Err(error) => {
                    tracing::debug!(%error, folder = %folder.display(), "not watched");
                }
            }
        }
    }
}

/// Whether an event may have changed what is read at one of the paths.
fn concerns(event: &notify::Event, targets: &[PathBuf]) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.need_rescan()
        || event.paths.is_empty()
        || event.paths.iter().any(|path| {
            let mounted =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
            mounted
                || targets.iter().any(|target| path.starts_with(target) || target.starts_with(path))
        })
}

#[cfg(test)]
mod tests;
