//! What has to hold of pods, and of what is about them: safety, probes, ports, selectors, the end.

use super::IMAGE;
use super::objects::{Labels, Named, Objects, Pods, ServiceMonitor, fits, includes};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde_json::{Value, json};

/// Says what is wrong with the pods and what selects them.
pub(crate) fn check(objects: &Objects, wrong: &mut Vec<String>) {
    for pods in Pods::all(objects) {
        let name = pods.deployment.name();
        let spec = pods.deployment.spec.as_ref().unwrap();
        if !fits(&spec.selector, &pods.labels()) {
            wrong.push(format!("{name}: its selector does not fit its pods"));
        }
        for constraint in pods.spec.topology_spread_constraints.iter().flatten() {
            if !fits(constraint.label_selector.as_ref().unwrap(), &pods.labels()) {
                wrong.push(format!("{name}: {} does not fit its pods", constraint.topology_key));
            }
        }
        for container in pods.containers() {
            unsafe_settings(&pods, container, wrong);
            for (what, get) in probes(container) {
                if port_of(container, &get.port).is_none() {
                    wrong.push(format!("{name}: {what}: there is no port {:?}", get.port));
                }
            }
        }
        if let Some(serin) = pods.serin() {
            serin_settings(&pods, serin, wrong);
        }
    }
    services(objects, wrong);
    selectors(objects, wrong);
    alone(objects, wrong);
}

/// What makes a container more powerful than it has to be.
fn unsafe_settings(pods: &Pods, container: &Container, wrong: &mut Vec<String>) {
    let pod = pods.spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let profile = own.seccomp_profile.or(pod.seccomp_profile).map(|profile| profile.type_);
    let resources = container.resources.clone().unwrap_or_default();
    let (requests, limits) =
        (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
    for (holds, what) in [
        (own.run_as_non_root.or(pod.run_as_non_root) == Some(true), "may be root"),
        (own.run_as_user.or(pod.run_as_user) == Some(65532), "is not the user 65532"),
        (own.allow_privilege_escalation == Some(false), "may become more powerful"),
        (own.privileged != Some(true), "is privileged"),
        (own.read_only_root_filesystem == Some(true), "may write to its root"),
        (capabilities.drop == Some(vec!["ALL".to_owned()]), "keeps capabilities"),
        (capabilities.add.is_none(), "has more capabilities"),
        (profile.as_deref() == Some("RuntimeDefault"), "has no seccomp profile"),
        (requests.contains_key("cpu") && requests.contains_key("memory"), "requests nothing"),
        (limits.contains_key("memory"), "has no limit of memory"),
        (!limits.contains_key("cpu"), "is throttled"),
    ] {
        if !holds {
            wrong.push(format!("{}: {} {what}", pods.deployment.name(), container.name));
        }
    }
    for shared in [pods.spec.host_network, pods.spec.host_pid, pods.spec.host_ipc] {
        if shared == Some(true) {
            wrong.push(format!("{}: it is not apart from its node", pods.deployment.name()));
        }
    }
}

fn probes(container: &Container) -> Vec<(&'static str, &HTTPGetAction)> {
    let named = [
        ("startup", &container.startup_probe),
        ("liveness", &container.liveness_probe),
        ("readiness", &container.readiness_probe),
    ];
    named
        .into_iter()
        .filter_map(|(what, probe)| Some((what, probe.as_ref()?.http_get.as_ref()?)))
        .collect()
}

/// The number of a port of a container, which is wanted by its number or its name.
fn port_of(container: &Container, wanted: &impl Serialize) -> Option<i32> {
    let wanted = json!(wanted);
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| match &wanted {
        Value::String(name) => port.name.as_ref() == Some(name),
        number => *number == port.container_port,
    })?;
    Some(port.container_port)
}

/// What Serin's own container needs.
fn serin_settings(pods: &Pods, serin: &Container, wrong: &mut Vec<String>) {
    let name = pods.deployment.name();
    let mut say = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{name}: {what}"));
        }
    };
    let image = serin.image.as_deref().unwrap_or_default();
    let ours = image.split([':', '@']).next() == IMAGE.split(':').next();
    say(!ours || image == IMAGE, "its image is of another version");
    let args: Vec<&str> = serin.args.iter().flatten().map(String::as_str).collect();
    let [_, rules, _, "--admin", admin] = args[..] else {
        panic!("{name}: arguments {args:?}");
    };
    say(["--configmap", "--configmap-selector"].contains(&rules), "it has no rules");
    say(pods.rules().is_some(), "its rules are not in its own namespace");
    let admin_port: i32 = admin.strip_prefix("0.0.0.0:").unwrap().parse().unwrap();
    let paths: Vec<_> = probes(serin)
        .into_iter()
        .map(|(what, get)| (what, get.path.as_deref(), port_of(serin, &get.port)))
        .collect();
    let expected = [("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")];
    let expected = expected.map(|(what, path)| (what, Some(path), Some(admin_port)));
    say(paths == expected, "its probes are others");
    let field = |variable: &str| {
        let variable = serin.env.iter().flatten().find(|known| known.name == variable)?;
        Some(&*variable.value_from.as_ref()?.field_ref.as_ref()?.field_path)
    };
    say(field("POD_NAME") == Some("metadata.name"), "it does not know the pod's name");
    say(field("POD_NAMESPACE") == Some("metadata.namespace"), "it does not know its namespace");
    let workers = serin.env.iter().flatten().find(|known| known.name == "SERIN_WORKERS");
    say(workers.is_some(), "it starts a worker for each core of the node");
    say(sleep(serin) > 0, "it ends before all know");
    let checksums = pods.annotations().into_keys().filter(|key| key.contains("checksum")).count();
    say(checksums == 0, "it would restart when the rules change");
    let is_sidecar = serin.restart_policy.as_deref() == Some("Always");
    let is_first = pods.containers().next().is_some_and(|first| first.name == serin.name);
    let inits = pods.spec.init_containers.as_ref().map_or(0, Vec::len);
    say((is_sidecar && is_first) || inits == 0, "it is a container of the start");
    if let Some(port) = pods.annotations().get("prometheus.io/port") {
        say(*port == admin_port.to_string(), "another port is scraped");
    }
    if !is_sidecar {
        let rolling = pods.deployment.spec.as_ref().and_then(|spec| spec.strategy.clone());
        let rolling = rolling.and_then(|strategy| strategy.rolling_update).unwrap_or_default();
        say(
            rolling.max_unavailable.is_some_and(|most| json!(most) == 0),
            "a rollout takes replicas away",
        );
    }
}

