//! Where a configuration is, as it is written on the command line.

use crate::cluster::names::{is_label, is_subdomain};
use crate::upstream::discovery::kubernetes::check_selector;
use std::fmt;
use std::path::PathBuf;

/// The most characters of a key of a `ConfigMap`.
const KEY_MAX: usize = 253;

/// Where a configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a file, or in a folder of them.
    Path(PathBuf),
    /// In a `ConfigMap`.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key to read; without it all that end in `.yaml` or `.yml`.
        key: Option<String>,
    },
    /// In the newest of the `ConfigMap`s that bear certain labels.
    Newest {
        /// Their namespace.
        namespace: String,
        /// The labels, as a selector.
        labels: String,
    },
}

impl Place {
    /// Reads `NAMESPACE/NAME` or `NAMESPACE/NAME/KEY`; fails with a sentence that says how it is
    /// written.
    pub fn config_map(text: &str) -> Result<Self, String> {
        is_possible()?;
        let mut parts = text.splitn(3, '/');
        let (namespace, name) = (parts.next().unwrap_or_default(), parts.next());
        let Some(name) = name else {
            return Err("write NAMESPACE/NAME or NAMESPACE/NAME/KEY, such as shop/serin".into());
        };
        check_namespace(namespace)?;
        if !is_subdomain(name) {
            return Err(format!(
                "`{name}` is no name of a ConfigMap: letters a to z, digits, `-` and `.`"
            ));
        }
        let key = parts.next();
        if let Some(key) = key.filter(|key| !is_key(key)) {
            return Err(format!(
                "`{key}` is no key of a ConfigMap: letters, digits, `-`, `_` and `.`"
            ));
        }
        let (namespace, name, key) = (namespace.into(), name.into(), key.map(Into::into));
        Ok(Self::ConfigMap { namespace, name, key })
    }

    /// Reads `NAMESPACE/SELECTOR`; fails with a sentence that says how it is written.
    pub fn newest(text: &str) -> Result<Self, String> {
        is_possible()?;
        let Some((namespace, labels)) = text.split_once('/') else {
            return Err("write NAMESPACE/SELECTOR, such as shop/app=serin".into());
        };
        check_namespace(namespace)?;
        let labels = labels.trim();
        if labels.is_empty() {
            return Err("the selector is empty: write labels, such as app=serin".into());
        }
        check_selector(labels).map_err(|error| error.to_string())?;
        Ok(Self::Newest { namespace: namespace.into(), labels: labels.into() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::ConfigMap { namespace, name, key } => {
                write!(f, "configmap {namespace}/{name}")?;
                key.iter().try_for_each(|key| write!(f, "/{key}"))
            }
            Self::Newest { namespace, labels } => write!(f, "configmap {namespace}/{labels}"),
        }
    }
}

/// Fails in a build that can not look there.
fn is_possible() -> Result<(), String> {
    if crate::cluster::IS_PRESENT {
        return Ok(());
    }
    Err("this build of Serin knows no Kubernetes: build it with the feature `kube`".into())
}

fn check_namespace(namespace: &str) -> Result<(), String> {
    if is_label(namespace) {
        return Ok(());
    }
    Err(format!("`{namespace}` is no namespace: letters a to z, digits and `-`"))
}

fn is_key(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= KEY_MAX && text.bytes().all(is_inside)
}

#[cfg(all(test, feature = "kube"))]
mod tests {
    use super::Place;

    #[test]
    fn places_are_shown_as_they_are_written() {
        for text in ["shop/serin", "shop/serin.v2/rules.yaml", "s/0/a_B.yml"] {
            assert_eq!(Place::config_map(text).unwrap().to_string(), format!("configmap {text}"));
        }
        for text in ["shop/app=serin", "shop/app.kubernetes.io/name in (a, b),!old"] {
            assert_eq!(Place::newest(text).unwrap().to_string(), format!("configmap {text}"));
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_what_is_wrong() {
        let long = format!("{}/serin", "n".repeat(64));
        for (text, message) in [
            ("serin", "write NAMESPACE/NAME"),
            ("", "write NAMESPACE/NAME"),
            ("/serin", "`` is no namespace"),
            ("Shop/serin", "`Shop` is no namespace"),
            ("a.b/serin", "`a.b` is no namespace"),
            (&long, "is no namespace"),
            ("shop/", "`` is no name"),
            ("shop/Serin", "`Serin` is no name"),
            ("shop/serin..v2", "`serin..v2` is no name"),
            ("shop/-serin", "`-serin` is no name"),
            ("shop/serin/", "`` is no key"),
            ("shop/serin/a/b", "`a/b` is no key"),
        ] {
            let error = Place::config_map(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
        for (text, message) in [
            ("app=serin", "write NAMESPACE/SELECTOR"),
            ("shop/ ", "the selector is empty"),
            ("Shop/a=b", "`Shop` is no namespace"),
            ("shop/app in (a", "parenthesis"),
            ("shop/app=a b", "is no"),
        ] {
            let error = Place::newest(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
