//! The rights that the manifests give: enough for everything, none too many, and what becomes of
//! requests where one is missing.

use crate::support::cluster::{config_map, endpoint_slice, pod, service};
use crate::support::{App, Cluster, Log, Origin, eventually, manifests};
use serde_json::{Value, json};
use serin::app::Options;
use serin::config::Place;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// The ways in which a pool finds its endpoints; each is a path and a pool.
const WAYS: [(&str, &str); 3] = [
    ("selector", "selector: app=shop, port: http"),
    ("number", "service: shop, port: 80"),
    ("name", "service: shop, port: web"),
];

/// Where pods and slices lead in each round.
const ORIGINS: [[&str; 2]; 3] =
    [["pods-0", "slices-0"], ["pods-1", "slices-1"], ["pods-2", "slices-2"]];

/// What is deployed: the objects with the rights, and where Serin finds its rules.
struct Deployed {
    objects: Vec<Value>,
    namespace: String,
    place: Place,
}

impl Deployed {
    fn by_name(objects: Vec<Value>) -> Self {
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        let text = |field: &str| map["metadata"][field].as_str().unwrap().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        assert_eq!(name, "serin");
        let place = Place::config_map(&format!("{namespace}/{name}")).unwrap();
        Self { objects, namespace, place }
    }
}

/// A cluster with a shop, of which everything leads to the origins of one round.
struct Shop {
    cluster: Cluster,
    origins: Vec<[Origin; 2]>,
    namespace: String,
}

impl Shop {
    async fn start(namespace: &str) -> Self {
        let mut origins = Vec::new();
        for [pods, slices] in ORIGINS {
            origins.push([Origin::named(pods).await, Origin::named(slices).await]);
        }
        let cluster = Cluster::start().await;
        cluster.put(service("shop", "shop").port("web", 80, 8080));
        Self { cluster, origins, namespace: namespace.to_owned() }
    }

    /// Lets the endpoints and the rules be those of a round; the version of the rules.
    fn turn(&self, round: usize) -> String {
        let [pods, slices] = self.origins[round].each_ref().map(|origin| origin.address.port());
        let shop = pod("shop", "shop-1").label("app", "shop").ready(true);
        self.cluster.put(shop.address("127.0.0.1").port("http", pods));
        let slice = endpoint_slice("shop", "shop-x", "shop").endpoint("127.0.0.1", true);
        self.cluster.put(slice.port("web", slices));
        self.put(&rules(round))
    }

