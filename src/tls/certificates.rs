//! Certificates with their keys, read from PEM files, and the choice among them by SNI.

use super::identity::Names;
use crate::base::problem::{Problems, Spanned};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest certificate or key file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A certificate and its key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Certificate")]
pub struct CertificateConfig {
    /// The file with the certificate and then those between it and a known authority, in PEM;
    /// relative to the folder of the configuration.
    pub cert_file: Spanned<String>,
    /// The file with its private key, in PEM.
    pub key_file: Spanned<String>,
}

/// A certificate that can be shown, with what is known of it.
#[derive(Debug)]
pub struct Loaded {
    /// The first of its names, or of its file.
    pub name: String,
    /// When it expires, in seconds since the Unix epoch.
    pub expires: u64,
    names: Vec<String>,
    /// IP addresses and what else it is for.
    others: Vec<String>,
    pub(super) key: Arc<CertifiedKey>,
}

/// The hosts that a certificate is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covered(Vec<String>);

impl Covered {
    /// Whether a host is among them; in lower case, an IPv6 address in brackets.
    pub fn has(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let rest = host.split_once('.').map(|(_, rest)| rest);
        self.0.iter().any(|name| {
            let wild = name.strip_prefix("*.");
            name.eq_ignore_ascii_case(host)
                || wild.zip(rest).is_some_and(|(name, rest)| name.eq_ignore_ascii_case(rest))
        })
    }
}

/// The certificates of a listener, found by name.
#[derive(Debug, Default)]
pub struct Certificates {
    /// By whole name, in lower case.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the first label of `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// In the order of the document.
    all: Vec<Arc<CertifiedKey>>,
    /// The same: what each is for.
    covered: Vec<Vec<String>>,
}

/// Reads a file of which a setting names the path; every reading is added to `seen`.
pub(super) fn read(
    folder: &Path,
    file: &Spanned<String>,
    seen: &mut Vec<Vec<u8>>,
    problems: &mut Problems,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(folder.join(&file.value))
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    let fault = match read {
        Ok(_) if bytes.len() as u64 <= FILE_BYTES_MAX => {
            seen.push(bytes.clone());
            return Some(bytes);
        }
        Ok(_) => format!("`{}` is larger than {FILE_BYTES_MAX} bytes", file.value),
        Err(error) => format!("`{}` can not be read: {error}", file.value),
    };
    seen.push(fault.clone().into_bytes());
    problems.error(file.at, fault);
    None
}

/// The folders of files, which are to be watched.
pub(super) fn folders<'a>(
    folder: &'a Path,
    files: impl Iterator<Item = &'a Spanned<String>>,
) -> impl Iterator<Item = PathBuf> {
    files.filter_map(move |file| {
        let path = folder.join(&file.value);
        let folder = path.parent()?;
        // `a.pem` is in a folder too, though its path has no name for it.
        Some(if folder.as_os_str().is_empty() { ".".into() } else { folder.to_owned() })
    })
}

/// Makes a certificate of what its files hold.
pub(super) fn load(
    config: &CertificateConfig,
    chain: &[u8],
    key: &[u8],
    problems: &mut Problems,
) -> Option<Loaded> {
    let (cert_file, key_file) = (&config.cert_file, &config.key_file);
    let chain = certificates(cert_file, chain, problems);
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| {
            // Nothing of the file is told: it may be a key with a typing mistake.
            let why = match error {
                rustls::pki_types::pem::Error::NoItemsFound => "holds no private key in PEM",
                _ => "is no valid PEM",
            };
            problems.error(key_file.at, format!("`{}` {why}", key_file.value));
        })
        .ok();
    let (chain, key) = (chain?, key?);
    let first = chain.first()?;
    let Some(names) = Names::read(first) else {
        let message = format!("`{}` holds no certificate that can be read", cert_file.value);
        problems.error(cert_file.at, message);
        return None;
    };
    let key = match CertifiedKey::from_der(chain, key, &super::provider()) {
        Ok(key) => Arc::new(key),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let message = format!("`{}` is not the key of `{}`", key_file.value, cert_file.value);
            problems.error(key_file.at, message);
            return None;
        }
        Err(error) => {
            let message = format!("`{}` can not be used: {error}", key_file.value);
            problems.error(key_file.at, message);
            return None;
        }
    };
    let name = names.dns.first().cloned().unwrap_or_else(|| cert_file.value.clone());
    Some(Loaded { name, expires: names.expires, names: names.dns, others: names.others, key })
}

