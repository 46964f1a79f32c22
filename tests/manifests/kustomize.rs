//! What `kubectl kustomize` makes of the overlays, with and without the components.

use super::objects::{Named, Objects, Pods, ServiceMonitor};
use super::{copy, printed, program, right, root, wrong};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::Role;
use std::fs;
use std::path::Path;
use std::process::Command;

fn kubectl() -> Option<String> {
    let what = "kustomize overlays were not built";
    program("SERIN_KUBECTL", "kubectl", &["version", "--client"], what)
}

fn text(kubectl: &str, folder: &Path) -> String {
    printed(&Command::new(kubectl).arg("kustomize").arg(folder).output().unwrap())
}

fn built(kubectl: &str, folder: &Path) -> Objects {
    right(&folder.display().to_string(), &text(kubectl, folder))
}

#[test]
fn the_ingress_is_right_as_it_is_applied() {
    let Some(kubectl) = kubectl() else { return };
    let objects = built(&kubectl, &root().join("config/kustomize/overlays/ingress"));
    assert_eq!(objects.all.len(), 11);
    let names = |role: &Role| (role.namespace().to_owned(), role.name().to_owned());
    let mut roles: Vec<_> = objects.of::<Role>().map(names).collect();
    roles.sort();
    let expected = [("serin", "serin-rules"), ("shop", "serin-pools")];
    assert_eq!(roles, expected.map(|(there, name)| (there.to_owned(), name.to_owned())));
}

#[test]
fn the_components_can_be_switched_on_and_nothing_is_scraped_twice() {
    let Some(kubectl) = kubectl() else { return };
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("config/kustomize"), folder.path());
    let file = folder.path().join("overlays/ingress/serin/kustomization.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let on = text.replace("components: []", "components:").replace("#  - ../", "  - ../");
    assert_eq!(on.matches("\n  - ../../../components/").count(), 2, "{on}");
    fs::write(&file, on).unwrap();
    let objects = built(&kubectl, &folder.path().join("overlays/ingress"));
    assert_eq!(objects.of::<ServiceMonitor>().count(), 1);
    assert_eq!(objects.of::<NetworkPolicy>().count(), 1);
    let annotations = Pods::all(&objects)[0].annotations();
    assert!(annotations.is_empty(), "{annotations:?}");
}

#[test]
fn the_sidecar_is_put_before_the_app_that_is_labelled_and_no_other() {
    let Some(kubectl) = kubectl() else { return };
    let objects = built(&kubectl, &root().join("config/kustomize/overlays/sidecar"));
    let all = Pods::all(&objects);
    let with: Vec<_> = all.iter().map(|pods| (pods.deployment.name(), pods.serin())).collect();
    assert_eq!(with.len(), 2);
    for (name, serin) in with {
        assert_eq!(serin.is_some(), name == "shop-v1", "{name}");
    }
    let app: &Deployment = objects.named("shop-v1").unwrap();
    let spec = app.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    let names = |containers: &[k8s_openapi::api::core::v1::Container]| -> Vec<String> {
        containers.iter().map(|container| container.name.clone()).collect()
    };
    assert_eq!(names(spec.init_containers.as_ref().unwrap()), ["serin"]);
    assert_eq!(names(&spec.containers), ["shop"]);
}

/// A change of what is applied, and what is then said.
type Mistake = (&'static str, &'static str, &'static str);

#[test]
fn what_is_wrong_with_an_ingress_is_found() {
    let mistakes: [Mistake; 26] = [
        ("runAsNonRoot: true", "runAsNonRoot: false", "serin may be root"),
        ("runAsUser: 65532", "runAsUser: 1000", "is not the user 65532"),
        ("Escalation: false", "Escalation: true", "may become more powerful"),
        ("RootFilesystem: true", "RootFilesystem: false", "may write to its root"),
        ("- ALL", "- KILL", "keeps capabilities"),
        ("RuntimeDefault", "Unconfined", "has no seccomp profile"),
        ("limits:", "claims: []\n          limits:\n            cpu: 2000m", "is throttled"),
        ("proxy/serin:", "proxy/serin:9", "its image is of another version"),
        ("path: /livez", "path: /readyz", "its probes are others"),
        ("port: admin", "port: adnim", "readiness: there is no port"),
        ("containerPort: 9901", "containerPort: 9902", "its probes are others"),
        ("metadata.name\n", "metadata.uid\n", "does not know the pod's name"),
        ("seconds: 5", "seconds: 0", "it ends before all know"),
        ("seconds: 5", "seconds: 9", "45 s to end, and it may take 45 s"),
        ("Seconds: 45", "Seconds: 40", "40 s to end, and it may take 41 s"),
        ("timeout: 30s", "timeout: 40s", "45 s to end, and it may take 51 s"),
        ("prometheus.io/path:", "checksum/rules:", "it would restart"),
        ("maxUnavailable: 0", "maxUnavailable: 1", "a rollout takes replicas away"),
        ("minReplicas: 2", "minReplicas: 1", "one replica is too few"),
        ("targetPort: http", "targetPort: htpp", "its pods have no port"),
        ("0.0.0.0:8080", "0.0.0.0:8081", "no port of the container is 0.0.0.0:8081"),
        ("- pods\n", "- secrets\n", "in shop"),
        ("- patch\n", "- update\n", "in serin"),
        ("resourceNames:\n  - serin", "resourceNames:\n  - rules", "in serin"),
        ("namespace: shop, selector", "namespace: cart, selector", "in cart [] instead of"),
        ("to: { stable", "to: { stabel", "no pool is named `stabel`"),
    ];
    let Some(kubectl) = kubectl() else { return };
    let text = text(&kubectl, &root().join("config/kustomize/overlays/ingress"));
    found(&text, &mistakes);
}

#[test]
fn what_is_wrong_with_a_sidecar_is_found() {
    let mistakes: [Mistake; 7] = [
        ("restartPolicy: Always", "workingDir: /", "it is a container of the start"),
        ("targetPort: 8080", "targetPort: 3000", "its port 3000 does not lead to Serin"),
        ("Name: shop", "Name: default", "instead of"),
        ("seconds: 10", "seconds: 30", "45 s to end, and it may take 48 s"),
        ("memory: 256Mi", "nothing: 256Mi", "serin has no limit of memory"),
        ("    version: v1\n---", "    version: v3\n---", "shop: it has no pods"),
        ("      version: v1\n  template", "      version: v3\n  template", "does not fit its pods"),
    ];
    let Some(kubectl) = kubectl() else { return };
    let text = text(&kubectl, &root().join("config/kustomize/overlays/sidecar"));
    found(&text, &mistakes);
}

/// Makes each mistake by itself; all must be found.
fn found(text: &str, mistakes: &[Mistake]) {
    let mut missed = Vec::new();
    for (part, by, says) in mistakes {
        assert!(text.contains(part), "{part}");
        let said = wrong(&Objects::parse(by, &text.replace(part, by)));
        if !said.iter().any(|known| known.contains(says)) {
            missed.push(format!("{by}: {said:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