    fn put(&self, rules: &str) -> String {
        let map = config_map(&self.namespace, "serin").label("app", "serin");
        let put = self.cluster.put(map.key("serin.yaml", rules));
        put["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    async fn app(&self, place: Place) -> App {
        let options = Options {
            kubeconfig: Some(self.cluster.kubeconfig_file()),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            event_pause: Duration::from_millis(20),
            ..Options::at(place)
        };
        App::start_early(options).await
    }

    /// The Event about this version of the rules.
    fn event(&self, version: &str) -> Option<Value> {
        let is_meant = |event: &Value| event["regarding"]["resourceVersion"] == version;
        self.cluster.events().into_iter().find(is_meant)
    }

    async fn is_told(&self, version: &str, reason: &str) {
        eventually(&format!("{reason} is told"), async || {
            self.event(version).is_some_and(|event| event["reason"] == reason)
        })
        .await;
    }

    /// Does everything that Serin can do in a cluster: other rules and other endpoints are seen,
    /// wrong rules are refused, and all of it is told.
    async fn exercise(&self, app: &mut App, round: usize) {
        let version = self.turn(round);
        app.listening().await;
        for (way, _) in WAYS {
            leads(app, round, way).await;
        }
        self.is_told(&version, "ConfigAccepted").await;
        let version = self.put("routes: no");
        self.is_told(&version, "ConfigRejected").await;
        // The same once more.
        assert!(app.bound.reload().await.is_err());
        eventually("the repetition is counted", async || {
            self.event(&version).is_some_and(|event| event["series"]["count"] == 2)
        })
        .await;
        leads(app, round, "selector").await;
    }
}

fn rules(round: usize) -> String {
    let pools = WAYS.map(|(name, found)| {
        format!("  - {{ name: {name}, kubernetes: {{ namespace: shop, {found} }} }}\n")
    });
    let routes = WAYS.map(|(name, _)| {
        format!(
            "  - {{ name: {name}, matches: [{{ path: {{ exact: /{round}/{name} }} }}], \
             split: [{{ to: {name} }}] }}\n"
        )
    });
    format!(
        "listeners: [{{ name: web, address: '127.0.0.1:0' }}]\ndrain: {{ delay: 0s }}\n\
         pools:\n{}routes:\n{}",
        pools.concat(),
        routes.concat()
    )
}

async fn answers(app: &App, round: usize, way: &str) -> String {
    app.get(&format!("/{round}/{way}")).await.origin().to_owned()
}

async fn leads(app: &App, round: usize, way: &str) {
    let expected = ORIGINS[round][usize::from(way != "selector")];
    let what = format!("/{round}/{way} leads to {expected}");
    eventually(&what, async || answers(app, round, way).await == expected).await;
}

async fn enough_and_no_more(deployed: Deployed) {
    let shop = Shop::start(&deployed.namespace).await;
    shop.cluster.rbac(&deployed.objects);
    shop.turn(0);
    let mut app = shop.app(deployed.place).await;
    for round in 0..ORIGINS.len() {
        shop.exercise(&mut app, round).await;
    }
    let failures = app.metric("serin_kubernetes_failures_total", &[]).await;
    assert!(failures.abs() < 0.5, "{failures} failures");
    eventually("all is watched", async || {
        ["pods", "services", "endpointslices", "configmaps"]
            .iter()
            .all(|resource| shop.cluster.open_watches(resource) > 0)
    })
    .await;
    assert_eq!(shop.cluster.unused_grants(), BTreeSet::new(), "nobody needs these");
}

#[tokio::test]
async fn an_ingress_has_the_rights_that_it_needs_and_no_more() {
    let Some(objects) = manifests::overlay("ingress") else { return };
    enough_and_no_more(Deployed::by_name(objects)).await;
}

#[tokio::test]
async fn a_sidecar_has_the_rights_that_it_needs_and_no_more() {
    let Some(objects) = manifests::overlay("sidecar") else { return };
    enough_and_no_more(Deployed::by_name(objects)).await;
}

#[tokio::test]
async fn the_chart_gives_the_rights_that_are_needed_and_no_more() {
    let pools = "pools.namespaces={shop}";
    let Some(objects) = manifests::chart("edge", &[pools, "rules.inline.a\\.yaml=routes: []"])
    else {
        return;
    };
    enough_and_no_more(Deployed::by_name(objects)).await;
    let objects = manifests::chart("edge", &[pools, "rules.selector=app=serin"]).unwrap();
    let place = Place::newest("edge/app=serin").unwrap();
    enough_and_no_more(Deployed { objects, namespace: "edge".to_owned(), place }).await;
}

/// A right: the namespace, the group, the resource and the verb.
type Right = [String; 4];

/// The objects with one rule for each right, and the rights.
fn one_by_one(mut objects: Vec<Value>) -> (Vec<Value>, Vec<Right>) {
    let mut rights = Vec::new();
    for role in objects.iter_mut().filter(|object| object["kind"] == "Role") {
        let namespace = role["metadata"]["namespace"].as_str().unwrap().to_owned();
        let mut single = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            let all = |field: &str| rule[field].as_array().unwrap().clone();
            assert_eq!(all("apiGroups").len(), 1);
            for resource in all("resources") {
                for verb in all("verbs") {
                    let mut rule = rule.clone();
                    rule["resources"] = json!([resource]);
                    rule["verbs"] = json!([verb]);
                    let of = |field: &str| rule[field][0].as_str().unwrap().to_owned();
                    let [group, resource, verb] = ["apiGroups", "resources", "verbs"].map(of);
                    rights.push([namespace.clone(), group, resource, verb]);
                    single.push(rule);
                }
            }
        }
        role["rules"] = single.into();
    }
    (objects, rights)
}

/// The same objects without some rights.
fn without(objects: &[Value], taken: impl Fn(&Right) -> bool) -> Vec<Value> {
    let mut objects = objects.to_vec();
    for role in objects.iter_mut().filter(|object| object["kind"] == "Role") {
        let namespace = role["metadata"]["namespace"].as_str().unwrap().to_owned();
        role["rules"].as_array_mut().unwrap().retain(|rule| {
            let of = |field: &str| rule[field][0].as_str().unwrap().to_owned();
            let [group, resource, verb] = ["apiGroups", "resources", "verbs"].map(of);
            !taken(&[namespace.clone(), group, resource, verb])
        });
    }
    objects
}

/// What the authorizer says of a right that is missing.
fn cannot([namespace, group, resource, verb]: &Right) -> String {
    format!(
        "cannot {verb} resource \"{resource}\" in API group \"{group}\" in the namespace \
         \"{namespace}\""
    )
}