/// How long a container sleeps before it is told to end, in seconds.
pub(crate) fn sleep(container: &Container) -> i64 {
    let stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    stop.and_then(|stop| stop.sleep.as_ref()).map_or(0, |sleep| sleep.seconds)
}

/// Each Service has pods, and they have its ports.
fn services(objects: &Objects, wrong: &mut Vec<String>) {
    for service in objects.of::<Service>() {
        let (name, spec) = (service.name(), service.spec.as_ref().unwrap());
        let selector = spec.selector.clone().unwrap_or_default();
        let pods = Pods::all(objects);
        let behind: Vec<_> = pods
            .iter()
            .filter(|pods| pods.deployment.namespace() == service.namespace())
            .filter(|pods| includes(&pods.labels(), &selector))
            .collect();
        if behind.is_empty() {
            wrong.push(format!("{name}: it has no pods"));
        }
        for port in spec.ports.iter().flatten() {
            let target = port.target_port.as_ref().map_or(json!(port.port), |target| json!(target));
            for pods in &behind {
                let found = pods.containers().any(|one| port_of(one, &target).is_some());
                if !found {
                    wrong.push(format!("{name}: its pods have no port {target}"));
                }
                if pods.serin().and_then(|serin| port_of(serin, &target)).is_none() {
                    wrong.push(format!("{name}: its port {target} does not lead to Serin"));
                }
            }
        }
    }
}

/// What is said about pods is said about pods that are there.
fn selectors(objects: &Objects, wrong: &mut Vec<String>) {
    let pods: Vec<(&str, Labels)> = Pods::all(objects)
        .iter()
        .map(|pods| (pods.deployment.namespace(), pods.labels()))
        .collect();
    let mut selectors = Vec::new();
    for budget in objects.of::<PodDisruptionBudget>() {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        selectors.push((budget.namespace(), "PodDisruptionBudget", selector.unwrap()));
    }
    for policy in objects.of::<NetworkPolicy>() {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone());
        selectors.push((policy.namespace(), "NetworkPolicy", selector.unwrap()));
    }
    for (namespace, what, selector) in selectors {
        if !pods.iter().any(|(there, labels)| *there == namespace && fits(&selector, labels)) {
            wrong.push(format!("{what}: it is about no pods"));
        }
    }
    for monitor in objects.of::<ServiceMonitor>() {
        let services: Vec<_> = objects
            .of::<Service>()
            .filter(|service| fits(&monitor.spec.selector, &service.labels()))
            .collect();
        let ports = services.iter().filter_map(|service| service.spec.as_ref()?.ports.as_ref());
        let names: Vec<_> = ports.flatten().map(|port| port.name.as_deref()).collect();
        for port in &monitor.spec.endpoints {
            if names != [Some(&*port.port)] {
                wrong.push(format!("ServiceMonitor: {names:?} are not {:?}", port.port));
            }
        }
    }
}

/// Serin that runs by itself is there at least twice, and not all of it goes at once.
fn alone(objects: &Objects, wrong: &mut Vec<String>) {
    for pods in Pods::all(objects) {
        let Some(serin) = pods.serin() else { continue };
        if serin.restart_policy.is_some() {
            continue;
        }
        let name = pods.deployment.name();
        let scaler = objects.of::<HorizontalPodAutoscaler>().find(|scaler| {
            let target = &scaler.spec.as_ref().unwrap().scale_target_ref;
            target.name == name && target.kind == "Deployment"
        });
        let fixed = pods.deployment.spec.as_ref().and_then(|spec| spec.replicas);
        let least = match (scaler, fixed) {
            (Some(scaler), None) => scaler.spec.as_ref().and_then(|spec| spec.min_replicas),
            (None, fixed) => fixed,
            (Some(_), Some(_)) => {
                wrong.push(format!("{name}: two say how many replicas there are"));
                continue;
            }
        };
        if least.unwrap_or(1) < 2 {
            wrong.push(format!("{name}: one replica is too few"));
        }
    }
}
