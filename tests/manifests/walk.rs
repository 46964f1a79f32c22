//! The walk through a gray release does what its README says.

use super::objects::{Named, Objects, Pods, includes};
use super::rules::Rules;
use super::{files, right, root};
use k8s_openapi::api::core::v1::ConfigMap;
use serin::proxy::explain::{Question, explain};
use std::collections::BTreeMap;
use std::fs;

fn read(name: &str) -> String {
    fs::read_to_string(root().join("config/examples/kubernetes").join(name)).unwrap()
}

/// The rules of a step.
fn rules(name: &str) -> Rules {
    let objects = Objects::parse(name, &read(name));
    let map: &ConfigMap = objects.of().next().unwrap();
    assert_eq!((map.namespace(), map.name()), ("serin", "serin"), "{name}");
    Rules::read(map, None).unwrap()
}

/// How many of the users u-1 to u-1000 get each version, as `sort | uniq -c` prints it.
fn counted(name: &str, app: Option<&str>) -> String {
    let compiled = rules(name).compile_usable().unwrap();
    let mut counts = BTreeMap::new();
    for user in 1..=1000 {
        let mut headers = vec![("x-user-id".to_owned(), format!("u-{user}"))];
        headers.extend(app.map(|version| ("x-app-version".to_owned(), version.to_owned())));
        let question = Question {
            method: "GET".to_owned(),
            url: "http://localhost:8080/".to_owned(),
            headers,
            client_ip: None,
        };
        let answer = explain(&compiled.snapshot, &question).unwrap();
        let version = match answer.pool.as_deref() {
            Some("stable") => "v1",
            Some("canary") => "v2",
            other => panic!("{other:?}"),
        };
        *counts.entry(version).or_insert(0) += 1;
    }
    let lines: Vec<_> =
        counts.iter().map(|(version, count)| format!("{count:7} {version}\n")).collect();
    lines.concat()
}

#[test]
fn each_step_gives_as_many_users_the_new_version_as_the_readme_says() {
    let readme = read("README.md");
    let mut rest = readme.as_str();
    for (name, app) in [
        ("02-canary-5-percent.yaml", None),
        ("03-app-version.yaml", None),
        ("03-app-version.yaml", Some("2.5.1")),
        ("05-promote.yaml", None),
        ("06-roll-back.yaml", None),
    ] {
        let counted = counted(name, app);
        let at = rest.find(&counted);
        let at = at.unwrap_or_else(|| panic!("{name}: the README does not say\n{counted}"));
        rest = &rest[at + counted.len()..];
    }
    assert_eq!(
        counted("02-canary-5-percent.yaml", None),
        counted("03-app-version.yaml", Some("2.3"))
    );
}

#[test]
fn each_step_is_right_and_the_readme_applies_it() {
    let readme = read("README.md");
    for path in files(&root().join("config/examples/kubernetes")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(readme.contains(&format!("kubectl apply -f {name}")), "{name}");
        if name != "04-mistake.yaml" {
            right(name, &read(name));
        }
    }
}

#[test]
fn the_mistake_is_refused_as_the_readme_says() {
    let Err(diagnostics) = rules("04-mistake.yaml").compile() else { panic!("it is taken") };
    assert_eq!(diagnostics.len(), 1);
    let said = diagnostics[0].to_string();
    assert!(read("README.md").contains(&said), "the README does not say\n{said}");
}

#[test]
fn pools_mean_the_pods_of_the_walk() {
    let shop = Objects::parse("01-shop.yaml", &read("01-shop.yaml"));
    let pods = Pods::all(&shop);
    for step in ["02-canary-5-percent.yaml", "06-roll-back.yaml"] {
        let text = &rules(step).files[0].1;
        let document: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        for (pool, deployment) in [("stable", "shop-v1"), ("canary", "shop-v2")] {
            let pools = document["pools"].as_array().unwrap();
            let meant = pools.iter().find(|known| known["name"] == pool).unwrap();
            let kubernetes = &meant["kubernetes"];
            let pairs = kubernetes["selector"].as_str().unwrap().split(',');
            let selector = pairs.map(|pair| pair.split_once('=').unwrap());
            let selector =
                selector.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let found: Vec<_> = pods
                .iter()
                .filter(|pods| kubernetes["namespace"] == pods.deployment.namespace())
                .filter(|pods| includes(&pods.labels(), &selector))
                .collect();
            assert_eq!(found.len(), 1, "{pool}");
            assert_eq!(found[0].deployment.name(), deployment);
            let ports =
                found[0].containers().flat_map(|container| container.ports.iter().flatten());
            let names: Vec<_> = ports.map(|port| port.name.clone().unwrap()).collect();
            assert_eq!(names, [kubernetes["port"].as_str().unwrap()]);
        }
    }
}
