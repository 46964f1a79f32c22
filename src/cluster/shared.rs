//! Watches shared by all who ask for the same: each ends with the last of them.

use super::client::Access;
use super::facts::Facts;
use super::failure::Failure;
use super::tally::Tally;
use super::watch;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinHandle;

/// Which objects are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope {
    /// The namespace that they are in.
    pub namespace: String,
    /// The labels that they bear, as a selector; empty for any.
    pub labels: String,
    /// The name of the only one; empty for any.
    pub name: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.namespace)?;
        for part in [&self.name, &self.labels] {
            if !part.is_empty() {
                write!(f, "/{part}")?;
            }
        }
        Ok(())
    }
}

/// Objects by name.
pub type Objects<T> = BTreeMap<Arc<str>, Arc<T>>;

/// What is known of the objects in a scope.
#[derive(Debug)]
pub struct View<T> {
    /// The objects by name; nothing before they were seen for the first time.
    pub objects: Option<Arc<Objects<T>>>,
    /// Why they can not be looked at now: what is known of them may be old.
    pub failure: Option<Failure>,
}

impl<T> Default for View<T> {
    fn default() -> Self {
        Self { objects: None, failure: None }
    }
}

/// The objects in a scope as they change, for as long as somebody has this.
#[derive(Debug)]
pub struct Watching<T> {
    /// What is known of them.
    pub view: Receiver<View<T>>,
    _task: Arc<Task<T>>,
}

/// The watches of one kind of object.
#[derive(Debug)]
pub(super) struct Shared<T>(Mutex<HashMap<Scope, Weak<Task<T>>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[derive(Debug)]
struct Task<T> {
    view: Receiver<View<T>>,
    running: JoinHandle<()>,
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl<T: Facts> Shared<T> {
    /// The objects in a scope: the watch that somebody has, else a new one.
    pub(super) fn watch(
        &self,
        access: &Arc<Access>,
        tally: &Arc<Tally>,
        scope: Scope,
    ) -> Watching<T> {
        let mut tasks = self.0.lock();
        let known = tasks.get(&scope).and_then(Weak::upgrade);
        let task = known.unwrap_or_else(|| {
            tasks.retain(|_, task| task.strong_count() > 0);
            let (sender, view) = channel(View::default());
            let (access, tally) = (Arc::clone(access), Arc::clone(tally));
            let running = tokio::spawn(watch::run(access, tally, scope.clone(), sender));
            let task = Arc::new(Task { view, running });
            tasks.insert(scope, Arc::downgrade(&task));
            task
        });
        Watching { view: task.view.clone(), _task: task }
    }
}
