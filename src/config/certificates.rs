//! The certificates that a document names: read before it is taken into use, and watched after.

use super::root::Config;
use super::source::FileSource;
use super::tree::Document;
use crate::base::problem::Problems;
use crate::tls::Server;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Reads the certificates of all listeners; what is wrong is noted at the settings that name the
/// files. Blocks.
pub fn load(
    document: &Document,
    config: &Config,
    problems: &mut Problems,
) -> HashMap<String, Arc<Server>> {
    let mut servers = HashMap::new();
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        // Relative to the file that says so.
        let file = Path::new(document.place(listener.name.at).file);
        let folder = file.parent().unwrap_or(Path::new(""));
        if let Some(server) = Server::load(tls, folder, problems) {
            servers.insert(listener.name.value.clone(), Arc::new(server));
        }
    }
    servers
}

/// The watch over the folders of the certificates in use.
#[derive(Debug)]
pub struct Certificates {
    folders: Vec<PathBuf>,
    /// One task for each folder; they end with this.
    watching: JoinSet<()>,
    sender: mpsc::Sender<()>,
    changes: mpsc::Receiver<()>,
}

impl Default for Certificates {
    fn default() -> Self {
        // A full channel is a wake-up that nobody has taken yet.
        let (sender, changes) = mpsc::channel(1);
        Self { folders: Vec::new(), watching: JoinSet::new(), sender, changes }
    }
}

impl Certificates {
    /// Watches these folders and no others. To be called inside a tokio runtime.
    pub fn watch(&mut self, folders: Vec<PathBuf>) {
        if self.folders == folders {
            return;
        }
        self.watching = JoinSet::new();
        for folder in &folders {
            let mut changes = Arc::new(FileSource::new(folder)).watch();
            let sender = self.sender.clone();
            self.watching.spawn(async move {
                while let Some(()) = changes.recv().await {
                    let _ = sender.try_send(());
                }
            });
        }
        self.folders = folders;
        // What has changed between reading and watching was seen by nobody.
        let _ = self.sender.try_send(());
    }

    /// Waits until something may have changed.
    pub async fn changed(&mut self) {
        // Never closed: the sender is here.
        let _ = self.changes.recv().await;
    }
}
