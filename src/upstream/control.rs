//! The control plane's side of the pools: what looks after their endpoints while they are in use.

use super::discovery::{Findings, Last, Source};
use super::health::{self, HealthConfig};
use super::outlier::{self, OutlierConfig};
use super::pool::Pool;
use super::settings::PoolConfig;
use super::transport::Transport;
use crate::cluster::Cluster;
use futures_util::future::join_all;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a new pool is waited for whose endpoints are looked for.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same of the first pools that are found in a cluster: nothing is served meanwhile, and a
/// replica that is ready without endpoints would be sent requests for nothing.
const PATIENCE_FIRST: Duration = Duration::from_secs(5);

/// What looks after the pools of the configuration in use.
#[derive(Debug)]
pub struct Control {
    cluster: Arc<Cluster>,
    pools: HashMap<Arc<str>, Care>,
}

/// What looks after one pool.
#[derive(Debug)]
struct Care {
    pool: Arc<Pool>,
    /// Looks for its endpoints, if they are not listed.
    looking: Option<Task<Source>>,
    /// What that has found last.
    last: Last,
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
            Some(task) if task.settings == settings && !task.running.is_finished() => task,
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
    /// Looks after no pools yet; those that say so have their endpoints in this cluster.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, pools: HashMap::new() }
    }

    /// Begins to look for the endpoints of pools of another configuration that have none yet, and
    /// waits for the first answers, but not for long: their first requests shall find endpoints.
    /// To be called before the configuration is taken into use; nobody else notices.
    pub async fn look_ahead(&mut self, pools: impl IntoIterator<Item = (&Arc<Pool>, &PoolConfig)>) {
        let is_first = self.pools.is_empty();
        let mut answers = Vec::new();
        for (pool, config) in pools {
            let is_known = self.pools.get(&pool.name).is_some_and(|care| care.is_of(pool));
            if !is_known && let Some(source) = Source::of(config) {
                // Whether an endpoint waits for its first check is known before there is one.
                pool.configure(Arc::clone(&pool.members().transport), config.into());
                let mut care = Care::new(pool);
                let waits = is_first && source.is_cluster();
                let patience = if waits { PATIENCE_FIRST } else { PATIENCE };
                let answer = care.look(source, &self.cluster);
                answers.extend(answer.map(|answer| timeout(patience, answer)));
                self.pools.insert(Arc::clone(&pool.name), care);
            }
        }
        if !answers.is_empty() {
            // Later answers are taken into use when they come.
            let _ = join_all(answers).await;
        }
    }

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
            let care = before.remove(&pool.name).filter(|care| care.is_of(pool));
            let mut care = care.unwrap_or_else(|| Care::new(pool));
            care.apply(config, &self.cluster);
            self.pools.insert(Arc::clone(&pool.name), care);
        }
    }
}

impl Care {
    fn new(pool: &Arc<Pool>) -> Self {
        let (pool, last) = (Arc::clone(pool), Last::default());
        Self { pool, looking: None, last, health: None, outlier: None }
    }

    fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool)
    }

    fn apply(&mut self, config: &PoolConfig, cluster: &Arc<Cluster>) {
        match Source::of(config) {
            None => {
                self.looking = None;
                self.pool.list(config.listed().iter().map(|endpoint| &endpoint.value));
            }
            // Until the first answer of another source, the endpoints stay.
            Some(source) => drop(self.look(source, cluster)),
        }
        let checks = config.health.as_ref().map(|health| &health.value);
        self.health = health::apply(self.health.take(), &self.pool, checks);
        self.outlier = outlier::apply(self.outlier.take(), &self.pool, config.outlier());
    }

    /// Looks for the endpoints from now on, unless that is being done; what is told at the first
    /// answer.
    fn look(&mut self, source: Source, cluster: &Arc<Cluster>) -> Option<oneshot::Receiver<()>> {
        let before = self.looking.as_ref().map(|task| &task.settings);
        if !before.is_some_and(|before| source.goes_on_from(before)) {
            self.last = Last::default();
        }
        let (pool, last, mut first) = (&self.pool, &self.last, None);
        self.looking = Some(Task::keep_or_start(self.looking.take(), source.clone(), || {
            let (findings, answered) = Findings::new(pool, &source);
            first = Some(answered);
            source.follow(findings.after(last), Arc::clone(cluster))
        }));
        first
    }
}
