//! The documents inside of `ConfigMap`s, and whether there is time enough to drain as they say.

use super::objects::{Named, Objects, Pods};
use super::pods::sleep;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use serin::config::compile::{Compiled, apply_endpoints, compile};
use serin::config::{Diagnostic, RawFile, render_text};
use serin::telemetry::metrics::Metrics;
use serin::upstream::registry::Registry;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The files of a document: their names and texts.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) files: Vec<(String, String)>,
}

impl Rules {
    /// Those of a `ConfigMap`: all of its keys that are YAML, or the one key.
    pub(crate) fn read(map: &ConfigMap, key: Option<&str>) -> Option<Self> {
        let is_meant = |name: &str| match key {
            Some(key) => name == key,
            None => [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending)),
        };
        let files = map.data.iter().flatten().filter(|(name, _)| is_meant(name));
        let place = format!("configmap/{}/{}", map.namespace(), map.name());
        let files = files.map(|(name, text)| (format!("{place}/{name}"), text.clone()));
        let files: Vec<_> = files.collect();
        (!files.is_empty()).then_some(Self { files })
    }

    /// Those that pods run with, if their `ConfigMap` is among the objects.
    pub(crate) fn of(objects: &Objects, pods: &Pods) -> Option<Self> {
        let ("--configmap", value) = pods.rules()? else { return None };
        let (name, key) =
            value.split_once('/').map_or((value, None), |(name, key)| (name, Some(key)));
        let map: &ConfigMap = objects.named(name)?;
        assert_eq!(map.namespace(), pods.deployment.namespace());
        Self::read(map, key)
    }

    fn documents(&self) -> impl Iterator<Item = Value> {
        self.files.iter().map(|(_, text)| serde_saphyr::from_str(text).unwrap())
    }

    /// The namespaces that pools name.
    pub(crate) fn namespaces(&self) -> BTreeSet<String> {
        let mut namespaces = BTreeSet::new();
        for document in self.documents() {
            for pool in document["pools"].as_array().into_iter().flatten() {
                if let Some(kubernetes) = pool["kubernetes"].as_object() {
                    let namespace = kubernetes["namespace"].as_str();
                    namespaces.insert(namespace.expect("a pool names its namespace").to_owned());
                }
            }
        }
        namespaces
    }

    /// Compiles them as they are.
    pub(crate) fn compile(&self) -> Result<Compiled, Vec<Diagnostic>> {
        compiled(self)
    }

    /// Compiles them with an endpoint in each pool that is looked up in the cluster, to ask what is
    /// decided when all pools are usable.
    pub(crate) fn compile_usable(&self) -> Result<Compiled, Vec<Diagnostic>> {
        compiled(&self.with_endpoints())
    }

    fn with_endpoints(&self) -> Self {
        let looked_up = regex::Regex::new(r"kubernetes: \{[^}]*\}").unwrap();
        let put = |text: &str| looked_up.replace_all(text, "endpoints: [127.0.0.1:9]").into_owned();
        Self { files: self.files.iter().map(|(name, text)| (name.clone(), put(text))).collect() }
    }
}

fn compiled(rules: &Rules) -> Result<Compiled, Vec<Diagnostic>> {
    let metrics = Arc::new(Metrics::new(1));
    let registry = Registry::new(Arc::clone(&metrics));
    let file = |(name, text): &(String, String)| RawFile {
        name: name.clone(),
        bytes: text.clone().into_bytes(),
    };
    let files: Vec<RawFile> = rules.files.iter().map(file).collect();
    let compiled = compile(&files, 1, &registry, &metrics)?;
    apply_endpoints(&compiled.config, &compiled.snapshot);
    Ok(compiled)
}

/// How long pods that go may be told to wait and drain, in seconds: the longest sleep, and the
/// drain of the rules, or the default one.
fn end(pods: &Pods, compiled: Option<&Compiled>) -> i64 {
    let sleep = pods.containers().map(sleep).max().unwrap_or(0);
    let drain = compiled.map(|compiled| compiled.config.drain.clone()).unwrap_or_default();
    let drain = drain.delay.0 + drain.timeout.0;
    sleep + i64::try_from(drain.as_secs()).unwrap() + 1
}

/// Says what is wrong with the rules, and with the time that pods have to end by them.
pub(crate) fn check(objects: &Objects, wrong: &mut Vec<String>) {
    for map in objects.of::<ConfigMap>() {
        let Some(rules) = Rules::read(map, None) else { continue };
        match rules.compile() {
            Err(diagnostics) => wrong.push(render_text(&diagnostics)),
            // The chart's rules before anybody has written any.
            Ok(compiled) if rules.files[0].1.contains("Nothing is behind Serin yet") => {
                let said: Vec<_> = compiled.warnings.iter().map(|known| &*known.message).collect();
                assert_eq!(said, ["there is no route: every request gets 404"]);
            }
            Ok(compiled) if !compiled.warnings.is_empty() => {
                wrong.push(render_text(&compiled.warnings));
            }
            Ok(_) => {}
        }
        if rules.documents().any(|document| !document["admin"].is_null()) {
            wrong.push(format!("{}: the admin address is given by --admin", map.name()));
        }
    }
    for pods in Pods::all(objects).iter().filter(|pods| pods.serin().is_some()) {
        let rules = Rules::of(objects, pods);
        let compiled = rules.and_then(|rules| rules.compile().ok());
        let end = end(pods, compiled.as_ref());
        let grace = pods.spec.termination_grace_period_seconds.unwrap_or(30);
        if grace <= end {
            let name = pods.deployment.name();
            wrong.push(format!("{name}: {grace} s to end, and it may take {end} s"));
        }
        let ports = pods.serin().unwrap().ports.clone().unwrap_or_default();
        let ports: BTreeSet<_> = ports.iter().map(|port| port.container_port).collect();
        for listener in compiled.iter().flat_map(|compiled| &compiled.config.listeners) {
            if !ports.contains(&i32::from(listener.address.port())) {
                wrong.push(format!("no port of the container is {}", listener.address.value));
            }
        }
    }
}
