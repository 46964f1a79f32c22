//! The configuration in a ConfigMap, as the Kubernetes API tells of it.

use super::file::is_document;
use super::{Outcome, Place, RawFile, Reading};
use crate::base::problem::{Severity, nearest};
use crate::cluster::events::{Events, NOTE_BYTES_MAX, Notice, Regarding};
use crate::cluster::facts::ConfigMapFacts;
use crate::cluster::{Cluster, Objects, Scope, View, Watching};
use crate::config::diagnostic::Diagnostic;
use crate::config::tree::{DOCUMENT_BYTES_MAX, FILES_MAX, too_large};
use std::fmt::Write;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// The most keys that a message lists.
const KEYS_SHOWN: usize = 20;

/// A `ConfigMap`, or the newest of some.
#[derive(Debug)]
pub struct ConfigMapSource {
    place: Place,
    namespace: String,
    watching: Watching<ConfigMapFacts>,
    events: Events,
    /// The one that was read last.
    picked: Option<Regarding>,
    /// What was told last.
    told: Option<Notice>,
}

impl ConfigMapSource {
    /// Begins to watch; tells of it by Events, at most one in this time. To be called inside a
    /// tokio runtime. Nothing if the place is no `ConfigMap`.
    pub(super) fn new(place: &Place, cluster: &Cluster, pause: Duration) -> Option<Self> {
        let scope = match place.clone() {
            Place::Path(_) => return None,
            Place::ConfigMap { namespace, name, .. } => {
                Scope { namespace, name, labels: String::new() }
            }
            Place::Newest { namespace, labels } => Scope { namespace, labels, name: String::new() },
        };
        Some(Self {
            place: place.clone(),
            namespace: scope.namespace.clone(),
            watching: cluster.config_maps(scope),
            events: cluster.events(pause),
            picked: None,
            told: None,
        })
    }

    /// What changes whenever there may be something new to read.
    pub(super) fn changes(&self) -> Receiver<View<ConfigMapFacts>> {
        self.watching.view.clone()
    }

    /// What the watch knows now.
    pub(super) fn read(&mut self) -> Reading {
        let (objects, failure) = {
            let view = self.watching.view.borrow();
            (view.objects.clone(), view.failure.clone())
        };
        let trouble = failure.map(|failure| self.say(format!("the Kubernetes API: {failure}")));
        let Some(objects) = objects else {
            return Reading { files: None, trouble };
        };
        let Some((name, found)) = pick(&objects) else {
            let missing = match self.place {
                Place::Newest { .. } => "no ConfigMap bears these labels",
                _ => "there is no such ConfigMap",
            };
            let missing = || self.say(missing);
            return Reading { files: None, trouble: Some(trouble.unwrap_or_else(missing)) };
        };
        self.note_picked(name, found);
        let key = match &self.place {
            Place::ConfigMap { key, .. } => key.as_deref(),
            _ => None,
        };
        let shown = format!("configmap/{}/{name}", self.namespace);
        Reading { files: Some(files(&shown, found, key)), trouble }
    }

    /// Where the configuration that was read last comes from.
    pub(super) fn shown(&self) -> String {
        match (&self.place, &self.picked) {
            (Place::Newest { namespace, labels }, Some(picked)) => {
                format!("configmap {namespace}/{} of {labels}", picked.name)
            }
            (place, _) => place.to_string(),
        }
    }

    /// Tells all who look at the `ConfigMap` that was read last what became of it.
    pub(super) fn tell(&mut self, outcome: &Outcome) {
        let Some(regarding) = self.picked.clone() else { return };
        let (is_warning, reason) = match outcome {
            Outcome::Accepted { .. } => (false, "ConfigAccepted"),
            Outcome::Rejected(_) => (true, "ConfigRejected"),
        };
        let notice = Notice { regarding, is_warning, reason, note: note(outcome) };
        self.told = Some(notice.clone());
        self.events.tell(notice);
    }

    /// Tells the same of the one that was read last, if it has taken the place of the one of which
    /// that was told: who looks at it does not see what is said of another.
    pub(super) fn tell_again(&mut self) {
        if let (Some(picked), Some(told)) = (&self.picked, &mut self.told)
            && picked.uid != told.regarding.uid
        {
            told.regarding = picked.clone();
            self.events.tell(told.clone());
        }
    }

    fn note_picked(&mut self, name: &str, found: &ConfigMapFacts) {
        let picked = Regarding {
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            uid: found.uid.clone(),
            version: found.version.clone(),
        };
        if self.picked.as_ref() == Some(&picked) {
            return;
        }
        if !found.binary.is_empty() {
            let keys = found.binary.join(", ");
            tracing::warn!(configmap = name, keys, "its binaryData is not looked at");
        }
        self.picked = Some(picked);
    }

