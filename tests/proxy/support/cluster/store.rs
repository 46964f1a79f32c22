//! The objects, their one growing version, the changes that are still known, and who watches.

use super::resource::{Filter, Resource, key};
use super::status::Failure;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The objects of one resource by their keys.
pub(super) type Objects = BTreeMap<String, Arc<Value>>;

/// What the server knows.
pub(super) struct Store {
    /// The version of the newest change of anything.
    pub(super) version: u64,
    /// The newest version whose change is forgotten: what came after it can be told.
    compacted: u64,
    /// How many changes are remembered at most.
    pub(super) changes_max: usize,
    objects: BTreeMap<&'static str, Objects>,
    /// The namespaces that were deleted. All others are there, made or not.
    pub(super) ended: BTreeSet<String>,
    changes: VecDeque<Change>,
    watches: Vec<Watch>,
    /// How many objects were created, and watches opened.
    counted: u64,
}

/// A change of one object.
struct Change {
    version: u64,
    resource: &'static Resource,
    key: String,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
}

/// An open watch.
struct Watch {
    id: u64,
    filter: Filter,
    from: u64,
    bookmarks: bool,
    told: mpsc::UnboundedSender<Told>,
}

/// What a watch is told.
#[derive(Debug)]
pub(super) enum Told {
    /// A line of its answer.
    Line(Bytes),
    /// That its connection breaks now.
    Break,
}

/// From where a watch sees changes.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    /// What is there is told as if it was added now.
    Now,
    /// The same; a bookmark says where it ends.
    NowUntilBookmark,
    /// After this version.
    After(u64),
}

impl Default for Store {
    fn default() -> Self {
        /// Just below a number with more digits: who compares versions as texts is found out.
        const FIRST: u64 = 990;
        Self {
            version: FIRST,
            compacted: FIRST,
            changes_max: 10_000,
            objects: BTreeMap::new(),
            ended: BTreeSet::new(),
            changes: VecDeque::new(),
            watches: Vec::new(),
            counted: 0,
        }
    }
}

impl Store {
    pub(super) fn object(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<&Arc<Value>> {
        self.objects.get(resource.plural)?.get(&key(namespace, name))
    }

    /// The objects in a namespace, each with its resource.
    pub(super) fn inside(&self, namespace: &str) -> Vec<(&'static Resource, Arc<Value>)> {
        let is_inside = |object: &Value| object["metadata"]["namespace"] == namespace;
        let all = self.objects.iter().flat_map(|(plural, objects)| {
            objects.values().map(|object| (Resource::named(plural), Arc::clone(object)))
        });
        all.filter(|(_, object)| is_inside(object)).collect()
    }

    /// A number that was not given before.
    pub(super) fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }

    /// Stores an object, or takes it away, as a new version; the object as it is then.
    pub(super) fn change(
        &mut self,
        resource: &'static Resource,
        key: String,
        after: Option<Value>,
    ) -> Option<Arc<Value>> {
        self.version += 1;
        let version = self.version;
        let objects = self.objects.entry(resource.plural).or_default();
        let (before, after) = if let Some(mut after) = after {
            after["metadata"]["resourceVersion"] = version.to_string().into();
            let after = Arc::new(after);
            (objects.insert(key.clone(), Arc::clone(&after)), Some(after))
        } else {
            (Some(objects.remove(&key)?), None)
        };
        let change = Change { version, resource, key, before, after };
        let result = change.after.clone().or_else(|| change.before.clone());
        self.watches.retain(|watch| watch.sees(&change));
        self.changes.push_back(change);
        while self.changes.len() > self.changes_max {
            self.forget();
        }
        result
    }

    fn forget(&mut self) {
        if let Some(change) = self.changes.pop_front() {
            self.compacted = change.version;
        }
    }

    /// Forgets all changes: only the newest version is still known.
    pub(super) fn compact(&mut self) {
        self.changes.clear();
        self.compacted = self.version;
    }

