//! Lists, page by page, and single objects.

use super::resource::Call;
use super::status::Failure;
use super::store::{From, Store};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Map, Value, json};

/// One object.
pub(super) fn get(store: &Store, call: &Call) -> Result<Value, Failure> {
    let (namespace, name) = (call.namespace.as_deref(), call.name.as_deref());
    let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
    match store.object(call.resource, namespace, name) {
        Some(found) => Ok(Value::clone(found)),
        // kubectl looks for the namespace when it misses something in it.
        None if call.resource.kind == "Namespace" && !store.ended.contains(name) => Ok(json!({
            "kind": "Namespace", "apiVersion": "v1", "metadata": { "name": name },
            "status": { "phase": "Active" },
        })),
        None => Err(Failure::not_found(call.resource, name)),
    }
}

/// All objects that the request selects, or a page of them.
pub(super) fn list(store: &Store, call: &Call) -> Result<Value, Failure> {
    let filter = call.filter()?;
    let asked = asked_version(call)?;
    let (version, after) = match Token::read(call)? {
        Some(Token { version: Some(version), after }) => (version, Some(after)),
        Some(Token { version: None, after }) => (store.version, Some(after)),
        None => (asked.exact.unwrap_or(store.version), None),
    };
    if asked.least > store.version {
        return Err(Failure::too_large_version(asked.least, store.version));
    }
    let objects = store.at(call.resource, version).map_err(|failure| match &after {
        Some(after) if failure.code == 410 => {
            Failure::page_gone(Token { version: None, after: after.clone() }.write())
        }
        _ => failure,
    })?;
    // The cache answers a list of any version, and it has no pages.
    let cached = call.query.text("resourceVersion") == "0" && asked.exact.is_none();
    let limit = call.query.number("limit")?.filter(|&limit| limit > 0 && !cached);
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    let mut selected = objects
        .iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .filter(|(_, object)| filter.matches(object))
        .peekable();
    let (mut items, mut last) = (Vec::new(), String::new());
    while items.len() < limit
        && let Some((key, object)) = selected.next()
    {
        let mut item = Value::clone(object);
        // The items of a list are all of the one kind that the list says.
        let fields = item.as_object_mut().unwrap();
        fields.retain(|field, _| field != "kind" && field != "apiVersion");
        items.push(item);
        last.clone_from(key);
    }
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".into(), version.to_string().into());
    if selected.peek().is_some() {
        let token = Token { version: Some(version), after: last };
        metadata.insert("continue".into(), token.write().into());
        if filter.selects_all() {
            metadata.insert("remainingItemCount".into(), selected.count().into());
        }
    }
    let kind = format!("{}List", call.resource.kind);
    let api_version = call.resource.api_version();
    Ok(json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items }))
}

/// From where a watch sees changes.
pub(super) fn watch_from(store: &Store, call: &Call) -> Result<From, Failure> {
    let version = call.query.number("resourceVersion")?;
    if call.query.flag("sendInitialEvents") {
        if call.query.text("resourceVersionMatch") != "NotOlderThan" {
            let message = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(options_invalid("resourceVersionMatch", message));
        }
        let least = version.unwrap_or(0);
        if least > store.version {
            return Err(Failure::too_large_version(least, store.version));
        }
        return Ok(From::NowUntilBookmark);
    }
    if !call.query.text("resourceVersionMatch").is_empty() {
        let message = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                       provided";
        return Err(options_invalid("resourceVersionMatch", message));
    }
    Ok(version.filter(|&version| version > 0).map_or(From::Now, From::After))
}

/// Of which version a list must be.
struct AskedVersion {
    exact: Option<u64>,
    least: u64,
}

fn asked_version(call: &Call) -> Result<AskedVersion, Failure> {
    let version = call.query.number("resourceVersion")?;
    let rule = call.query.text("resourceVersionMatch");
    let goes_on = !call.query.text("continue").is_empty();
    let refuse = |why| Err(options_invalid("resourceVersionMatch", why));
    match (rule, version) {
        (_, Some(1..)) if goes_on => Err(Failure::bad_request(
            "specifying resource version is not allowed when using continue",
        )),
        ("", version) => Ok(AskedVersion { exact: None, least: version.unwrap_or(0) }),
        _ if goes_on => refuse("resourceVersionMatch is forbidden when continue is provided"),
        (_, None) => refuse("resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ("NotOlderThan", Some(version)) => Ok(AskedVersion { exact: None, least: version }),
        ("Exact", Some(0)) => {
            refuse("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        ("Exact", exact) => Ok(AskedVersion { exact, least: 0 }),
        _ => refuse("Unsupported value"),
    }
}

fn options_invalid(field: &str, why: &str) -> Failure {
    Failure::invalid("ListOptions.meta.k8s.io", "", &[(field.to_owned(), why.to_owned())])
}

/// Where the next page begins.
struct Token {
    /// Of which version the pages are; without one, of whatever is there.
    version: Option<u64>,
    /// The key of the last object of the page before.
    after: String,
}

impl Token {
    fn write(&self) -> String {
        let text = json!({ "rv": self.version, "start": self.after }).to_string();
        let mut place = vec![0; text.len() * 2];
        Base64UrlUnpadded::encode(text.as_bytes(), &mut place).unwrap().to_owned()
    }

    /// The token that a request goes on with.
    fn read(call: &Call) -> Result<Option<Self>, Failure> {
        let text = call.query.text("continue");
        if text.is_empty() {
            return Ok(None);
        }
        let mut place = vec![0; text.len()];
        let bytes = Base64UrlUnpadded::decode(text, &mut place).unwrap_or_default();
        let token: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let Some(after) = token["start"].as_str() else {
            return Err(Failure::bad_request("continue key is not valid"));
        };
        Ok(Some(Self { version: token["rv"].as_u64(), after: after.to_owned() }))
    }
}
