//! Every seed of the fuzz targets goes through its target: what was found once stays found.

#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a library of its own, of which this is a second home")]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(name: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(folder(name)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.trim_end_matches(".rs").to_owned()).collect()
}

#[test]
fn every_target_has_seeds_and_a_binary() {
    let known: BTreeSet<_> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known, names("seeds"));
    assert_eq!(known, names("targets"));
}

#[test]
fn no_seed_makes_its_target_panic() {
    let mut failed = Vec::new();
    for (name, run) in fuzz::TARGETS {
        for entry in fs::read_dir(folder("seeds").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            if catch_unwind(|| run(&bytes)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "what each panicked with stands above: {failed:#?}");
}
