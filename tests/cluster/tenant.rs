//! A namespace of one case: who Serin is in it, what it may do, and the objects that it looks at.

use crate::skipped;
use crate::support::{App, Origin, eventually};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{self, ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serin::app::Options;
use serin::config::Place;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What holds pods that are deleted until the case lets them go.
const HOLDER: &str = "serin.test/held";

/// A kind whose objects are in namespaces.
pub(crate) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

/// The address of this machine that others would use; nothing if it has none but loopback's, which
/// no slice of endpoints may name.
pub(crate) fn own_address() -> Option<IpAddr> {
    // Nothing is sent: the system only says from where it would be.
    let targets = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let from = targets.iter().filter_map(|(any, target)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    });
    from.into_iter().find(|ip| !ip.is_loopback())
}

/// A client that does not try again by itself.
async fn client(kubeconfig: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn read(kubeconfig: &Path) -> Kubeconfig {
    let name = kubeconfig.display();
    Kubeconfig::read_from(kubeconfig).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

/// A namespace that is new, and of which nothing is left at the end.
pub(crate) struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    pub(crate) async fn make(kubeconfig: &Path) -> Self {
        let client = client(read(kubeconfig)).await;
        // Pods that never run need not be harmless.
        let labels = json!({ "pod-security.kubernetes.io/enforce": "privileged" });
        let metadata = json!({ "generateName": "serin-test-", "labels": labels });
        let new: v1::Namespace = object(json!({ "metadata": metadata }));
        let api = Api::all(client.clone());
        let made: v1::Namespace = api.create(&PostParams::default(), &new).await.unwrap();
        Self { client, name: made.name_any() }
    }

    pub(crate) async fn end(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let left = pods.list(&ListParams::default()).await;
        for pod in left.into_iter().flatten() {
            if !pod.finalizers().is_empty() {
                let released = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                let _ = pods.patch(&pod.name_any(), &PatchParams::default(), &released).await;
            }
        }
        let all: Api<v1::Namespace> = Api::all(self.client.clone());
        all.delete(&self.name, &DeleteParams::background()).await.unwrap();
    }
}

/// A namespace with a service account for Serin, which has the rights of the manifests.
pub(crate) struct Tenant {
    pub(crate) client: Client,
    /// The client of Serin's account.
    pub(crate) own: Client,
    pub(crate) namespace: String,
    host: IpAddr,
    kubeconfig: PathBuf,
    _folder: tempfile::TempDir,
}

impl Tenant {
    /// Fills a namespace; nothing, and says so, if this machine can not be reached.
    pub(crate) async fn furnish(namespace: &Namespace, kubeconfig: &Path) -> Option<Self> {
        let Some(host) = own_address() else {
            skipped("the cases of a cluster: this machine has no address but loopback's");
            return None;
        };
        let (client, namespace) = (namespace.client.clone(), namespace.name.clone());
        let account = object(json!({ "metadata": { "name": "serin" } }));
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        accounts.create(&PostParams::default(), &account).await.unwrap();
        let spec = TokenRequestSpec { expiration_seconds: Some(3600), ..Default::default() };
        let wanted = TokenRequest { spec, ..Default::default() };
        let options = PostParams::default();
        let token = accounts.create_token_request("serin", &options, &wanted).await.unwrap();
        let own = with_token(read(kubeconfig), token.status.unwrap().token);
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, serde_json::to_string(&own).unwrap()).unwrap();
        let own = self::client(own).await;
        let tenant = Self { client, own, namespace, host, kubeconfig, _folder: folder };
        for file in ["rules-access.yaml", "pools/pools-access.yaml"] {
            for value in base(file) {
                tenant.give(value).await;
            }
        }
        tenant.has_its_rights(&ListParams::default().fields("metadata.name=serin")).await;
        Some(tenant)
    }

    async fn give(&self, mut value: Value) {
        if value["kind"] == "Role" {
            self.create::<Role>(value).await;
        } else {
            value["subjects"][0]["namespace"] = self.namespace.as_str().into();
            self.create::<RoleBinding>(value).await;
        }
    }

    /// Waits until the authorizer knows of the rights: it is told of them like everybody else.
    pub(crate) async fn has_its_rights(&self, config_maps: &ListParams) {
        let every = ListParams::default();
        let maps: Api<ConfigMap> = Api::namespaced(self.own.clone(), &self.namespace);
        let pods: Api<Pod> = Api::namespaced(self.own.clone(), &self.namespace);
        eventually("the rights are in force", async || {
            maps.list(config_maps).await.is_ok() && pods.list(&every).await.is_ok()
        })
        .await;
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K: Kind>(&self, value: Value) -> K {
        self.api::<K>().create(&PostParams::default(), &object(value)).await.unwrap()
    }

    pub(crate) async fn patch<K: Kind>(&self, name: &str, patch: Value) -> K {
        let patch = Patch::Merge(patch);
        self.api::<K>().patch(name, &PatchParams::default(), &patch).await.unwrap()
    }

    /// Puts these rules into the `ConfigMap` that is there already.
    pub(crate) async fn replace_rules(&self, rules: &str) -> ConfigMap {
        let map =
            object(json!({ "metadata": { "name": "serin" }, "data": { "serin.yaml": rules } }));
        self.api::<ConfigMap>().replace("serin", &PostParams::default(), &map).await.unwrap()
    }

    /// The whole proxy as Serin's account, with these rules in `serin`.
    pub(crate) async fn serving(&self, rules: &str) -> App {
        let map = json!({ "metadata": { "name": "serin" }, "data": { "serin.yaml": rules } });
        self.create::<ConfigMap>(map).await;
        let place = format!("{}/serin", self.namespace);
        self.app(Place::config_map(&place).unwrap()).await
    }

    /// The same with rules from any place.
    pub(crate) async fn app(&self, place: Place) -> App {
        let mut app = App::start_early(Options {
            kubeconfig: Some(self.kubeconfig.clone()),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            event_pause: Duration::from_millis(50),
            ..Options::at(place)
        })
        .await;
        app.listening().await;
        app
    }

    /// An origin that others can reach, and that answers with its name.
    pub(crate) async fn origin(&self, name: &str) -> Origin {
        let name: Arc<str> = name.into();
        let socket = TcpListener::bind((self.host, 0)).await.unwrap();
        Origin::listen(socket, move |mut connection| {
            let name = Arc::clone(&name);
            async move {
                while connection.request().await.is_ok() {
                    connection.answer(&name).await;
                }
            }
        })
    }

    /// An origin that serves each connection as it is told.
    pub(crate) async fn listen(&self) -> TcpListener {
        TcpListener::bind((self.host, 0)).await.unwrap()
    }

    /// A pod that nobody runs; `held`, it stays for a while when it is deleted.
    pub(crate) async fn make_pod(&self, name: &str, version: &str, port: u16, held: bool) {
        let labels = json!({ "app": "shop", "version": version });
        let mut metadata = json!({ "name": name, "labels": labels });
        if held {
            metadata["finalizers"] = json!([HOLDER]);
        }
        let ports = json!([{ "name": "http", "containerPort": port }]);
        let container = json!({ "name": "shop", "image": "serin.test/none", "ports": ports });
        self.create::<Pod>(json!({
            "metadata": metadata,
            "spec": {
                // No scheduler has this name, so the pod stays the case's own.
                "schedulerName": "none",
                "serviceAccountName": "serin",
                "automountServiceAccountToken": false,
                "containers": [container],
            },
        }))
        .await;
    }

    /// Says that a pod runs at this machine's address, ready or not.
    pub(crate) async fn run_pod(&self, name: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let ip = self.host.to_string();
        let status = json!({
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{ "ip": ip }],
            "conditions": [{ "type": "Ready", "status": ready }],
        });
        let patch = Patch::Merge(json!({ "status": status }));
        let pods = self.api::<Pod>();
        pods.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A pod that runs, and is this origin.
    pub(crate) async fn pod(&self, name: &str, version: &str, origin: &Origin, held: bool) {
        self.make_pod(name, version, origin.address.port(), held).await;
        self.run_pod(name, true).await;
    }

    /// Lets a pod go that is held.
    pub(crate) async fn release_pod(&self, name: &str) {
        self.patch::<Pod>(name, json!({ "metadata": { "finalizers": null } })).await;
    }

    /// A Service `shop` that selects nothing, with a port `web`.
    pub(crate) async fn service(&self, port: u16) {
        let ports = json!([{ "name": "web", "port": port }]);
        let service = json!({ "metadata": { "name": "shop" }, "spec": { "ports": ports } });
        self.create::<Service>(service).await;
    }

    /// A slice of the Service `shop` with one endpoint.
    pub(crate) async fn slice(&self, name: &str, origin: &Origin) {
        let labels = json!({
            "kubernetes.io/service-name": "shop",
            "endpointslice.kubernetes.io/managed-by": "serin.test",
        });
        let family = if self.host.is_ipv4() { "IPv4" } else { "IPv6" };
        self.create::<EndpointSlice>(json!({
            "metadata": { "name": name, "labels": labels },
            "addressType": family,
            "endpoints": self.endpoints(true),
            "ports": [{ "name": "web", "port": origin.address.port(), "protocol": "TCP" }],
        }))
        .await;
    }

    /// Says that the endpoint of a slice is ready, or is not.
    pub(crate) async fn change_slice(&self, name: &str, ready: bool) {
        self.patch::<EndpointSlice>(name, json!({ "endpoints": self.endpoints(ready) })).await;
    }

    fn endpoints(&self, ready: bool) -> Value {
        json!([{ "addresses": [self.host.to_string()], "conditions": { "ready": ready } }])
    }
}

/// The objects of a file in `config/kustomize/base`, which are in no namespace yet.
fn base(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/kustomize/base");
    let text = std::fs::read_to_string(folder.join(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// The same cluster for who has this token.
fn with_token(mut kubeconfig: Kubeconfig, token: String) -> Kubeconfig {
    let context = kubeconfig.current_context.clone().expect("a current context");
    kubeconfig.contexts.retain(|known| known.name == context);
    let context = kubeconfig.contexts[0].context.as_mut().expect("a context");
    context.user = Some("serin".to_owned());
    context.namespace = None;
    kubeconfig.clusters.retain(|known| known.name == context.cluster);
    let auth = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    let named = kube::config::NamedAuthInfo {
        name: "serin".to_owned(),
        auth_info: Some(auth),
        ..Default::default()
    };
    kubeconfig.auth_infos = vec![named];
    kubeconfig
}
