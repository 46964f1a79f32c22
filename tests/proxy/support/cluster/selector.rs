//! Selectors of labels and of fields, read and matched as the API does.

use super::resource::Resource;
use super::status::Failure;
use super::validation::{label_value, qualified_name};
use serde_json::Value;

/// What the labels of an object must be; all of it holds.
#[derive(Debug)]
pub(super) struct LabelSelector(Vec<(String, Test)>);

/// What is asked of one label.
#[derive(Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    pub(super) fn read(text: &str) -> Result<Self, Failure> {
        if text.trim().is_empty() {
            return Ok(Self(Vec::new()));
        }
        let read = |piece| {
            requirement(piece).ok_or_else(|| {
                Failure::bad_request(format!("unable to parse requirement: {piece:?} in {text:?}"))
            })
        };
        Ok(Self(pieces(text).into_iter().map(read).collect::<Result<_, _>>()?))
    }

    pub(super) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|(key, test)| {
            let value = labels.get(key).and_then(Value::as_str);
            let number = value.and_then(|value| value.parse::<i64>().ok());
            match test {
                Test::In(values) => {
                    value.is_some_and(|value| values.iter().any(|one| one == value))
                }
                Test::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|one| one != value))
                }
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::Above(least) => number.is_some_and(|number| number > *least),
                Test::Below(most) => number.is_some_and(|number| number < *most),
            }
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What stands between the commas outside of parentheses.
fn pieces(text: &str) -> Vec<&str> {
    let mut inside = false;
    let pieces = text.split(|next: char| {
        inside = (inside || next == '(') && next != ')';
        next == ',' && !inside
    });
    pieces.collect()
}

fn requirement(piece: &str) -> Option<(String, Test)> {
    let piece = piece.trim();
    let (key, test) = if let Some(key) = piece.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((head, values)) = piece.split_once('(') {
        let values = values.strip_suffix(')')?.split(',').map(|value| value.trim().to_owned());
        let values: Vec<String> = values.collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        match operator {
            "in" => (key, Test::In(values)),
            "notin" => (key, Test::NotIn(values)),
            _ => return None,
        }
    } else if let Some((key, value)) = piece.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = piece.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        (key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = piece.split_once('>') {
        (key, Test::Above(value.trim().parse().ok()?))
    } else if let Some((key, value)) = piece.split_once('<') {
        (key, Test::Below(value.trim().parse().ok()?))
    } else {
        (piece, Test::Exists)
    };
    let key = key.trim();
    let values: &[String] = match &test {
        Test::In(values) | Test::NotIn(values) => values,
        _ => &[],
    };
    let valid = qualified_name(key) && values.iter().all(|value| label_value(value));
    valid.then(|| (key.to_owned(), test))
}

/// What some fields of an object must be, or must not be; all of it holds.
#[derive(Debug)]
pub(super) struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    pub(super) fn read(text: &str, resource: &Resource) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for piece in text.split(',').filter(|piece| !piece.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = piece.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = piece.split_once('=') {
                (field, true, value.strip_prefix('=').unwrap_or(value))
            } else {
                let message = format!("invalid selector: '{text}'; can't understand '{piece}'");
                return Err(Failure::bad_request(message));
            };
            let of_pods = ["spec.nodeName", "status.phase", "status.podIP"];
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || resource.plural == "pods" && of_pods.contains(&field);
            if !known {
                let message = format!("field label not supported: {field}");
                return Err(Failure::bad_request(message));
            }
            all.push((field.to_owned(), equal, value.to_owned()));
        }
        Ok(Self(all))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(field, equal, wanted)| {
            let is = object.pointer(&format!("/{}", field.replace('.', "/")));
            (is.and_then(Value::as_str).unwrap_or_default() == wanted) == *equal
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one name that an object can have.
    pub(super) fn only_name(&self) -> Option<&str> {
        let named = self.0.iter().find(|(field, equal, _)| field == "metadata.name" && *equal)?;
        Some(&named.2)
    }
}

#[test]
fn every_form_of_a_label_selector_matches_as_in_the_api() {
    let labels = serde_json::json!({ "app": "shop", "tier": "web", "empty": "", "n": "7" });
    let cases = [
        ("", true),
        ("app=shop", true),
        ("app==shop", true),
        ("app = shop , tier!=db", true),
        ("app=store", false),
        ("app!=shop", false),
        ("missing!=x", true),
        ("app in (store, shop)", true),
        ("app in (store)", false),
        ("app notin (store,web)", true),
        ("app notin (shop)", false),
        ("missing notin (shop)", true),
        ("missing in (shop)", false),
        ("app", true),
        ("missing", false),
        ("!missing", true),
        ("!app", false),
        ("empty=", true),
        ("empty", true),
        ("n>6,n<8", true),
        ("n>7", false),
        ("app in (a,shop),!missing,tier", true),
        ("app in (a,shop),missing", false),
    ];
    for (text, matches) in cases {
        let selector = LabelSelector::read(text).unwrap();
        assert_eq!(selector.matches(&labels), matches, "{text}");
    }
    for text in ["app,", "=x", "app in shop", "app near (x)", "a b", "app=a b", "app=x/y", "n>x"] {
        assert_eq!(LabelSelector::read(text).unwrap_err().code, 400, "{text}");
    }
}

#[test]
fn a_field_selector_knows_names_and_namespaces() {
    let object =
        serde_json::json!({ "metadata": { "name": "web", "namespace": "shop" }, "status": {} });
    let (maps, pods) = (Resource::named("configmaps"), Resource::named("pods"));
    let cases = [
        ("metadata.name=web", true),
        ("metadata.name==web,metadata.namespace=shop", true),
        ("metadata.name!=web", false),
        ("metadata.namespace!=other", true),
        ("metadata.name=db", false),
    ];
    for (text, matches) in cases {
        assert_eq!(FieldSelector::read(text, maps).unwrap().matches(&object), matches, "{text}");
    }
    assert!(FieldSelector::read("status.phase!=Running", pods).unwrap().matches(&object));
    assert_eq!(FieldSelector::read("status.phase=x", maps).unwrap_err().code, 400);
    assert_eq!(FieldSelector::read("metadata.name", maps).unwrap_err().code, 400);
}
