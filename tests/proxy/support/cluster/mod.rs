//! A Kubernetes API server in the test's process, as far as the proxy and its tests need one.
//!
//! It keeps the semantics of the real one over plain HTTP: versions, selectors, pages, watches,
//! conflicts, RBAC; and it gets into the trouble that the test wants.

mod accounts;
mod discovery;
mod objects;
mod rbac;
mod reads;
mod resource;
mod selector;
mod serving;
mod status;
mod store;
mod validation;
mod writes;

pub(crate) use objects::{config_map, endpoint_slice, pod, service};

use super::authority::Authority;
use accounts::Accounts;
use base64ct::{Base64, Encoding as _};
use parking_lot::Mutex;
use rbac::Rbac;
use resource::{Resource, key};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// An API server of one test; it ends with the test.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    serving: Mutex<Option<Serving>>,
    folder: tempfile::TempDir,
    /// Keeps the port while nobody listens there.
    _held: Socket,
}

struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What a server over TLS has, and what its clients trust.
struct Secured {
    acceptor: TlsAcceptor,
    authority: String,
}

/// What all connections share.
struct Shared {
    secured: Option<Secured>,
    store: Mutex<Store>,
    seen: Mutex<Seen>,
    mood: watch::Sender<Mood>,
    /// The only token that is known, but for those of service accounts that asked for one.
    token: Mutex<String>,
    accounts: Mutex<Accounts>,
    rbac: Mutex<Option<Rbac>>,
    /// The resources and verbs that are refused whatever the rules say.
    forbidden: Mutex<BTreeSet<(&'static str, &'static str)>>,
    bookmark_every: Mutex<Duration>,
    /// Whether a watch of a forgotten version is answered with 410 instead of with an event.
    gone_is_answer: Mutex<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers,
    Hangs,
    Ignores(&'static str),
    Fails(u16),
}

#[derive(Default)]
struct Seen {
    requests: BTreeMap<(&'static str, &'static str), usize>,
    agents: BTreeSet<String>,
    token: String,
}

impl Shared {
    async fn until_it_answers(&self, resource: &str) {
        let mut mood = self.mood.subscribe();
        let answers = |mood: &Mood| match mood {
            Mood::Hangs => false,
            Mood::Ignores(ignored) => *ignored != resource,
            Mood::Answers | Mood::Fails(_) => true,
        };
        let _ = mood.wait_for(answers).await;
    }
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same over TLS, as every real one is.
    pub(crate) async fn start_secured() -> Self {
        let authority = Authority::new();
        let server = authority.issue(&["127.0.0.1"]).server(&["http/1.1"], None);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        Self::start_with(Some(Secured { acceptor, authority: authority.pem })).await
    }

    async fn start_with(secured: Option<Secured>) -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = held.local_addr().unwrap().as_socket().unwrap();
        let shared = Arc::new(Shared {
            secured,
            store: Mutex::default(),
            seen: Mutex::default(),
            mood: watch::Sender::new(Mood::Answers),
            token: Mutex::new("token-of-the-test".to_owned()),
            accounts: Mutex::default(),
            rbac: Mutex::default(),
            forbidden: Mutex::default(),
            // As often as the real one does.
            bookmark_every: Mutex::new(Duration::from_mins(1)),
            gone_is_answer: Mutex::new(false),
        });
        let folder = tempfile::tempdir().unwrap();
        let serving = Mutex::default();
        let cluster = Self { address, shared, serving, folder, _held: held };
        cluster.start_again().await;
        cluster
    }

    // How it is reached.

