//! What `kubectl kustomize` makes of the overlays, with and without the components.

use super::objects::{Named, Objects, Pods, ServiceMonitor};
use super::{copy, printed, program, right, root};
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

fn built(kubectl: &str, folder: &Path) -> Objects {
    let output = Command::new(kubectl).arg("kustomize").arg(folder).output().unwrap();
    right(&folder.display().to_string(), &printed(&output))
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
