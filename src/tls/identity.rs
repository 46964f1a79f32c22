//! Whom a certificate is for: its subject alternative names, and how a client's one is told on.

use rustls::crypto::hash::Hash;
use std::fmt::Write;
use std::net::IpAddr;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The most names of a client's certificate that are looked at.
const NAMES_MAX: usize = 100;
/// The most bytes that are told of a client's certificate; names beyond are left out.
const FORWARDED_BYTES_MAX: usize = 8 * 1024;

/// What a certificate says of whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// DNS names, as written.
    pub dns: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// E-mail and IP addresses.
    pub others: Vec<String>,
    /// When it expires, in seconds since the Unix epoch.
    pub expires: u64,
}

/// A client that has shown a certificate which was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The subject alternative names: DNS, URI, e-mail, IP.
    pub names: Vec<String>,
    /// The value of `X-Forwarded-Client-Cert`: `Hash=...;URI=...;DNS=...`.
    pub forwarded: String,
}

impl Names {
    /// Reads a certificate in DER; names with anything but visible ASCII are nobody's.
    pub fn read(certificate: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?.tbs_certificate;
        let expires = certificate.validity.not_after.to_unix_duration().as_secs();
        let mut names = Self { dns: Vec::new(), uris: Vec::new(), others: Vec::new(), expires };
        let known = certificate.get::<SubjectAltName>().ok()?;
        for name in known.into_iter().flat_map(|(_, names)| names.0).take(NAMES_MAX) {
            match name {
                GeneralName::DnsName(name) => push(&mut names.dns, name.as_str()),
                GeneralName::UniformResourceIdentifier(name) => {
                    push(&mut names.uris, name.as_str());
                }
                GeneralName::Rfc822Name(name) => push(&mut names.others, name.as_str()),
                GeneralName::IpAddress(bytes) => {
                    names.others.extend(address(bytes.as_bytes()).map(|ip| ip.to_string()));
                }
                _ => {}
            }
        }
        Some(names)
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if name.bytes().all(|byte| byte.is_ascii_graphic()) && !name.is_empty() {
        names.push(name.to_owned());
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

impl Identity {
    /// The client with this certificate, in DER, which was verified.
    pub fn new(certificate: &[u8]) -> Self {
        let mut forwarded = String::from("Hash=");
        for byte in sha256().hash(certificate).as_ref() {
            let _ = write!(forwarded, "{byte:02x}");
        }
        let Some(names) = Names::read(certificate) else {
            return Self { names: Vec::new(), forwarded };
        };
        let uris = names.uris.iter().map(|name| ("URI", name));
        for (kind, name) in uris.chain(names.dns.iter().map(|name| ("DNS", name))) {
            if forwarded.len() + name.len() < FORWARDED_BYTES_MAX {
                let _ = write!(forwarded, ";{kind}={}", quoted(name));
            }
        }
        let mut all = names.dns;
        all.extend(names.uris);
        all.extend(names.others);
        Self { names: all, forwarded }
    }
}

/// A value as it can stand between the separators, so that no name can pretend to be several.
fn quoted(value: &str) -> String {
    if value.contains([',', ';', '=', '"', '\\']) {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        value.to_owned()
    }
}

fn sha256() -> &'static dyn Hash {
    use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    match TLS13_AES_128_GCM_SHA256 {
        rustls::SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
        rustls::SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
    }
}

#[cfg(test)]
mod tests {
    use super::{Identity, Names};
    use rcgen::{CertificateParams, KeyPair, SanType, string::Ia5String};

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn every_kind_of_name_is_told_and_none_can_pretend_to_be_several() {
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        let certificate = certificate(vec![
            SanType::DnsName(text("a.example.com")),
            SanType::URI(text("spiffe://shop/a;DNS=admin")),
            SanType::Rfc822Name(text("a@example.com")),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::DnsName(text("evil\0.example.com")),
        ]);
        let identity = Identity::new(&certificate);
        assert_eq!(
            identity.names,
            ["a.example.com", "spiffe://shop/a;DNS=admin", "a@example.com", "10.0.0.1"]
        );
        let (hash, rest) = identity.forwarded.split_once(';').unwrap();
        assert_eq!(hash.len(), "Hash=".len() + 64);
        assert_eq!(rest, r#"URI="spiffe://shop/a;DNS=admin";DNS=a.example.com"#);
        assert!(Names::read(&certificate).unwrap().expires > 1_800_000_000);
    }

    #[test]
    fn a_certificate_without_names_or_form_has_none() {
        assert!(Names::read(&certificate(Vec::new())).unwrap().dns.is_empty());
        assert_eq!(Names::read(b"junk"), None);
        assert!(Identity::new(b"junk").names.is_empty());
    }
}