    fn say(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.place.to_string().replacen(' ', "/", 1), message)
    }
}

/// The newest; of those made in the same second, the last by name.
fn pick(objects: &Objects<ConfigMapFacts>) -> Option<(&str, &ConfigMapFacts)> {
    let newest = objects.iter().max_by_key(|(name, found)| (found.made, *name));
    newest.map(|(name, found)| (&**name, &**found))
}

/// The texts to read: of one key, else of all that end in `.yaml` or `.yml`, in the order of their
/// names, as in a folder.
fn files(
    shown: &str,
    found: &ConfigMapFacts,
    key: Option<&str>,
) -> Result<Vec<RawFile>, Vec<Diagnostic>> {
    let is_ours = |name: &str| match key {
        Some(key) => name == key,
        None => is_document(name.as_bytes()),
    };
    let ours: Vec<_> = found.data.iter().filter(|(name, _)| is_ours(name)).collect();
    let refused = |name: Option<&str>, message: String, help: Option<String>| {
        let file = name.map_or_else(|| shown.to_owned(), |name| format!("{shown}/{name}"));
        let mut refused = Diagnostic::error(file, message);
        refused.help = help;
        vec![refused]
    };
    if ours.is_empty() {
        let names = found.data.keys().map(String::as_str);
        let near = key.and_then(|key| nearest(key, names));
        let help = near.map_or_else(|| there(found), |near| format!("did you mean `{near}`?"));
        let message = match key {
            Some(key) => format!("there is no key `{key}`"),
            None => "no key ends in .yaml or .yml".to_owned(),
        };
        return Err(refused(None, message, Some(help)));
    }
    if ours.len() > FILES_MAX {
        return Err(refused(None, format!("more than {FILES_MAX} keys"), None));
    }
    let mut room = DOCUMENT_BYTES_MAX;
    let mut files = Vec::with_capacity(ours.len());
    for (name, text) in ours {
        room = match room.checked_sub(text.len()) {
            Some(room) => room,
            None => return Err(refused(Some(name), too_large(), None)),
        };
        files.push(RawFile { name: format!("{shown}/{name}"), bytes: text.as_bytes().into() });
    }
    Ok(files)
}

/// Which keys there are.
fn there(found: &ConfigMapFacts) -> String {
    let binary = found.binary.iter().map(|name| format!("{name} (binaryData, not looked at)"));
    let names: Vec<_> = found.data.keys().cloned().chain(binary).collect();
    if names.is_empty() {
        return "it is empty".to_owned();
    }
    let shown = names.iter().take(KEYS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(KEYS_SHOWN);
    if more == 0 {
        format!("there is: {shown}")
    } else {
        format!("there is: {shown} and {more} more")
    }
}

/// What an Event says.
fn note(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { generation, warnings } => {
            let mut note = format!("generation {generation} is in use");
            match warnings {
                0 => {}
                1 => note.push_str(", with 1 warning"),
                many => drop(write!(note, ", with {many} warnings")),
            }
            note
        }
        Outcome::Rejected(diagnostics) => {
            let is_error = |one: &&Diagnostic| one.severity == Severity::Error;
            let lines = diagnostics.iter().filter(is_error).map(ToString::to_string);
            first_lines(&lines.collect::<Vec<_>>())
        }
    }
}

/// As many lines as there is room for, and how many there are more.
fn first_lines(lines: &[String]) -> String {
    /// Room for what says that there are more.
    const MORE_BYTES: usize = 32;
    let mut note = String::new();
    for (index, line) in lines.iter().enumerate() {
        let more = lines.len() - index;
        let is_last = more == 1;
        let room = NOTE_BYTES_MAX - note.len() - if is_last { 0 } else { MORE_BYTES };
        if line.len() < room {
            note.push_str(line);
            if !is_last {
                note.push('\n');
            }
            continue;
        }
        if index == 0 {
            let cut = line.floor_char_boundary(room.saturating_sub('…'.len_utf8()));
            note.push_str(line.get(..cut).unwrap_or_default());
            note.push('…');
            if !is_last {
                let _ = write!(note, "\n... and {} more", more - 1);
            }
        } else {
            let _ = write!(note, "... and {more} more");
        }
        break;
    }
    note
}

#[cfg(test)]
mod tests {
    use super::{ConfigMapFacts, NOTE_BYTES_MAX, files, first_lines, note, pick};
    use crate::config::Diagnostic;
    use crate::config::source::Outcome;
    use crate::config::tree::{DOCUMENT_BYTES_MAX, FILES_MAX};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn facts(data: &[(&str, &str)]) -> ConfigMapFacts {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let (uid, version) = (String::new(), String::new());
        ConfigMapFacts { uid, version, made: 0, data: data.collect(), binary: Vec::new() }
    }

