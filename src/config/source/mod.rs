//! Where the configuration comes from: one file per source.

#[cfg(feature = "kube")]
mod config_map;
mod file;
mod mounted;
mod place;
mod watch;

pub use file::FileSource;
pub use place::Place;

use super::background::Background;
use super::diagnostic::Diagnostic;
use crate::cluster::Cluster;
#[cfg(feature = "kube")]
use crate::cluster::{View, facts::ConfigMapFacts};
#[cfg(feature = "kube")]
use config_map::ConfigMapSource;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3Default;

/// One file as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFile {
    /// The path as the user knows it, for messages.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// What was found when a source was looked at.
#[derive(Debug)]
pub struct Reading {
    /// The configuration, or why it can not be read although it is there; nothing if it is not
    /// known whether there is one.
    pub files: Option<Result<Vec<RawFile>, Vec<Diagnostic>>>,
    /// Why the source can not be looked at now: what was found may be old. Nothing as well while
    /// it is waited for the first answer.
    pub trouble: Option<Diagnostic>,
}

/// What became of what was read.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It is in use.
    Accepted {
        /// The number of the configuration.
        generation: u64,
        /// How many warnings there are about it.
        warnings: usize,
    },
    /// It was refused for this.
    Rejected(&'a [Diagnostic]),
}

/// Where the configuration comes from.
#[derive(Debug)]
pub enum Source {
    /// A file, or a folder of them.
    File(Arc<FileSource>),
    /// A `ConfigMap`.
    #[cfg(feature = "kube")]
    ConfigMap(Box<ConfigMapSource>),
}

/// What tells that there may be something new to read.
#[derive(Debug)]
pub enum Changes {
    /// What watches files.
    File(mpsc::Receiver<()>),
    /// What watches the cluster.
    #[cfg(feature = "kube")]
    ConfigMap(tokio::sync::watch::Receiver<View<ConfigMapFacts>>),
}

impl Source {
    /// The source at a place, watched from now on; tells of it by Events, at most one in this time.
    /// To be called inside a tokio runtime. Fails if this build can not look there.
    pub fn new(place: Place, cluster: &Cluster, pause: Duration) -> io::Result<(Self, Changes)> {
        let place = match place {
            Place::Path(path) => {
                let source = Arc::new(FileSource::new(path));
                let changes = Arc::clone(&source).watch();
                return Ok((Self::File(source), Changes::File(changes)));
            }
            place => place,
        };
        #[cfg(feature = "kube")]
        if let Some(source) = ConfigMapSource::new(&place, cluster, pause) {
            let changes = source.changes();
            return Ok((Self::ConfigMap(Box::new(source)), Changes::ConfigMap(changes)));
        }
        let _ = (cluster, pause);
        let text = format!("{place}: this build knows no Kubernetes");
        Err(io::Error::new(io::ErrorKind::Unsupported, text))
    }

    /// Whether its configuration may come later; else there is nothing to run without one.
    pub fn may_come_later(&self) -> bool {
        match self {
            Self::File(_) => false,
            #[cfg(feature = "kube")]
            Self::ConfigMap(_) => true,
        }
    }

    /// Where the configuration that was read last comes from, for people.
    pub fn shown(&self) -> String {
        match self {
            Self::File(source) => source.path().display().to_string(),
            #[cfg(feature = "kube")]
            Self::ConfigMap(source) => source.shown(),
        }
    }

    /// Reads the configuration as it is now, with so much patience for the background.
    pub async fn read(&mut self, background: &Background, patience: Duration) -> Reading {
        match self {
            Self::File(source) => {
                let reading = Arc::clone(source);
                let read = background.run(patience, move || reading.read()).await;
                let files = read.unwrap_or_else(|error| {
                    let message = format!("reading it failed: {error}");
                    Err(vec![Diagnostic::error(self.shown(), message)])
                });
                Reading { files: Some(files), trouble: None }
            }
            #[cfg(feature = "kube")]
            Self::ConfigMap(source) => source.read(),
        }
    }

    /// Tells those who look at the source what became of what was read last; never waits.
    pub fn tell(&mut self, outcome: &Outcome) {
        let _ = outcome;
        match self {
            // Nobody looks there.
            Self::File(_) => {}
            #[cfg(feature = "kube")]
            Self::ConfigMap(source) => source.tell(outcome),
        }
    }

    /// Tells the same of what was read last, if it is equal to another whose place it took; never
    /// waits.
    pub fn tell_again(&mut self) {
        match self {
            Self::File(_) => {}
            #[cfg(feature = "kube")]
            Self::ConfigMap(source) => source.tell_again(),
        }
    }

    /// Warns of what keeps changes from being seen.
    pub async fn warn(&self) {
        let source = match self {
            Self::File(source) => Arc::clone(source),
            #[cfg(feature = "kube")]
            Self::ConfigMap(_) => return,
        };
        let found = tokio::task::spawn_blocking(move || source.mounted_alone()).await;
        if let Ok(Some(file)) = found {
            let file = file.display();
            tracing::warn!(
                %file,
                "a file that is mounted by itself, as by `subPath`, is not replaced when its \
                 ConfigMap changes: mount the whole ConfigMap as a folder, or use --configmap"
            );
        }
    }
}

impl Changes {
    /// Waits until there may be something new to read; for ever once the watch has ended.
    pub async fn next(&mut self) {
        let goes_on = match self {
            Self::File(changes) => changes.recv().await.is_some(),
            #[cfg(feature = "kube")]
            Self::ConfigMap(changes) => changes.changed().await.is_ok(),
        };
        if !goes_on {
            std::future::pending::<()>().await;
        }
    }
}

/// A number that tells one content from another: names, order and bytes all count.
pub fn fingerprint(files: &[RawFile]) -> u64 {
    let mut hash = Xxh3Default::new();
    for file in files {
        for part in [file.name.as_bytes(), &file.bytes] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::{RawFile, fingerprint};

    #[test]
    fn the_fingerprint_tells_names_and_contents_apart() {
        let file = |name: &str, text: &str| RawFile { name: name.into(), bytes: text.into() };
        let all = [
            fingerprint(&[]),
            fingerprint(&[file("a", "bc")]),
            fingerprint(&[file("ab", "c")]),
            fingerprint(&[file("a", "b"), file("", "c")]),
            fingerprint(&[file("a", "b"), file("c", "")]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
        assert_eq!(fingerprint(&[file("a", "bc")]), all[1]);
    }
}
