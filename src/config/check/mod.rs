//! What a document must be beyond its form: names given once, addresses that can be had.

mod pools;

use super::root::Config;
use super::tree::Document;
use crate::base::courtesy;
use crate::base::problem::{Location, Problems, Spanned};
use crate::listener::ListenerConfig;
use http::HeaderValue;
use std::collections::HashMap;

/// The longest name.
const NAME_BYTES_MAX: usize = 253;
/// The most retries of one request.
const ATTEMPTS_MAX: u8 = 10;

/// Notes what is wrong or strange about a document that could be read.
pub fn check(document: &Document, config: &Config, problems: &mut Problems) {
    let root = document.root();
    if config.listeners.is_empty() && !config.left_out.listeners.any {
        let at = document.field(root, "listeners").unwrap_or(root);
        problems.error(at, "there is no listener").help =
            Some("add `listeners: [{ name: web, address: 0.0.0.0:8080 }]`".to_owned());
    }
    if config.routes.is_empty() && !config.left_out.routes.any {
        let at = document.field(root, "routes").unwrap_or(root);
        problems.warning(at, "there is no route: every request gets 404");
    }
    let left_out = &config.left_out;
    let listeners = config.listeners.iter().map(|listener| &listener.name);
    names(document, "listener", listeners.chain(&left_out.listeners.names), problems);
    names(document, "segment", config.segments.iter().map(|segment| &segment.name), problems);
    let pools = config.pools.iter().map(|pool| &pool.name);
    names(document, "pool", pools.chain(&left_out.pools.names), problems);
    let routes = config.routes.iter().map(|route| &route.name);
    names(document, "route", routes.chain(&left_out.routes.names), problems);
    addresses(document, config, problems);
    for listener in &config.listeners {
        if let Some(via) = &listener.via
            && (via.value.is_empty() || HeaderValue::from_str(&via.value).is_err())
        {
            problems.error(via.at, "`via` is no header value");
        }
    }
    config.listeners.iter().for_each(|listener| limits(listener, problems));
    let announcing = config.listeners.iter().filter(|one| {
        one.proxy_protocol.as_ref().is_some_and(|settings| settings.trusted.is_empty())
    });
    for listener in announcing {
        let message = "`proxyProtocol` trusts nobody: no header is looked for";
        problems.warning(listener.name.at, message);
    }
    for pool in &config.pools {
        pools::pool(document, pool, problems);
    }
    for retry in config.routes.iter().filter_map(|route| route.retry.as_ref()) {
        if retry.attempts > ATTEMPTS_MAX {
            let message = format!("a request is retried at most {ATTEMPTS_MAX} times");
            problems.error(retry.at, message);
        }
        for name in retry.methods.iter().flatten() {
            if http::Method::from_bytes(name.as_bytes()).is_err() {
                problems.error(retry.at, format!("`{name}` is no method"));
            }
        }
        if retry.backoff.base > retry.backoff.max {
            problems.error(retry.at, "`backoff.base` is more than `backoff.max`");
        }
        if retry.budget.percent > 100 {
            problems.error(retry.at, "the budget for retries is at most 100 percent");
        }
    }
}

/// Notes limits that let nothing through: 0 is no limit only where it says so.
fn limits(listener: &ListenerConfig, problems: &mut Problems) {
    let limits = &listener.limits;
    let refused = "every request is refused";
    for (name, zero, meaning) in [
        ("headerBytes", limits.header_bytes.0 == 0, refused),
        ("headers", limits.headers == 0, refused),
        ("uriBytes", limits.uri_bytes.0 == 0, refused),
        ("streams", limits.streams == 0, "every HTTP/2 request waits for ever"),
        ("streamResets", limits.stream_resets == 0, "no client may give up an HTTP/2 request"),
    ] {
        if zero {
            problems.error(listener.name.at, format!("with 0 for `limits.{name}` {meaning}"));
        }
    }
}

/// Notes names that are empty, unprintable or given twice.
fn names<'a>(
    document: &Document,
    kind: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
    problems: &mut Problems,
) {
    let mut known: HashMap<&str, Location> = HashMap::new();
    // In the document's order, so that it is the second that is one too many.
    let mut names: Vec<_> = names.collect();
    names.sort_by_key(|name| name.at);
    for name in names {
        courtesy::give_way();
        let text = name.value.as_str();
        if text.is_empty() {
            problems.error(name.at, format!("a {kind}'s name is not empty"));
        } else if text.len() > NAME_BYTES_MAX {
            let message = format!("a {kind}'s name has at most {NAME_BYTES_MAX} bytes");
            problems.error(name.at, message);
        } else if text.chars().any(char::is_control) {
            problems.error(name.at, format!("a {kind}'s name has no control characters"));
        } else if let Some(first) = known.get(text) {
            let message = format!("two {kind}s are named `{text}`");
            problems.error(name.at, message).help = Some(first_written(document, *first));
        } else {
            known.insert(text, name.at);
        }
    }
}

/// Notes listeners, the admin one included, that would share an address.
fn addresses(document: &Document, config: &Config, problems: &mut Problems) {
    let listeners = config.listeners.iter().map(|listener| &listener.address);
    let admin = std::iter::once(&config.admin.address);
    let mut known = HashMap::new();
    for address in listeners.chain(admin).filter(|address| address.value.port() != 0) {
        if let Some(first) = known.insert(address.value, address.at) {
            let at = if address.at == Location::default() { first } else { address.at };
            let message = format!("{} is the address of two listeners", address.value);
            let help = if address.at == Location::default() {
                "it is the default of `admin.address`; set another there".to_owned()
            } else {
                first_written(document, first)
            };
            problems.error(at, message).help = Some(help);
        }
    }
    let free = config.listeners.iter().filter(|listener| listener.address.value.port() == 0);
    let free: Vec<_> = free.collect();
    for (index, listener) in free.iter().enumerate() {
        let address = listener.address.value;
        if free.iter().take(index).any(|other| other.address.value == address) {
            problems.error(listener.address.at, format!("{address} is asked for twice")).help =
                Some("only one listener may take a free port of an address".to_owned());
        }
    }
}

/// Warns of values given twice in a list, where the second has no effect.
fn repeated<T: std::hash::Hash + Eq + std::fmt::Display>(
    document: &Document,
    kind: &str,
    values: &[Spanned<T>],
    problems: &mut Problems,
) {
    let mut known = HashMap::new();
    for value in values {
        if let Some(first) = known.insert(&value.value, value.at) {
            let message = format!("the {kind} `{}` is listed twice", value.value);
            problems.warning(value.at, message).help = Some(first_written(document, first));
        }
    }
}

fn first_written(document: &Document, at: Location) -> String {
    let place = document.place(at);
    format!("first written at {}:{}:{}", place.file, place.line, place.column)
}
