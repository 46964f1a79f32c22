//! The TLS side of a listener: its settings, and what its handshakes use now.

use super::certificates::{self, CertificateConfig, Certificates, Covered, Loaded};
use crate::base::problem::{Location, Problems, Spanned};
use arc_swap::ArcSwap;
use rustls::server::{ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3Default;

/// What is spoken inside, what we like best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How a listener speaks TLS, 1.2 or 1.3.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ListenerTls")]
pub struct ServerTlsConfig {
    /// The certificates, chosen by the name that the client asks for; the first for all others. The
    /// files are watched.
    #[schemars(extend("minItems" = 1))]
    pub certificates: Spanned<Vec<CertificateConfig>>,
    /// The file with the authorities of clients' certificates, in PEM; with it each client must
    /// show one.
    #[serde(default)]
    pub client_ca: Option<Spanned<String>>,
    /// What happens to a request for a host that the certificate which was shown is not for, if
    /// there are several.
    #[serde(default)]
    pub misdirected: Misdirected,
}

/// What happens to a request for a host that the certificate which was shown is not for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Misdirected {
    /// It is served like any other.
    #[default]
    Serve,
    /// It is answered with 421 (RFC 9110 section 15.5.20).
    Refuse,
}

/// What the handshakes of a listener use, exchanged when its files change.
#[derive(Debug)]
pub struct Server {
    config: ServerTlsConfig,
    /// What relative paths are relative to.
    folder: PathBuf,
    live: ArcSwap<Live>,
    /// The fingerprint of what was read last, good or bad.
    seen: parking_lot::Mutex<u64>,
}

/// What was made of the files.
#[derive(Debug)]
struct Live {
    tls: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    expiries: Vec<(String, u64)>,
    /// The authorities' file: who was let in by another must show a certificate again.
    authorities: Option<Vec<u8>>,
}

/// What was read of the files.
struct Material {
    fingerprint: u64,
    loaded: Vec<Loaded>,
    roots: Option<RootCertStore>,
    authorities: Option<Vec<u8>>,
}

impl Server {
    /// Reads the files; what is wrong with them is noted at the settings that name them. Blocks, so
    /// not on a worker.
    pub fn load(
        config: &ServerTlsConfig,
        folder: impl Into<PathBuf>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let folder = folder.into();
        let mut found = Problems::default();
        let material = Material::read(config, &folder, &mut found);
        let live = build(config, &material, None, &mut found);
        problems.append(found);
        Some(Self {
            config: config.clone(),
            folder,
            live: ArcSwap::from_pointee(live?),
            seen: parking_lot::Mutex::new(material.fingerprint),
        })
    }

    /// Reads the files again. `None` if they are as they were last time, good or bad; otherwise
    /// whether they are in use now, and if not everything that is wrong. Blocks.
    pub fn reload(&self) -> Option<Result<(), Vec<String>>> {
        let mut problems = Problems::default();
        let material = Material::read(&self.config, &self.folder, &mut problems);
        let mut seen = self.seen.lock();
        if std::mem::replace(&mut *seen, material.fingerprint) == material.fingerprint {
            return None;
        }
        let live = build(&self.config, &material, Some(&self.live.load()), &mut problems);
        Some(match live {
            Some(live) => {
                self.live.store(Arc::new(live));
                Ok(())
            }
            None => Err(problems.into_vec().into_iter().map(|one| one.message).collect()),
        })
    }

    /// Lets the sessions that another began go on here.
    pub fn resume(&self, other: &Self) {
        let (ours, theirs) = (self.live.load_full(), other.live.load());
        if ours.authorities == theirs.authorities {
            let tls = Arc::new(with_tickets(&ours.tls, &theirs.tls.ticketer));
            let (expiries, authorities) = (ours.expiries.clone(), ours.authorities.clone());
            let certificates = Arc::clone(&ours.certificates);
            self.live.store(Arc::new(Live { tls, certificates, expiries, authorities }));
        }
    }

