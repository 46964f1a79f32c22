//! What Helm makes of the chart, and which values its schema refuses.

use super::objects::{Named, Objects, Pods};
use super::{copy, files, printed, program, right, root};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::Role;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Helm, with a home of its own.
struct Helm {
    program: String,
    home: tempfile::TempDir,
}

impl Helm {
    fn find() -> Option<Self> {
        let program =
            program("SERIN_HELM", "helm", &["version"], "the Helm chart was not rendered")?;
        Some(Self { program, home: tempfile::tempdir().unwrap() })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.home.path().join(folder));
        }
        command.env_remove("KUBECONFIG").args(arguments).output().unwrap()
    }

    fn template(&self, chart: &Path, arguments: &[&str]) -> Output {
        let chart = chart.to_str().unwrap();
        self.run(&[&["template", "demo", chart, "--namespace", "edge"], arguments].concat())
    }

    /// The objects of the chart with some values, which all must be right.
    fn objects(&self, arguments: &[&str]) -> Objects {
        let output = self.template(&chart(), arguments);
        right(&format!("helm template {}", arguments.join(" ")), &printed(&output))
    }
}

fn chart() -> PathBuf {
    root().join("config/helm/serin")
}

fn values(name: &str) -> String {
    chart().join(format!("ci/{name}-values.yaml")).display().to_string()
}