/// Makes a store of the authorities that a file holds.
pub(super) fn authorities(
    file: &Spanned<String>,
    bytes: &[u8],
    problems: &mut Problems,
) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file, bytes, problems)? {
        if let Err(error) = store.add(certificate) {
            let message = format!("`{}` holds a certificate of no use: {error}", file.value);
            problems.error(file.at, message);
            return None;
        }
    }
    Some(store)
}

fn certificates(
    file: &Spanned<String>,
    bytes: &[u8],
    problems: &mut Problems,
) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let why = match read {
        Ok(certificates) if certificates.is_empty() => "holds no certificate in PEM",
        Ok(certificates) => return Some(certificates),
        Err(_) => "is no valid PEM",
    };
    problems.error(file.at, format!("`{}` {why}", file.value));
    None
}

impl Certificates {
    /// Makes them findable.
    pub(super) fn new(loaded: &[Loaded]) -> Self {
        let mut certificates = Self::default();
        for Loaded { names, others, key, .. } in loaded {
            for name in names {
                let name = name.to_ascii_lowercase();
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut certificates.wildcard, rest.to_owned()),
                    None => (&mut certificates.exact, name),
                };
                map.entry(name).or_default().push(Arc::clone(key));
            }
            certificates.all.push(Arc::clone(key));
            certificates.covered.push([&names[..], others].concat());
        }
        certificates
    }

    /// The certificate for a name: one that has it, one with a wildcard in place of its first label
    /// (RFC 6125 section 6.4.3), the first; each only if the client knows how to verify it. If it
    /// knows that of none, the first: the handshake then fails for this reason and no other.
    fn choose(&self, name: Option<&str>, known: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let (exact, wildcard) = self.named(name);
        exact
            .iter()
            .chain(wildcard)
            .chain(&self.all)
            .find(|key| key.key.choose_scheme(known).is_some())
            .or(self.all.first())
            .map(Arc::clone)
    }

    /// The certificates with a name, and those with a wildcard for it.
    fn named(&self, name: Option<&str>) -> (&[Arc<CertifiedKey>], &[Arc<CertifiedKey>]) {
        let name = name.map(str::to_ascii_lowercase).unwrap_or_default();
        let rest = name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        let exact = self.exact.get(&name);
        (exact.map(Vec::as_slice).unwrap_or_default(), rest.map(Vec::as_slice).unwrap_or_default())
    }

    /// The hosts that the certificate for a name is for; of several of that name, for different
    /// kinds of keys, those of all.
    pub(super) fn covered(&self, name: Option<&str>) -> Covered {
        let (exact, wildcard) = self.named(name);
        let first = self.all.get(..1).unwrap_or_default();
        let shown = [exact, wildcard, first].into_iter().find(|list| !list.is_empty());
        let is_shown = |key: &Arc<CertifiedKey>| {
            shown.is_some_and(|shown| shown.iter().any(|shown| Arc::ptr_eq(shown, key)))
        };
        let known = self.all.iter().zip(&self.covered);
        Covered(
            known.filter(|(key, _)| is_shown(key)).flat_map(|(_, names)| names.clone()).collect(),
        )
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::{CertificateConfig, Certificates, Loaded, authorities, load};
    use crate::base::problem::{Location, Problems, Spanned};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::SignatureScheme;
    use std::sync::Arc;

    fn spanned(value: &str) -> Spanned<String> {
        Spanned { at: Location(1), value: value.to_owned() }
    }

    fn config() -> CertificateConfig {
        CertificateConfig { cert_file: spanned("a.crt"), key_file: spanned("a.key") }
    }

    fn pem(names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn loaded(names: &[&str]) -> Loaded {
        let (cert, key) = pem(names);
        let mut problems = Problems::default();
        load(&config(), cert.as_bytes(), key.as_bytes(), &mut problems).unwrap()
    }

    fn said(cert: &str, key: &str) -> Vec<String> {
        let mut problems = Problems::default();
        assert!(load(&config(), cert.as_bytes(), key.as_bytes(), &mut problems).is_none());
        problems.into_vec().into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_name_is_found_exactly_then_by_wildcard_of_one_label_then_the_first_serves() {
        let loaded = [
            loaded(&["default.test"]),
            loaded(&["*.Shop.test", "other.test"]),
            loaded(&["a.shop.test"]),
        ];
        let certificates = Certificates::new(&loaded);
        let known = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let chosen = |name| {
            let chosen = certificates.choose(name, &known).unwrap();
            loaded.iter().position(|one| Arc::ptr_eq(&one.key, &chosen)).unwrap()
        };
        assert_eq!(chosen(Some("a.shop.test")), 2);
        assert_eq!(chosen(Some("A.SHOP.test")), 2);
        assert_eq!(chosen(Some("b.shop.test")), 1);
        assert_eq!(chosen(Some("OTHER.test")), 1);
        assert_eq!(chosen(Some("x.b.shop.test")), 0);
        assert_eq!(chosen(Some("shop.test")), 0);
        assert_eq!(chosen(Some("nobody.test")), 0);
        assert_eq!(chosen(None), 0);
        let nobody = certificates.choose(Some("a.shop.test"), &[SignatureScheme::ED25519]);
        assert!(Arc::ptr_eq(&nobody.unwrap(), &loaded[0].key));
    }

    #[test]
    fn a_certificate_is_for_its_own_names_only() {
        let certificates = Certificates::new(&[
            loaded(&["default.test", "10.0.0.1"]),
            loaded(&["*.Shop.test", "other.test"]),
        ]);
        let has = |name, host| certificates.covered(name).has(host);
        assert!(has(None, "default.test") && has(Some("nobody.test"), "10.0.0.1"));
        assert!(!has(None, "other.test") && !has(Some("nobody.test"), "nobody.test"));
        assert!(has(Some("a.shop.test"), "b.shop.test") && has(Some("other.test"), "a.shop.test"));
        assert!(
            !has(Some("a.shop.test"), "shop.test") && !has(Some("a.shop.test"), "a.b.shop.test")
        );
        assert!(!has(Some("other.test"), "default.test") && !has(Some("other.test"), ""));
    }

    #[test]
    fn what_is_wrong_with_the_files_is_said_without_their_content() {
        let ((cert, key), (_, other)) = (pem(&["a.test"]), pem(&["b.test"]));
        assert_eq!(said(&cert, &other), ["`a.key` is not the key of `a.crt`"]);
        assert_eq!(said(&key, &key), ["`a.crt` holds no certificate in PEM"]);
        assert_eq!(said(&cert, "secret"), ["`a.key` holds no private key in PEM"]);
        let torn = key.replace("-----END", "secret");
        assert_eq!(said(&cert, &torn), ["`a.key` is no valid PEM"]);
        assert_eq!(said("", "").len(), 2);
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(said(junk, &key), ["`a.crt` holds no certificate that can be read"]);
        let mut problems = Problems::default();
        assert!(authorities(&spanned("ca"), junk.as_bytes(), &mut problems).is_none());
        assert!(authorities(&spanned("ca"), cert.as_bytes(), &mut problems).is_some());
    }
}