    /// What a handshake that begins now uses.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.live.load().tls)
    }

    /// The hosts that are served to a client that asked for a name, if not all are.
    pub fn covered(&self, name: Option<&str>) -> Option<Covered> {
        let refuse = self.config.misdirected == Misdirected::Refuse;
        let several = self.config.certificates.len() > 1;
        (refuse && several).then(|| self.live.load().certificates.covered(name))
    }

    /// The name of each certificate and when it expires, in seconds since the Unix epoch.
    pub fn expiries(&self) -> Vec<(String, u64)> {
        self.live.load().expiries.clone()
    }

    /// The folders with the files, which are to be watched.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.config.certificates.iter();
        let files = files.flat_map(|one| [&one.cert_file, &one.key_file]);
        certificates::folders(&self.folder, files.chain(&self.config.client_ca))
    }
}

impl Material {
    fn read(config: &ServerTlsConfig, folder: &std::path::Path, problems: &mut Problems) -> Self {
        let mut seen = Vec::new();
        let mut loaded = Vec::with_capacity(config.certificates.len());
        for one in config.certificates.iter() {
            let chain = certificates::read(folder, &one.cert_file, &mut seen, problems);
            let key = certificates::read(folder, &one.key_file, &mut seen, problems);
            if let (Some(chain), Some(key)) = (chain, key) {
                loaded.extend(certificates::load(one, &chain, &key, problems));
            }
        }
        let client_ca = config.client_ca.as_ref();
        let authorities =
            client_ca.and_then(|file| certificates::read(folder, file, &mut seen, problems));
        let roots = client_ca
            .zip(authorities.as_ref())
            .and_then(|(file, bytes)| certificates::authorities(file, bytes, problems));
        let mut hash = Xxh3Default::new();
        for bytes in &seen {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Self { fingerprint: hash.digest(), loaded, roots, authorities }
    }
}

/// Makes what handshakes use; sessions go on unless the authorities have changed.
fn build(
    config: &ServerTlsConfig,
    material: &Material,
    before: Option<&Live>,
    problems: &mut Problems,
) -> Option<Live> {
    if config.certificates.is_empty() {
        problems.error(config.certificates.at, "TLS needs a certificate");
    }
    if problems.any_error() {
        return None;
    }
    let at = config.client_ca.as_ref().map_or(config.certificates.at, |file| file.at);
    let certificates = Arc::new(Certificates::new(&material.loaded));
    let mut tls = assemble(material, &certificates, at, problems)?;
    let kept = before.filter(|live| live.authorities == material.authorities);
    if let Some(live) = kept {
        tls = with_tickets(&tls, &live.tls.ticketer);
    }
    let mut expiries: Vec<(String, u64)> = Vec::with_capacity(material.loaded.len());
    for one in &material.loaded {
        // Several of one name, of different kinds of keys: the first to expire counts.
        match expiries.iter_mut().find(|(name, _)| *name == one.name) {
            Some((_, earliest)) => *earliest = one.expires.min(*earliest),
            None => expiries.push((one.name.clone(), one.expires)),
        }
    }
    let authorities = material.authorities.clone();
    Some(Live { tls: Arc::new(tls), certificates, expiries, authorities })
}

fn assemble(
    material: &Material,
    certificates: &Arc<Certificates>,
    at: Location,
    problems: &mut Problems,
) -> Option<ServerConfig> {
    let provider = super::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let assembled = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string());
    let builder = assembled.and_then(|builder| match &material.roots {
        None => Ok(builder.with_no_client_auth()),
        Some(roots) => {
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider)
                .build()
                .map(|verifier| builder.with_client_cert_verifier(verifier))
                .map_err(|error| error.to_string())
        }
    });
    let tickets = || rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string());
    let assembled = builder.and_then(|builder| {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Certificates>::clone(certificates);
        let mut tls = builder.with_cert_resolver(resolver);
        tls.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // A ticket is opened by whichever worker gets it.
        tls.ticketer = tickets()?;
        Ok(tls)
    });
    let fault = |error| {
        problems.error(at, format!("TLS can not be set up: {error}"));
    };
    assembled.map_err(fault).ok()
}

fn with_tickets(tls: &ServerConfig, tickets: &Arc<dyn ProducesTickets>) -> ServerConfig {
    let mut tls = tls.clone();
    tls.ticketer = Arc::clone(tickets);
    tls
}