    /// The objects of a resource as they were at a version.
    pub(super) fn at(&self, resource: &Resource, version: u64) -> Result<Objects, Failure> {
        if version < self.compacted {
            let compacted = self.compacted;
            let message = format!("too old resource version: {version} ({compacted})");
            return Err(Failure::gone(message));
        }
        if version > self.version {
            return Err(Failure::too_large_version(version, self.version));
        }
        let mut objects = self.objects.get(resource.plural).cloned().unwrap_or_default();
        let later = self.changes.iter().rev().take_while(|change| change.version > version);
        for change in later.filter(|change| change.resource.plural == resource.plural) {
            match &change.before {
                Some(before) => objects.insert(change.key.clone(), Arc::clone(before)),
                None => objects.remove(&change.key),
            };
        }
        Ok(objects)
    }

    /// Opens a watch: its number, and what it is told, what was missed first.
    pub(super) fn watch(
        &mut self,
        filter: Filter,
        from: From,
        bookmarks: bool,
    ) -> Result<(u64, mpsc::UnboundedReceiver<Told>), Failure> {
        let (told, telling) = mpsc::unbounded_channel();
        let id = self.count();
        let now = self.version;
        let after = if let From::After(version) = from { version } else { now };
        let watch = Watch { id, filter, from: after, bookmarks, told };
        if let From::After(version) = from {
            if version < self.compacted {
                let compacted = self.compacted;
                let message = format!("too old resource version: {version} ({compacted})");
                return Err(Failure::gone(message));
            }
            for change in &self.changes {
                watch.sees(change);
            }
        } else {
            for object in self.at(watch.filter.resource, now)?.values() {
                if watch.filter.matches(object) {
                    watch.tell("ADDED", object);
                }
            }
            if matches!(from, From::NowUntilBookmark) {
                watch.bookmark(now, true);
            }
        }
        self.watches.push(watch);
        Ok((id, telling))
    }

    /// Tells a watch, or all of them, up to where they are, as far as they want to know.
    pub(super) fn bookmark(&self, id: Option<u64>) {
        for watch in self.watches.iter().filter(|watch| id.is_none_or(|id| id == watch.id)) {
            if watch.bookmarks {
                watch.bookmark(self.version, false);
            }
        }
    }

    /// Ends a watch after what it was told so far.
    pub(super) fn end(&mut self, id: u64) {
        self.watches.retain(|watch| watch.id != id);
    }

    /// Ends all watches so, or breaks their connections.
    pub(super) fn end_all(&mut self, broken: bool) {
        for watch in self.watches.drain(..).filter(|_| broken) {
            let _ = watch.told.send(Told::Break);
        }
    }

    pub(super) fn open_watches(&self, resource: &str) -> usize {
        let open = self.watches.iter().filter(|watch| !watch.told.is_closed());
        open.filter(|watch| watch.filter.resource.plural == resource).count()
    }
}

impl Watch {
    /// Tells what a change is for what is watched; whether anybody listens.
    fn sees(&self, change: &Change) -> bool {
        if change.version <= self.from || change.resource.plural != self.filter.resource.plural {
            return !self.told.is_closed();
        }
        let seen = |object: &Option<Arc<Value>>| {
            object.clone().filter(|object| self.filter.matches(object))
        };
        match (seen(&change.before), seen(&change.after)) {
            (None, None) => {}
            (None, Some(after)) => self.tell("ADDED", &after),
            (Some(_), Some(after)) => self.tell("MODIFIED", &after),
            (Some(before), None) => {
                // As it was when it was last seen, but of the version that took it away.
                let mut last = Value::clone(&before);
                last["metadata"]["resourceVersion"] = change.version.to_string().into();
                self.tell("DELETED", &last);
            }
        }
        !self.told.is_closed()
    }

    fn tell(&self, event: &str, object: &Value) {
        let _ = self.told.send(Told::Line(line(event, object)));
    }

    fn bookmark(&self, version: u64, initial_end: bool) {
        let resource = self.filter.resource;
        let mut object = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(),
            "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        self.tell("BOOKMARK", &object);
    }
}

/// A line of the answer to a watch.
pub(super) fn line(event: &str, object: &Value) -> Bytes {
    let mut line = json!({ "type": event, "object": object }).to_string();
    line.push('\n');
    line.into()
}
