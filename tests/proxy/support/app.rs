//! The app in the process, its configuration file and its metrics.

#[cfg(feature = "kube")]
use super::nobody;
use super::{Client, Response, eventually, within};
use serin::app::{Bound, Options, Stop, bind};
use std::net::SocketAddr;
use std::path::PathBuf;
use tempfile::TempDir;

/// A running proxy with two workers.
pub(crate) struct App {
    /// Where the listener `web` is, or the first one.
    pub(crate) address: SocketAddr,
    _folder: TempDir,
    pub(crate) bound: Bound,
    file: PathBuf,
}

impl App {
    /// Starts with this configuration in a file.
    pub(crate) async fn start(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serin.yaml");
        std::fs::write(&file, yaml).unwrap();
        Self::start_at(folder, file.clone(), file).await
    }

    /// The same as part of a cluster.
    #[cfg(feature = "kube")]
    pub(crate) async fn start_in(cluster: &super::cluster::Cluster, yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serin.yaml");
        std::fs::write(&file, yaml).unwrap();
        let kubeconfig = Some(cluster.kubeconfig_file());
        let options = Options { workers: Some(2), kubeconfig, ..Options::new(&file) };
        Self::start_with(folder, options, file).await
    }

    /// Starts with a configuration that is there already.
    pub(crate) async fn start_at(folder: TempDir, config: PathBuf, file: PathBuf) -> Self {
        let options = Options { workers: Some(2), ..Options::new(config) };
        Self::start_with(folder, options, file).await
    }

    async fn start_with(folder: TempDir, options: Options, file: PathBuf) -> Self {
        let bound = within(bind(options)).await.unwrap();
        let addresses = bound.addresses();
        let web = addresses.iter().find(|(name, _)| **name == *"web");
        let address = web.or(addresses.first()).unwrap().1;
        Self { address, _folder: folder, bound, file }
    }

    /// Starts with a configuration that may come later.
    #[cfg(feature = "kube")]
    pub(crate) async fn start_early(options: Options) -> Self {
        let bound = within(bind(Options { workers: Some(2), ..options })).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unused");
        Self { address: nobody(), _folder: folder, bound, file }
    }

    /// Waits for the first configuration.
    #[cfg(feature = "kube")]
    pub(crate) async fn listening(&mut self) {
        let listening = self.bound.listeners.wait_for(|listeners| !listeners.is_empty());
        self.address = within(listening).await.unwrap()[0].1;
    }

    /// Replaces the file at once, as an editor does, and waits until the change is in use.
    pub(crate) async fn reload(&self, yaml: &str) {
        let before = self.generation().await;
        self.write(yaml);
        eventually("the new configuration is in use", async || self.generation().await > before)
            .await;
    }

    /// Replaces the file at once.
    pub(crate) fn write(&self, yaml: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    pub(crate) async fn generation(&self) -> f64 {
        self.metric("serin_config_generation", &[]).await
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Response {
        let address = self.bound.admin.borrow().unwrap();
        get(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    /// The sum of all samples of a metric that bear these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin("/metrics").await.text();
        sum(&text, name, labels)
    }

    /// Waits until a metric has a value.
    #[expect(clippy::float_cmp, reason = "whole numbers")]
    pub(crate) async fn metric_is(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut seen = f64::NAN;
        let look = async || {
            seen = self.metric(name, labels).await;
            seen == value
        };
        let what = format!("{name}{labels:?} is {value}");
        let found = tokio::time::timeout(super::DEADLINE, eventually(&what, look)).await;
        assert!(found.is_ok(), "{what}, but {seen}");
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.fetch_with(path, "").await
    }

    /// One request with further header lines, each ended by CRLF, on a connection of its own.
    pub(crate) async fn fetch_with(&self, path: &str, fields: &str) -> Response {
        get(self.address, &format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).await
    }

    /// A client connection.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Drains; says whether everything finished in time.
    pub(crate) async fn stop(&mut self) -> bool {
        self.bound.stop(Stop::Soon).await;
        within(self.bound.ended()).await
    }
}

async fn get(address: SocketAddr, request: &str) -> Response {
    let mut client = Client::connect(address).await;
    client.send(request).await;
    client.response().await.unwrap()
}

/// The sum of the samples in an exposition that bear the labels.
fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (set, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let set: Vec<_> = set.split(',').collect();
            labels.iter().all(|label| set.contains(&label.as_str())).then(|| value.parse().ok())?
        })
        .fold(0.0, |sum, value: f64| sum + value)
}
