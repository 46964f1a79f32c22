//! The TLS side of a pool: its settings, and what the connections to its endpoints are made with.

use super::certificates::{self, CertificateConfig};
use super::unverified::Unverified;
use crate::base::problem::{Location, Problems, Spanned};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xxhash_rust::xxh3::Xxh3Default;

/// How TLS is spoken with the endpoints of a pool, 1.2 or 1.3.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PoolTls")]
pub struct ClientTlsConfig {
    /// The name that the endpoints' certificates must have, a DNS name or an IP address; a DNS name
    /// is also asked for (SNI). Without it: each endpoint's own address.
    #[serde(default)]
    pub server_name: Option<Spanned<String>>,
    /// The file with the authorities of the endpoints' certificates, in PEM, relative to the folder
    /// of the configuration; without it those of the system. The file is watched.
    #[serde(default)]
    pub ca: Option<Spanned<String>>,
    /// The certificate that is shown to endpoints which ask for one (mTLS). Its files are watched.
    #[serde(default)]
    pub client_certificate: Option<CertificateConfig>,
    /// `false`: any certificate is taken, so that anybody between here and the endpoints can read
    /// and change everything. Never in production.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub verify: Option<Spanned<bool>>,
}

impl ClientTlsConfig {
    /// Where certificates are not to be verified, if so.
    pub fn unverified(&self) -> Option<Location> {
        self.verify.as_ref().filter(|verify| !verify.value).map(|verify| verify.at)
    }

    fn files(&self) -> impl Iterator<Item = &Spanned<String>> {
        let certificate = self.client_certificate.iter();
        let files = certificate.flat_map(|one| [&one.cert_file, &one.key_file]);
        files.chain(&self.ca)
    }
}

/// What connections to a pool's endpoints are made with; the sessions that can be resumed are in
/// it. It never changes: files that have changed make another one.
#[derive(Debug)]
pub struct Client {
    config: Spanned<ClientTlsConfig>,
    /// What relative paths are relative to.
    folder: PathBuf,
    protocols: &'static [&'static [u8]],
    tls: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    /// What the settings and files said of which this was made.
    fingerprint: u64,
    /// What they said last, good or bad.
    seen: parking_lot::Mutex<u64>,
}

/// What was read of the files.
struct Material {
    fingerprint: u64,
    roots: Option<Arc<RootCertStore>>,
    key: Option<Arc<CertifiedKey>>,
}

/// Shows one certificate to whoever asks.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], known: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(known).map(|_| Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Client {
    /// Reads the files; what is wrong with them is noted at the settings that name them.
    /// `protocols` are offered inside, the best first (RFC 7301). Blocks, so not on a worker.
    pub fn load(
        config: &Spanned<ClientTlsConfig>,
        folder: &Path,
        protocols: &'static [&'static [u8]],
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut found = Problems::default();
        let material = Material::read(config, folder, protocols, &mut found);
        let fingerprint = material.fingerprint;
        let made = make(config, material, protocols, &mut found);
        problems.append(found);
        let (tls, name) = made?;
        Some(Self {
            config: config.clone(),
            folder: folder.to_owned(),
            protocols,
            tls,
            name,
            fingerprint,
            seen: parking_lot::Mutex::new(fingerprint),
        })
    }

    /// Reads the files again. `None` if they are as they were last time, good or bad; otherwise
    /// what is to be used from now on, or everything that is wrong. Blocks.
    pub fn reload(&self) -> Option<Result<Self, Vec<String>>> {
        let mut problems = Problems::default();
        let material = Material::read(&self.config, &self.folder, self.protocols, &mut problems);
        let fingerprint = material.fingerprint;
        if std::mem::replace(&mut *self.seen.lock(), fingerprint) == fingerprint {
            return None;
        }
        Some(match make(&self.config, material, self.protocols, &mut problems) {
            Some((tls, name)) => Ok(Self {
                config: self.config.clone(),
                folder: self.folder.clone(),
                protocols: self.protocols,
                tls,
                name,
                fingerprint,
                seen: parking_lot::Mutex::new(fingerprint),
            }),
            None => Err(problems.into_vec().into_iter().map(|one| one.message).collect()),
        })
    }

    /// Whether connections made with the other are as good as those made with this.
    pub fn is_like(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Does the handshake with the endpoint at `ip`.
    pub async fn connect(&self, stream: TcpStream, ip: IpAddr) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.tls)).connect(self.name(ip), stream).await
    }

    /// The same, but offers other protocols inside than requests do.
    pub async fn connect_offering(
        &self,
        protocols: &[&[u8]],
        stream: TcpStream,
        ip: IpAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.with_alpn(protocols).connect(self.name(ip), stream).await
    }

    /// The name that the certificate of the endpoint at `ip` must have.
    fn name(&self, ip: IpAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::IpAddress(ip.into()))
    }

    /// The folders with the files, which are to be watched.
    pub fn folders(&self) -> Vec<PathBuf> {
        certificates::folders(&self.folder, self.config.files()).collect()
    }
}