    fn texts(found: &ConfigMapFacts, key: Option<&str>) -> Vec<(String, String)> {
        let files = files("configmap/shop/serin", found, key).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        files.into_iter().map(|file| (file.name, text(file.bytes))).collect()
    }

    fn refusal(found: &ConfigMapFacts, key: Option<&str>) -> String {
        files("configmap/shop/serin", found, key).unwrap_err()[0].to_string()
    }

    #[test]
    fn the_yaml_keys_are_read_in_the_order_of_their_names_or_the_one_that_is_asked_for() {
        let found = facts(&[("b.yaml", "b"), ("a.yml", "a"), (".c.yaml", "c"), ("notes", "n")]);
        let name = |key: &str| format!("configmap/shop/serin/{key}");
        let all = [(name("a.yml"), "a".to_owned()), (name("b.yaml"), "b".to_owned())];
        assert_eq!(texts(&found, None), all);
        assert_eq!(texts(&found, Some("notes")), [(name("notes"), "n".to_owned())]);
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_those_that_are() {
        let mut found = facts(&[("rules.yaml", "a"), ("notes", "n")]);
        found.binary.push("logo".to_owned());
        assert_eq!(
            refusal(&found, Some("rule.yaml")),
            "configmap/shop/serin:1:1: error: there is no key `rule.yaml` \
             (did you mean `rules.yaml`?)"
        );
        found.data.remove("rules.yaml");
        assert_eq!(
            refusal(&found, None),
            "configmap/shop/serin:1:1: error: no key ends in .yaml or .yml \
             (there is: notes, logo (binaryData, not looked at))"
        );
        assert!(refusal(&facts(&[]), Some("a")).ends_with("there is no key `a` (it is empty)"));
    }

    #[test]
    fn a_config_map_is_as_large_as_files_may_be() {
        let large = "#".repeat(DOCUMENT_BYTES_MAX / 2 + 1);
        let found = facts(&[("a.yaml", &large), ("b.yaml", &large)]);
        let expected = "configmap/shop/serin/b.yaml:1:1: error: the configuration is larger than";
        assert!(refusal(&found, None).starts_with(expected));
        let keys: Vec<_> = (0..=FILES_MAX).map(|number| format!("{number}.yaml")).collect();
        let many: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert!(refusal(&facts(&many), None).contains("more than 256 keys"));
    }

    #[test]
    fn the_newest_is_picked_and_of_those_of_one_second_the_last_by_name() {
        let of = |all: &[(&str, i64)]| {
            let all = all.iter().map(|(name, made)| {
                ((*name).into(), Arc::new(ConfigMapFacts { made: *made, ..facts(&[]) }))
            });
            pick(&all.collect()).map(|(name, _)| name.to_owned())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("b", 1), ("a", 2)]).as_deref(), Some("a"));
        assert_eq!(of(&[("b", 2), ("a", 2), ("c", 1)]).as_deref(), Some("b"));
    }

    #[test]
    fn an_event_tells_the_generation_or_the_first_mistakes() {
        let accepted = |warnings| note(&Outcome::Accepted { generation: 3, warnings });
        assert_eq!(accepted(0), "generation 3 is in use");
        assert_eq!(accepted(1), "generation 3 is in use, with 1 warning");
        assert_eq!(accepted(2), "generation 3 is in use, with 2 warnings");
        let error = |message: &str| Diagnostic::error("a".to_owned(), message);
        let text = note(&Outcome::Rejected(&[error("no"), error("neither")]));
        assert_eq!(text, "a:1:1: error: no\na:1:1: error: neither");
        let many: Vec<_> = (0..100).map(|number| error(&format!("mistake {number}"))).collect();
        let text = note(&Outcome::Rejected(&many));
        let shown = text.lines().count() - 1;
        assert!(text.ends_with(&format!("\n... and {} more", 100 - shown)), "{text}");
        let text = note(&Outcome::Rejected(&[error(&"ä".repeat(600)), error("no")]));
        assert!(text.ends_with("ä…\n... and 1 more"), "{text}");
    }

    proptest! {
        #[test]
        fn a_note_is_never_too_long(lines in prop::collection::vec("[aä€😀]{0,400}", 0..12)) {
            let note = first_lines(&lines);
            prop_assert!(note.len() <= NOTE_BYTES_MAX);
            let all = lines.join("\n");
            prop_assert!(note == all || note.contains("more") || note.ends_with('…'));
        }
    }
}
