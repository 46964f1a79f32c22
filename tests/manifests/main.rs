//! What deploys Serin on Kubernetes: every object, every template and every document in them.

#![cfg(feature = "kube")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod dashboard;
mod helm;
mod kustomize;
mod objects;
mod pods;
mod rights;
mod rules;
mod walk;

use objects::Objects;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The image of this version.
const IMAGE: &str = concat!("ghcr.io/serin-proxy/serin:", env!("CARGO_PKG_VERSION"));

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder and of those inside, sorted; links are followed.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// The program that a variable names, or the one of this name, if it runs; says so past the
/// capturing of tests' output if it does not.
fn program(variable: &str, name: &str, version: &[&str], what: &str) -> Option<String> {
    use std::io::Write;
    let program = std::env::var(variable).unwrap_or_else(|_| name.to_owned());
    let there = Command::new(&program).args(version).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(program);
    }
    let _ = writeln!(
        std::io::stderr(),
        "\nSKIPPED: {what}, because `{program} {}` fails: install {name}, or name it in \
         {variable}\n",
        version.join(" ")
    );
    None
}

/// What a program printed that must succeed.
fn printed(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What does not hold of objects that are applied together, and should.
fn wrong(objects: &Objects) -> Vec<String> {
    let mut wrong = Vec::new();
    pods::check(objects, &mut wrong);
    rights::check(objects, &mut wrong);
    rules::check(objects, &mut wrong);
    wrong
}

/// Objects of which everything holds.
fn right(name: &str, text: &str) -> Objects {
    let objects = Objects::parse(name, text);
    let wrong = wrong(&objects);
    assert!(wrong.is_empty(), "{name}:\n  {}", wrong.join("\n  "));
    objects
}

#[test]
fn every_object_that_is_written_is_of_its_kind_and_says_what_it_is_for() {
    let mut count = 0;
    for folder in ["config/kustomize", "config/examples/kubernetes"] {
        for path in files(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                assert!(path.ends_with("README.md"), "{} is no YAML", path.display());
                continue;
            }
            assert!(text.starts_with("# "), "{} does not say what it is for", path.display());
            if path.file_name().unwrap() != "kustomization.yaml" {
                count += Objects::parse(&path.display().to_string(), &text).all.len();
            }
        }
    }
    assert!(count > 25, "{count} objects");
}