impl Material {
    fn read(
        config: &Spanned<ClientTlsConfig>,
        folder: &Path,
        protocols: &[&[u8]],
        problems: &mut Problems,
    ) -> Self {
        let mut seen = Vec::new();
        let verified = config.unverified().is_none();
        let roots = match &config.ca {
            Some(file) => certificates::read(folder, file, &mut seen, problems)
                .and_then(|bytes| certificates::authorities(file, &bytes, problems))
                .map(Arc::new),
            None if verified => system_roots(config.at, problems),
            None => None,
        };
        let mut key = None;
        if let Some(one) = &config.client_certificate {
            let chain = certificates::read(folder, &one.cert_file, &mut seen, problems);
            let secret = certificates::read(folder, &one.key_file, &mut seen, problems);
            if let (Some(chain), Some(secret)) = (chain, secret) {
                key = certificates::load(one, &chain, &secret, problems).map(|one| one.key);
            }
        }
        let name = config.server_name.as_ref().map_or("", |name| name.value.as_str());
        seen.push(name.as_bytes().to_vec());
        // Which of the files are given, so that no two settings look alike.
        seen.push(vec![
            u8::from(verified),
            u8::from(config.ca.is_some()),
            u8::from(config.client_certificate.is_some()),
        ]);
        seen.extend(protocols.iter().map(|name| name.to_vec()));
        let mut hash = Xxh3Default::new();
        for bytes in &seen {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        Self { fingerprint: hash.digest(), roots, key }
    }
}

/// The authorities that the system knows; read once.
fn system_roots(at: Location, problems: &mut Problems) -> Option<Arc<RootCertStore>> {
    static ROOTS: LazyLock<(Arc<RootCertStore>, Option<String>)> = LazyLock::new(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(found.certs);
        (Arc::new(store), found.errors.first().map(ToString::to_string))
    });
    let (roots, error) = &*ROOTS;
    if !roots.is_empty() {
        return Some(Arc::clone(roots));
    }
    let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    problems.error(at, format!("this system has no authorities to verify with{why}")).help =
        Some("name a file with them in `ca`".to_owned());
    None
}

fn make(
    config: &Spanned<ClientTlsConfig>,
    material: Material,
    protocols: &[&[u8]],
    problems: &mut Problems,
) -> Option<(Arc<ClientConfig>, Option<ServerName<'static>>)> {
    let name = config.server_name.as_ref().and_then(|name| {
        let parsed = ServerName::try_from(name.value.clone());
        let fault = |_| {
            problems.error(name.at, format!("`{}` is no DNS name or IP address", name.value));
        };
        parsed.map_err(fault).ok()
    });
    if problems.any_error() {
        return None;
    }
    let provider = super::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            problems.error(config.at, format!("TLS can not be set up: {error}"));
        })
        .ok()?;
    let builder = if config.unverified().is_some() {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(material.roots?)
    };
    let mut tls = match material.key {
        Some(key) => builder.with_client_cert_resolver(Arc::new(Shown(key))),
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Some((Arc::new(tls), name))
}

#[cfg(test)]
mod tests {
    use super::{Client, ClientTlsConfig};
    use crate::base::problem::{Location, Problems, Spanned};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use std::path::Path;

    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned { at: Location(1), value }
    }

    fn config(name: &str) -> Spanned<ClientTlsConfig> {
        spanned(ClientTlsConfig {
            server_name: Some(spanned(name.to_owned())),
            ca: Some(spanned("ca.pem".to_owned())),
            ..ClientTlsConfig::default()
        })
    }

    fn load(config: &Spanned<ClientTlsConfig>, folder: &Path) -> Result<Client, Vec<String>> {
        let mut problems = Problems::default();
        let client = Client::load(config, folder, &[b"h2"], &mut problems);
        client.ok_or_else(|| problems.into_vec().into_iter().map(|one| one.message).collect())
    }

    fn authority() -> String {
        let CertifiedKey { cert, .. } = generate_simple_self_signed(["a.test".into()]).unwrap();
        cert.pem()
    }

    #[test]
    fn files_that_have_changed_make_another_client_and_bad_ones_are_told_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority()).unwrap();
        let client = load(&config("a.test"), folder.path()).unwrap();
        assert!(client.reload().is_none());
        assert!(client.is_like(&load(&config("a.test"), folder.path()).unwrap()));
        assert!(!client.is_like(&load(&config("b.test"), folder.path()).unwrap()));
        std::fs::write(&file, "junk").unwrap();
        assert_eq!(client.reload().unwrap().unwrap_err(), ["`ca.pem` holds no certificate in PEM"]);
        assert!(client.reload().is_none());
        std::fs::write(&file, authority()).unwrap();
        assert!(!client.reload().unwrap().unwrap().is_like(&client));
    }

    #[test]
    fn a_name_is_a_dns_name_or_an_address() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority()).unwrap();
        for name in ["a.test", "10.0.0.1", "::1"] {
            assert!(load(&config(name), folder.path()).is_ok(), "{name}");
        }
        let said = load(&config("a test"), folder.path()).unwrap_err();
        assert_eq!(said, ["`a test` is no DNS name or IP address"]);
    }
}