/// The ways that lead nowhere without this right.
fn lost(right: &Right) -> BTreeSet<&'static str> {
    let [.., resource, verb] = right;
    let lost: &[&str] = match (resource.as_str(), verb.as_str()) {
        ("configmaps", "list") => &["selector", "number", "name"],
        ("pods", "list") => &["selector"],
        ("services", "list") => &["number"],
        ("endpointslices", "list") => &["number", "name"],
        _ => &[],
    };
    lost.iter().copied().collect()
}

async fn serves_what_it_can(objects: &[Value], right: &Right, place: Place) {
    let log = Log::start();
    let namespace = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let shop = Shop::start(namespace["metadata"]["namespace"].as_str().unwrap()).await;
    shop.cluster.rbac(&without(objects, |taken| taken == right));
    shop.turn(0);
    let mut app = shop.app(place).await;
    let [_, _, resource, verb] = right;
    let is_unread = resource == "configmaps" && verb == "list";
    if !is_unread {
        app.listening().await;
        for (way, _) in WAYS.iter().filter(|(way, _)| !lost(right).contains(way)) {
            leads(&app, 0, way).await;
        }
    }
    if verb == "patch" {
        // Used only to tell the same once more.
        let version = shop.put("routes: no");
        shop.is_told(&version, "ConfigRejected").await;
        assert!(app.bound.reload().await.is_err());
    }
    let cannot = cannot(right);
    eventually(&format!("the log says {cannot}"), async || log.says(&cannot)).await;
    let labels = [("resource", resource.as_str()), ("reason", "forbidden")];
    assert!(app.metric("serin_kubernetes_failures_total", &labels).await >= 1.0);
    let readyz = app.admin("/readyz").await;
    assert_eq!(readyz.status, if is_unread { 503 } else { 200 });
    assert_eq!(app.admin("/livez").await.status, 200);
    if is_unread {
        assert!(readyz.text().contains(&cannot), "{}", readyz.text());
    } else {
        for (way, _) in WAYS {
            let expected = if lost(right).contains(way) { 503 } else { 200 };
            assert_eq!(app.get(&format!("/0/{way}")).await.status, expected, "{way}");
        }
    }
    if verb == "watch" {
        // What changes is listed from time to time.
        shop.turn(1);
        for (way, _) in WAYS {
            leads(&app, 1, way).await;
        }
    }
    shop.cluster.rbac(objects);
    shop.exercise(&mut app, 2).await;
    assert_eq!(app.admin("/readyz").await.status, 200);
}

#[tokio::test]
async fn what_one_missing_right_takes_away_is_said_and_is_back_with_it() {
    let Some(objects) = manifests::overlay("ingress") else { return };
    let place = Deployed::by_name(objects.clone()).place;
    let (objects, rights) = one_by_one(objects);
    assert_eq!(rights.len(), 10, "{rights:?}");
    for right in &rights {
        println!("without {right:?}");
        serves_what_it_can(&objects, right, place.clone()).await;
    }
}

#[tokio::test]
async fn of_two_missing_rights_the_second_is_said_when_the_first_is_there() {
    let Some(objects) = manifests::overlay("ingress") else { return };
    let deployed = Deployed::by_name(objects);
    let (objects, rights) = one_by_one(deployed.objects);
    let of = |resource: &str, verb: &str| {
        rights.iter().find(|right| right[2] == resource && right[3] == verb).unwrap()
    };
    for resource in ["configmaps", "pods"] {
        let log = Log::start();
        let shop = Shop::start(&deployed.namespace).await;
        shop.cluster.rbac(&without(&objects, |taken| taken[2] == resource));
        shop.turn(0);
        let mut app = shop.app(deployed.place.clone()).await;
        for verb in ["list", "watch"] {
            let missing = cannot(of(resource, verb));
            eventually(&format!("the log says {missing}"), async || log.says(&missing)).await;
            if resource == "configmaps" {
                eventually("the API says it", async || {
                    let shown: Value =
                        serde_json::from_str(&app.admin("/api/config").await.text()).unwrap();
                    let said = shown["lastError"]["diagnostics"][0]["message"].as_str();
                    said.is_some_and(|said| said.contains(&missing))
                })
                .await;
            }
            shop.cluster.rbac(&without(&objects, |taken| {
                taken[2] == resource && taken[3] == "watch" && verb == "list"
            }));
        }
        shop.exercise(&mut app, 1).await;
    }
}
