//! Takes what the cluster shows into the pool, for as long as the pool is in use.

use super::pods;
use super::service::{self, Joined};
use super::{KubernetesConfig, Port};
use crate::cluster::facts::{PodFacts, ServiceFacts, SliceFacts};
use crate::cluster::{Cluster, Failure, Objects, Scope, Watching};
use crate::upstream::discovery::{Findings, Missed};
use std::sync::Arc;

/// Keeps the endpoints of a pool what the cluster shows; never ends. `tls` says whether they are
/// spoken to over TLS.
pub(in crate::upstream::discovery) async fn follow(
    config: KubernetesConfig,
    tls: bool,
    mut findings: Findings,
    cluster: Arc<Cluster>,
) {
    let namespace = config.namespace;
    if let Some(name) = config.service {
        let labels = format!("kubernetes.io/service-name={name}");
        let slices = Scope { namespace: namespace.clone(), labels, name: String::new() };
        let slices = Seen::new(cluster.slices(slices));
        // A name is that of the slices' ports, and then the Service itself says nothing more.
        let services = matches!(config.port, Port::Number(_)).then(|| {
            let scope = Scope { namespace, labels: String::new(), name: name.clone() };
            Seen::new(cluster.services(scope))
        });
        let asked = Asked { name, port: config.port, tls };
        follow_service(&asked, slices, services, &mut findings).await;
    } else {
        let labels = config.selector.unwrap_or_default();
        let scope = Scope { namespace, labels, name: String::new() };
        follow_pods(Seen::new(cluster.pods(scope)), &config.port, &mut findings).await;
    }
}

async fn follow_pods(mut seen: Seen<PodFacts>, port: &Port, findings: &mut Findings) {
    loop {
        if let Some(pods) = seen.look() {
            findings.found(&pods::endpoints(pods.values().map(AsRef::as_ref), port));
        }
        if let Some(failure) = seen.failure() {
            missed(findings, &failure);
        }
        seen.changed().await;
    }
}

/// Which port of which Service, and whether it is spoken to over TLS.
struct Asked {
    name: String,
    port: Port,
    tls: bool,
}

async fn follow_service(
    Asked { name, port, tls }: &Asked,
    mut slices: Seen<SliceFacts>,
    mut services: Option<Seen<ServiceFacts>>,
    findings: &mut Findings,
) {
    let (mut all, mut service, mut strange, mut told) = (None, None, None, None);
    loop {
        let mut changed = false;
        if let Some(seen) = slices.look() {
            (all, changed) = (Some(seen), true);
        }
        if let Some(seen) = services.as_mut().and_then(Seen::look) {
            (service, changed) = (Some(seen), true);
        }
        // By a number nothing is known before the Service is.
        let known = services.is_none() || service.is_some();
        if let Some(all) = all.as_ref().filter(|_| changed && known) {
            let service = service.as_ref().and_then(|services| services.get(name.as_str()));
            let slices = all.values().map(AsRef::as_ref);
            let Joined { endpoints, protocol, secured, other_ports, renamed } =
                service::join(slices, service.map(AsRef::as_ref), port);
            let news = other_ports.as_ref().filter(|_| other_ports != strange);
            let why = news.map(|ports| format!("no port {port} but {}", ports.join(", ")));
            // The Service and its slices do not change together: a port that is renamed is not
            // there for a moment, and endpoints are not lost by that.
            match why {
                Some(why) if renamed => findings.missed(&Missed::Failed(why)),
                Some(why) => findings.warn(&why),
                None => {}
            }
            if !tls && let Some(protocol) = secured.as_ref().filter(|_| secured != told) {
                findings.warn(&format!(
                    "the port's appProtocol is `{protocol}`, but the pool has no `tls`: requests \
                     go there in plain HTTP"
                ));
            }
            // A slice without endpoints may be one without ports, which says nothing else.
            if secured.is_some() || !endpoints.is_empty() {
                told = secured;
            }
            if !renamed {
                findings.found_speaking(protocol, &endpoints);
            }
            strange = other_ports;
        }
        let failure = slices.failure().or_else(|| services.as_mut().and_then(Seen::failure));
        if let Some(failure) = failure {
            missed(findings, &failure);
        }
        match &mut services {
            Some(services) => tokio::select! {
                () = slices.changed() => {}
                () = services.changed() => {}
            },
            None => slices.changed().await,
        }
    }
}

fn missed(findings: &mut Findings, failure: &Failure) {
    findings.missed(&Missed::Failed(failure.message.clone()));
}

/// What is watched, and what of it was looked at.
struct Seen<T> {
    watching: Watching<T>,
    objects: Option<Arc<Objects<T>>>,
    failed: bool,
}

impl<T> Seen<T> {
    fn new(watching: Watching<T>) -> Self {
        Self { watching, objects: None, failed: false }
    }

    /// The objects, if they are other ones than those seen last.
    fn look(&mut self) -> Option<Arc<Objects<T>>> {
        let objects = self.watching.view.borrow_and_update().objects.clone()?;
        if self.objects.as_ref().is_some_and(|known| Arc::ptr_eq(known, &objects)) {
            return None;
        }
        self.objects = Some(Arc::clone(&objects));
        Some(objects)
    }

    /// Why they can not be looked at, if that is news.
    fn failure(&mut self) -> Option<Failure> {
        // What came since the last look is still to be looked at.
        let failure = self.watching.view.borrow().failure.clone();
        let known = std::mem::replace(&mut self.failed, failure.is_some());
        failure.filter(|_| !known)
    }

    async fn changed(&mut self) {
        // The watch goes on for as long as somebody has it, and this has it.
        if self.watching.view.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