    /// A configuration for clients: where the server is, and the token.
    pub(crate) fn kubeconfig(&self) -> String {
        let cluster = match &self.shared.secured {
            None => json!({ "server": format!("http://{}", self.address) }),
            Some(secured) => json!({
                "server": format!("https://{}", self.address),
                "certificate-authority-data": base64(secured.authority.as_bytes()),
            }),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": { "token": *self.shared.token.lock() } }],
            "contexts": [
                {
                    "name": "test",
                    "context": { "cluster": "test", "user": "test", "namespace": "default" },
                },
            ],
            "current-context": "test",
        });
        config.to_string()
    }

    /// The same in a file, which is there as long as the server is.
    pub(crate) fn kubeconfig_file(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, self.kubeconfig()).unwrap();
        path
    }

    /// A client that does not try again by itself.
    pub(crate) async fn client(&self) -> kube::Client {
        let kubeconfig = kube::config::Kubeconfig::from_yaml(&self.kubeconfig()).unwrap();
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.unwrap();
        config.default_retry = false;
        kube::Client::try_from(config).unwrap()
    }

    /// From now on, this is the only token that is known; the empty one is none at all.
    pub(crate) fn accept_token(&self, token: &str) {
        token.clone_into(&mut self.shared.token.lock());
    }

    // What is in it.

    /// Stores an object, in the place of the one that has its name; the object as it is now.
    pub(crate) fn put(&self, object: impl Into<Value>) -> Value {
        let mut object: Value = object.into();
        let resource = Resource::of(&object);
        let metadata = &object["metadata"];
        let (namespace, name) = (metadata["namespace"].as_str(), metadata["name"].as_str());
        assert_eq!(namespace.is_some(), resource.namespaced, "{object}");
        let (namespace, name) =
            (namespace.unwrap_or_default().to_owned(), name.unwrap().to_owned());
        let mut store = self.shared.store.lock();
        let old = store.object(resource, &namespace, &name).cloned();
        writes::identify(&mut store, &mut object, old.as_deref());
        validation::decodes(resource, &object).unwrap();
        let stored = store.change(resource, key(&namespace, &name), Some(object));
        Arc::unwrap_or_clone(stored.unwrap())
    }

    /// Changes an object that is there.
    pub(crate) fn edit(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Value),
    ) -> Value {
        let mut object = self.object(resource, namespace, name).expect("it should be there");
        edit(&mut object);
        self.put(object)
    }

    /// Deletes an object that is there.
    pub(crate) fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let resource = Resource::named(resource);
        let deleted = self.shared.store.lock().change(resource, key(namespace, name), None);
        assert!(deleted.is_some(), "it should be there");
    }

    pub(crate) fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let store = self.shared.store.lock();
        store.object(Resource::named(resource), namespace, name).map(|found| Value::clone(found))
    }

    /// The names of the namespaces that were made and are still there.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let store = self.shared.store.lock();
        let all = store.at(Resource::named("namespaces"), store.version).unwrap();
        all.keys().map(|key| key.trim_start_matches('/').to_owned()).collect()
    }

    /// The Event objects, in the order in which they were created.
    pub(crate) fn events(&self) -> Vec<Value> {
        let store = self.shared.store.lock();
        let events = store.at(Resource::named("events"), store.version).unwrap();
        let mut events: Vec<Value> = events.values().map(|event| Value::clone(event)).collect();
        // Identities are numbered.
        events.sort_by_key(|event| event["metadata"]["uid"].to_string());
        events
    }

    /// The version of the newest change.
    pub(crate) fn version(&self) -> u64 {
        self.shared.store.lock().version
    }

    /// Forgets all changes so far: who asks for what came after an older version is told 410.
    pub(crate) fn compact(&self) {
        self.shared.store.lock().compact();
    }

    /// Remembers so many changes at most.
    pub(crate) fn remember(&self, changes: usize) {
        self.shared.store.lock().changes_max = changes;
    }

    // Watches.

    /// Sends a bookmark to all watches that want some.
    pub(crate) fn bookmark(&self) {
        self.shared.store.lock().bookmark(None);
    }

    /// Sends bookmarks so often to watches that begin from now on.
    pub(crate) fn bookmark_every(&self, period: Duration) {
        *self.shared.bookmark_every.lock() = period;
    }

    /// Ends all watches as if their time was over.
    pub(crate) fn end_watches(&self) {
        self.shared.store.lock().end_all(false);
    }

    /// Breaks the connections of all watches.
    pub(crate) fn break_watches(&self) {
        self.shared.store.lock().end_all(true);
    }

    /// Answers watches of forgotten versions with the code 410, not with an event in a 200.
    pub(crate) fn answer_gone(&self) {
        *self.shared.gone_is_answer.lock() = true;
    }

    // Trouble.

    /// Refuses connections, and breaks those that are there, until started again.
    pub(crate) async fn stop(&self) {
        let serving = self.serving.lock().take().expect("it should be running");
        let _ = serving.stop.send(());
        serving.task.await.unwrap();
        self.shared.store.lock().end_all(true);
    }

    pub(crate) async fn start_again(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serving::serve(listener, Arc::clone(&self.shared), stopped));
        let before = self.serving.lock().replace(Serving { stop, task });
        assert!(before.is_none(), "it should have been stopped");
    }

    /// Accepts and reads, but says nothing, not even to watches, until it recovers.
    pub(crate) fn hang(&self) {
        self.shared.mood.send_replace(Mood::Hangs);
    }

    /// The same for requests about one resource; open watches of it go on.
    pub(crate) fn ignore(&self, resource: &'static str) {
        self.shared.mood.send_replace(Mood::Ignores(resource));
    }

    /// Answers every request with this code until it recovers.
    pub(crate) fn fail_with(&self, code: u16) {
        self.shared.mood.send_replace(Mood::Fails(code));
    }

    /// Answers again, also what came while it was hanging.
    pub(crate) fn recover(&self) {
        self.shared.mood.send_replace(Mood::Answers);
    }

    // What is allowed.

    /// Forbids to get, list and watch a resource; open watches go on.
    pub(crate) fn forbid(&self, resource: &str) {
        for verb in ["get", "list", "watch"] {
            self.forbid_verb(resource, verb);
        }
    }

    /// Forbids to create objects of a resource.
    pub(crate) fn forbid_create(&self, resource: &str) {
        self.forbid_verb(resource, "create");
    }

    fn forbid_verb(&self, resource: &str, verb: &'static str) {
        self.shared.forbidden.lock().insert((Resource::named(resource).plural, verb));
    }

    /// Undoes both.
    pub(crate) fn allow(&self, resource: &str) {
        self.shared.forbidden.lock().retain(|(forbidden, _)| *forbidden != resource);
    }

    /// Lets the token be that of the service account that these objects are about, and allows what
    /// their roles and bindings give to it, no more.
    pub(crate) fn rbac(&self, objects: &[Value]) {
        let (namespace, name) = rbac::account_of(objects).expect("a service account");
        self.rbac_of(&namespace, &name, objects);
    }

    /// The same for this service account.
    pub(crate) fn rbac_of(&self, namespace: &str, name: &str, objects: &[Value]) {
        *self.shared.rbac.lock() = Some(Rbac::new(namespace, name, objects));
    }

    /// What the roles give and no request made use of, as `namespace: verb group/resource name`.
    pub(crate) fn unused_grants(&self) -> BTreeSet<String> {
        self.shared.rbac.lock().as_ref().map(Rbac::unused).unwrap_or_default()
    }

    // What it saw.

    /// How many requests with a verb came for a resource, answered or not.
    pub(crate) fn requests(&self, resource: &str, verb: &str) -> usize {
        let seen = self.shared.seen.lock();
        let mut all = seen.requests.iter();
        all.find(|(what, _)| **what == (resource, verb)).map_or(0, |(_, count)| *count)
    }

    /// How many watches of a resource are open.
    pub(crate) fn open_watches(&self, resource: &str) -> usize {
        self.shared.store.lock().open_watches(resource)
    }

    pub(crate) fn user_agents(&self) -> BTreeSet<String> {
        self.shared.seen.lock().agents.clone()
    }

    /// The token of the newest request; empty if it had none.
    pub(crate) fn last_token(&self) -> String {
        self.shared.seen.lock().token.clone()
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut place = vec![0; Base64::encoded_len(bytes)];
    Base64::encode(bytes, &mut place).unwrap().to_owned()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().take() {
            serving.task.abort();
        }
    }
}
