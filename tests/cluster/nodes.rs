//! A Deployment of real pods, which is rolled out while requests come.

use crate::skipped;
use crate::support::{App, Load, eventually, within};
use crate::tenant::Tenant;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long a rollout may take; an image may have to be fetched.
const ROLLOUT_MAX: Duration = Duration::from_mins(5);
/// How long a connection to a pod may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);
const REPLICAS: i32 = 3;

/// What the pods run, and the port on which it answers 200 to `GET /`.
struct Image {
    name: String,
    port: u16,
}

/// What is needed: nodes and an image; what is missing is said.
async fn image(tenant: &Tenant) -> Option<Image> {
    let nodes: Api<Node> = Api::all(tenant.client.clone());
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let nodes = nodes.list(&ListParams::default()).await.unwrap();
    let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let (name, port) = (text("SERIN_TEST_IMAGE"), text("SERIN_TEST_PORT"));
    let missing = match (nodes.iter().any(is_ready), name, port) {
        (true, Some(name), Some(port)) => {
            let port = port.parse().expect("SERIN_TEST_PORT is a port");
            return Some(Image { name, port });
        }
        (false, ..) => "no node is Ready",
        _ => "name what pods run in SERIN_TEST_IMAGE and SERIN_TEST_PORT",
    };
    skipped(&format!("a Deployment that is rolled out: {missing}"));
    None
}

fn deployment(image: &Image) -> serde_json::Value {
    let port = image.port;
    let container = json!({
        "name": "shop",
        "image": image.name,
        "ports": [{ "name": "http", "containerPort": port }],
        "readinessProbe": { "tcpSocket": { "port": port }, "periodSeconds": 1 },
        "lifecycle": { "preStop": { "sleep": { "seconds": 3 } } },
    });
    json!({
        "metadata": { "name": "shop" },
        "spec": {
            "replicas": REPLICAS,
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
            "selector": { "matchLabels": { "app": "rolled" } },
            "template": {
                "metadata": { "labels": { "app": "rolled" } },
                "spec": {
                    "automountServiceAccountToken": false,
                    "terminationGracePeriodSeconds": 15,
                    "containers": [container],
                },
            },
        },
    })
}

/// Waits until all replicas are of the newest template and available.
async fn is_rolled_out(tenant: &Tenant) {
    let began = Instant::now();
    let is_done = async || {
        let deployment = tenant.api::<Deployment>().get("shop").await.unwrap();
        let status = deployment.status.unwrap_or_default();
        status.observed_generation >= deployment.metadata.generation
            && status.replicas == Some(REPLICAS)
            && status.updated_replicas == Some(REPLICAS)
            && status.available_replicas == Some(REPLICAS)
    };
    while !is_done().await {
        assert!(began.elapsed() < ROLLOUT_MAX, "it is not rolled out after {ROLLOUT_MAX:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// Where the pods are that are not about to go.
async fn addresses(tenant: &Tenant, image: &Image) -> Vec<SocketAddr> {
    let pods = tenant.api::<Pod>().list(&ListParams::default().labels("app=rolled")).await.unwrap();
    let staying = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let ips = staying.filter_map(|pod| pod.status?.pod_ip?.parse().ok());
    ips.map(|ip| SocketAddr::new(ip, image.port)).collect()
}

/// Whether the proxy's endpoints are exactly these.
async fn knows(app: &App, addresses: &[SocketAddr]) -> bool {
    let shown = app.admin("/api/pools").await.text();
    let usable = [("pool", "shop"), ("state", "usable")];
    let number = app.metric("serin_endpoints", &usable).await;
    number.to_string() == addresses.len().to_string()
        && addresses.iter().all(|address| shown.contains(&address.to_string()))
}

pub(crate) async fn a_deployment_is_rolled_out_and_no_request_is_lost(tenant: &Tenant) {
    let Some(image) = image(tenant).await else { return };
    tenant.create::<Deployment>(deployment(&image)).await;
    is_rolled_out(tenant).await;
    let first = addresses(tenant, &image).await;
    let reached = timeout(CONNECT_MAX, TcpStream::connect(first[0])).await;
    if !reached.is_ok_and(|connected| connected.is_ok()) {
        skipped("a Deployment that is rolled out: this machine does not reach the pods");
        return;
    }
    let pool = [("shop", "selector: app=rolled, port: http")];
    let app = tenant.serving(&crate::cases::rules(&tenant.namespace, &pool)).await;
    eventually("the pods are the endpoints", async || knows(&app, &first).await).await;
    let load = Load::start(app.address, 4);
    eventually("the load is under way", async || load.sent() > 100).await;
    let annotations = json!({ "annotations": { "serin.test/rolled": "again" } });
    let again = json!({ "spec": { "template": { "metadata": annotations } } });
    tenant.patch::<Deployment>("shop", again).await;
    is_rolled_out(tenant).await;
    let second = addresses(tenant, &image).await;
    assert!(first.iter().all(|address| !second.contains(address)), "{first:?} {second:?}");
    eventually("the new pods are the endpoints", async || knows(&app, &second).await).await;
    println!("{} requests while it was rolled out", load.sent());
    assert_eq!(within(load.failures()).await, Vec::<String>::new());
}
