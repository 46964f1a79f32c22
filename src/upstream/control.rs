//! The control plane's side of the pools: what looks after their endpoints while they are in use.

use super::health::{self, HealthConfig};
use super::outlier::{self, OutlierConfig};
use super::pool::Pool;
use super::settings::PoolConfig;
use super::transport::Transport;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What looks after the pools of the configuration in use.
#[derive(Debug, Default)]
pub struct Control {
    pools: HashMap<Arc<str>, Care>,
}

/// What looks after one pool.
#[derive(Debug)]
struct Care {
    pool: Arc<Pool>,
    health: Option<Task<HealthConfig>>,
    outlier: Option<Task<OutlierConfig>>,
}

/// A task together with the settings for which it was started; it ends with this.
#[derive(Debug)]
pub struct Task<C> {
    settings: C,
    running: JoinHandle<()>,
}

impl<C: PartialEq> Task<C> {
    /// The task for these settings: the one that runs if it was started for the same, so that a
    /// reload disturbs nothing; else a new one in its place.
    pub fn keep_or_start<F: Future<Output = ()> + Send + 'static>(
        before: Option<Self>,
        settings: C,
        start: impl FnOnce() -> F,
    ) -> Self {
        match before {
            Some(task) if task.settings == settings => task,
            before => {
                drop(before);
                Self { settings, running: tokio::spawn(start()) }
            }
        }
    }
}

impl<C> Drop for Task<C> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Control {
    /// Takes the pools of another configuration over, with how each is spoken to: what stays the
    /// same goes on undisturbed.
    pub fn apply<'a>(
        &mut self,
        pools: impl IntoIterator<Item = (&'a Arc<Pool>, &'a PoolConfig, &'a Arc<Transport>)>,
    ) {
        let mut before = std::mem::take(&mut self.pools);
        for (pool, config, transport) in pools {
            pool.configure(Arc::clone(transport), config.into());
            // One of this name that is not the same pool was gone for a while.
            let care = before.remove(&pool.name).filter(|care| Arc::ptr_eq(&care.pool, pool));
            let mut care = care.unwrap_or_else(|| Care::new(pool));
            care.apply(config);
            self.pools.insert(Arc::clone(&pool.name), care);
        }
    }
}

impl Care {
    fn new(pool: &Arc<Pool>) -> Self {
        Self { pool: Arc::clone(pool), health: None, outlier: None }
    }

    fn apply(&mut self, config: &PoolConfig) {
        self.pool.replace(config.listed().iter().map(|endpoint| &endpoint.value));
        let checks = config.health.as_ref().map(|health| &health.value);
        self.health = health::apply(self.health.take(), &self.pool, checks);
        self.outlier = outlier::apply(self.outlier.take(), &self.pool, config.outlier());
    }
}