fn yaml(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The keys of values, as paths; those of maps that are the user's are not looked into.
fn keys(schema: &Value, values: &Value, path: &str, found: &mut [Vec<String>; 2]) {
    let properties = schema["properties"].as_object();
    let Some(properties) = properties.filter(|_| schema["additionalProperties"] == false) else {
        return;
    };
    let join = |key: &str| format!("{path}.{key}");
    found[0].extend(properties.keys().map(|key| join(key)));
    found[1].extend(values.as_object().into_iter().flat_map(|map| map.keys().map(|key| join(key))));
    for (key, schema) in properties {
        keys(schema, &values[key], &join(key), found);
    }
}

#[test]
fn the_schema_knows_every_value_and_every_value_has_a_default() {
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let mut found = [Vec::new(), Vec::new()];
    let schema = serde_json::from_str(&schema).unwrap();
    keys(&schema, &yaml(&chart().join("values.yaml")), "", &mut found);
    let [mut known, mut written] = found;
    known.sort();
    // Of a parent chart.
    written.push(".global".to_owned());
    written.sort();
    assert_eq!(known, written);
    assert!(known.len() > 70, "{}", known.len());
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = yaml(&chart().join("Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn the_chart_is_right_with_every_set_of_values() {
    let Some(helm) = Helm::find() else { return };
    let chart = chart().display().to_string();
    printed(&helm.run(&["lint", "--strict", &chart]));
    let objects = helm.objects(&[]);
    assert!(objects.named::<Deployment>("demo-serin").is_some());
    let mut count = 0;
    for path in files(&root().join("config/helm/serin/ci")) {
        let path = path.to_str().unwrap();
        printed(&helm.run(&["lint", "--strict", &chart, "--values", path]));
        assert!(fs::read_to_string(path).unwrap().starts_with("# "), "{path}");
        helm.objects(&["--values", path]);
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn everything_that_can_be_switched_on_is_there() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["--values", &values("everything")]);
    let pods = &Pods::all(&objects)[0];
    assert_eq!(pods.rules(), Some(("--configmap", "edge")));
    assert_eq!(pods.labels().get("team").map(String::as_str), Some("edge"));
    assert!(pods.annotations().keys().eq(["example.com/a"]));
    assert!(
        pods.serin()
            .unwrap()
            .image
            .as_ref()
            .unwrap()
            .starts_with("registry.example.com/serin:1.2.3@sha")
    );
    let service: &Service = objects.named("edge").unwrap();
    assert_eq!(service.spec.as_ref().unwrap().ports.as_ref().unwrap().len(), 2);
    assert_eq!(objects.of::<NetworkPolicy>().count(), 1);
    let places: Vec<_> = objects.of::<Role>().map(Named::namespace).collect();
    assert_eq!(places, ["edge", "shop", "legacy"]);
    let dashboard: &ConfigMap = objects.named("edge-dashboard").unwrap();
    assert_eq!(dashboard.namespace(), "grafana");
    assert_eq!(dashboard.labels().get("grafana_dashboard").map(String::as_str), Some("1"));
}

#[test]
fn rules_of_others_are_used_where_they_are() {
    let Some(helm) = Helm::find() else { return };
    let objects = helm.objects(&["--values", &values("existing")]);
    let existing = Some(("--configmap", "shop-rules/serin.yaml"));
    assert_eq!(Pods::all(&objects)[0].rules(), existing);
    assert_eq!(Pods::all(&objects)[0].account(), "edge");
    assert_eq!(objects.of::<ConfigMap>().count(), 0);
    let objects = helm.objects(&["--values", &values("selector")]);
    assert_eq!(Pods::all(&objects)[0].rules(), Some(("--configmap-selector", "app=serin")));
    assert_eq!(objects.of::<ConfigMap>().count(), 0);
}

#[test]
fn a_change_of_the_rules_leaves_the_pods_alone() {
    let Some(helm) = Helm::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("serin.yaml");
    let mut seen = Vec::new();
    for port in [8080, 8081] {
        let text = format!("listeners: [{{ name: web, address: '0.0.0.0:{port}' }}]\n");
        fs::write(&rules, text).unwrap();
        let option = format!(r"rules.inline.serin\.yaml={}", rules.display());
        let output = printed(&helm.template(&chart(), &["--set-file", &option]));
        let objects = Objects::parse("chart", &output);
        let map = objects.named::<ConfigMap>("demo-serin").unwrap().clone();
        seen.push((objects.named::<Deployment>("demo-serin").unwrap().clone(), map));
    }
    assert_eq!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
}

#[test]
fn the_packed_chart_has_the_dashboard() {
    let Some(helm) = Helm::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    printed(&helm.run(&["package", chart().to_str().unwrap(), "--destination", place]));
    let packed = files(folder.path()).remove(0);
    let output = printed(&helm.template(&packed, &["--set", "dashboard.enabled=true"]));
    let objects = right("packed", &output);
    let map: &ConfigMap = objects.named("demo-serin-dashboard").unwrap();
    let packed = &map.data.as_ref().unwrap()["serin.json"];
    let written = fs::read_to_string(root().join("config/dashboards/serin.json")).unwrap();
    assert_eq!(*packed, written);
}

/// The chart of an app that has Serin beside it, as the README of the chart says.
fn parent(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    copy(&chart(), &folder.join("charts/serin"));
    let version = &yaml(&chart().join("Chart.yaml"))["version"];
    write(
        "Chart.yaml",
        &format!(
            "apiVersion: v2\nname: shop\nversion: 1.0.0\n\
             dependencies: [{{ name: serin, version: {version} }}]\n"
        ),
    );
    let values = fs::read_to_string(values("sidecar")).unwrap();
    write("values.yaml", &format!("serin:\n  {}", values.trim_end().replace('\n', "\n  ")));
    write(
        "templates/shop.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata: { name: shop, namespace: {{ .Release.Namespace }} }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec:
      serviceAccountName: shop
      terminationGracePeriodSeconds: 45
      initContainers:
        - {{- include \"serin.sidecar\" .Subcharts.serin | nindent 10 }}
      containers:
        - name: shop
          image: shop
          lifecycle: { preStop: { sleep: { seconds: 10 } } }
          resources: { requests: { cpu: \"1\", memory: 1Gi }, limits: { memory: 1Gi } }
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
            seccompProfile: { type: RuntimeDefault }
---
apiVersion: v1
kind: Service
metadata: { name: shop, namespace: {{ .Release.Namespace }} }
spec: { selector: { app: shop }, ports: [{ port: 80, targetPort: 8080 }] }
",
    );
}

#[test]
fn a_chart_that_depends_on_it_puts_serin_beside_its_app() {
    let Some(helm) = Helm::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    parent(folder.path());
    let text = printed(&helm.template(folder.path(), &["--namespace", "shop"]));
    let objects = right("parent", &text);
    let pods = &Pods::all(&objects)[0];
    let serin = pods.serin().unwrap();
    assert_eq!((&*serin.name, serin.restart_policy.as_deref()), ("serin", Some("Always")));
    assert_eq!(pods.rules(), Some(("--configmap", "serin")));
    assert_eq!(objects.of::<Deployment>().count(), 1, "the chart itself runs nothing");
    let refused = helm.template(folder.path(), &["--set", "serin.mode=ingress"]);
    assert!(!refused.status.success());
}

#[test]
fn wrong_values_are_refused_with_their_names() {
    let Some(helm) = Helm::find() else { return };
    let inline = r"rules.inline.serin\.yaml";
    let pool = format!("{inline}=pools: [{{name: a\\, kubernetes: {{namespace: b\\, port: 1}}}}]");
    let broken = format!("{inline}=pools: [");
    let mut wrong = Vec::new();
    for (set, says) in [
        ("replica=3", "replica"),
        ("mode=both", "mode"),
        ("image.tags=1", "tags"),
        ("image.digest=sha256:1", "digest"),
        ("rules.inline.serin=a", "serin"),
        ("rules.existingConfigMap=Rules", "existingConfigMap"),
        ("rules.existingConfigMap=a,rules.selector=b=c", "rules"),
        ("pools.namespaces={shop,shop}", "namespaces"),
        ("pools.namespaces={Shop}", "namespaces"),
        ("pools.namespaces=shop", "namespaces"),
        ("adminPort=99", "adminPort"),
        ("adminPort=http", "adminPort"),
        ("ports=null", "ports"),
        ("ports[0].containerPort=80", "containerPort"),
        ("ports[0].target=80", "target"),
        ("service.type=ExternalName", "type"),
        ("autoscaling.minReplicas=0", "minReplicas"),
        ("autoscaling.minReplicas=20", "maxReplicas is less than minReplicas"),
        ("resources.requests=null", "resources.requests.cpu is needed"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("topologySpread.zone=Sometimes", "zone"),
        ("terminationGracePeriodSeconds=0", "terminationGracePeriodSeconds"),
        ("log.format=xml", "format"),
        ("metrics.serviceMonitor.interval=15", "interval"),
        ("resources.request.cpu=1", "request"),
        ("sidecar.workers=0", "workers"),
        (&pool, "looks into the namespace b, which pools.namespaces does not allow"),
        (&broken, "serin.yaml is not YAML"),
    ] {
        let output = helm.template(&chart(), &["--set", set]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !said.contains(says) {
            wrong.push(format!("{set}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
