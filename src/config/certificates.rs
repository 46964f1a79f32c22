//! The certificates that a document names: read before it is taken into use, and watched after.

use super::root::Config;
use super::source::FileSource;
use super::tree::Document;
use crate::base::problem::Problems;
use crate::tls::Server;
use crate::upstream::pool::Pool;
use crate::upstream::transport::Transport;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What was made of the files that a document names.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What the handshakes of listeners use, by the listener's name.
    pub servers: HashMap<String, Arc<Server>>,
    /// How the endpoints of pools are spoken to, in the order of the document.
    pub transports: Vec<Arc<Transport>>,
}

/// Reads the certificates of all listeners and pools; what is wrong is noted at the settings that
/// name the files. Blocks.
pub fn load(document: &Document, config: &Config, problems: &mut Problems) -> Loaded {
    let mut loaded = Loaded::default();
    // Relative to the file that says so.
    let folder = |at| {
        let file = Path::new(document.place(at).file);
        file.parent().unwrap_or(Path::new("")).to_owned()
    };
    for listener in &config.listeners {
        let Some(tls) = &listener.tls else { continue };
        if let Some(server) = Server::load(tls, folder(listener.name.at), problems) {
            loaded.servers.insert(listener.name.value.clone(), Arc::new(server));
        }
    }
    for pool in &config.pools {
        let transport = Transport::load(pool, folder(pool.name.at), problems);
        loaded.transports.push(Arc::new(transport.unwrap_or_default()));
    }
    loaded
}

/// Reads the files of the pools again and takes those that have changed into use, for connections
/// to come; bad ones are told of, and the ones before stay in use.
pub async fn reload_pools(pools: &[Arc<Pool>]) {
    for pool in pools {
        let transport = Arc::clone(&pool.members().transport);
        let Some(tls) = transport.tls.as_ref().map(Arc::clone) else { continue };
        match tokio::task::spawn_blocking(move || tls.reload()).await {
            Ok(None) | Err(_) => {}
            Ok(Some(Ok(tls))) => {
                let protocol = transport.protocol;
                pool.speak(Arc::new(Transport { protocol, tls: Some(Arc::new(tls)) }));
                pool.certificates_read(true);
                tracing::info!(pool = %pool.name, "new certificates in use");
            }
            Ok(Some(Err(faults))) => {
                pool.certificates_read(false);
                tracing::error!(
                    pool = %pool.name,
                    "the new certificates were rejected, the ones before stay in use: {}",
                    faults.join("; ")
                );
            }
        }
    }
}

/// The folders with the files of the pools, which are to be watched.
pub fn pool_folders(pools: &[Arc<Pool>]) -> Vec<PathBuf> {
    let transports = pools.iter().map(|pool| Arc::clone(&pool.members().transport));
    transports.filter_map(|transport| Some(transport.tls.as_ref()?.folders())).flatten().collect()
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
