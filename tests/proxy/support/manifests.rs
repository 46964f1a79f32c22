//! The objects that deploy Serin, as kubectl and Helm render them.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The objects of an overlay of `config/kustomize`; nothing, and says so, without kubectl.
pub(crate) fn overlay(name: &str) -> Option<Vec<Value>> {
    let folder = config("kustomize/overlays").join(name);
    let mut kubectl = program("SERIN_KUBECTL", "kubectl", &["version", "--client"])?;
    Some(rendered(kubectl.arg("kustomize").arg(folder)))
}

/// The objects of the chart with these settings; nothing, and says so, without Helm.
pub(crate) fn chart(namespace: &str, set: &[&str]) -> Option<Vec<Value>> {
    let mut helm = program("SERIN_HELM", "helm", &["version"])?;
    helm.args(["template", "serin"]).arg(config("helm/serin")).args(["--namespace", namespace]);
    helm.args(set.iter().flat_map(|set| ["--set", set]));
    let mut objects = rendered(&mut helm);
    for object in &mut objects {
        // What says none is put into that of the release.
        let place = &mut object["metadata"]["namespace"];
        if place.is_null() {
            *place = namespace.into();
        }
    }
    Some(objects)
}

fn config(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path)
}

/// The program that a variable names, or the one of this name, if it runs; says so past the
/// capturing of tests' output if it does not.
fn program(variable: &str, name: &str, version: &[&str]) -> Option<Command> {
    let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
    let there = Command::new(&program).args(version).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(Command::new(program));
    }
    let _ = writeln!(
        std::io::stderr(),
        "\nSKIPPED: the rights of the manifests were not tried, because `{program} {}` fails: \
         install {name}, or name it in {variable}\n",
        version.join(" ")
    );
    None
}

fn rendered(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parsed(&String::from_utf8(output.stdout).unwrap())
}

fn parsed(text: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}
