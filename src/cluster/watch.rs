//! One watch: lists, follows, and goes on after every failure, without forgetting anything.
//!
//! Kubernetes API concepts, "Efficient detection of changes": a list tells its version, and a watch
//! from that version tells every change after it. A watch is ended by the server from time to time,
//! and goes on from the version seen last; if that is too old by then (410), it is listed again.

use super::OBJECTS_MAX;
use super::client::{Access, Reached};
use super::facts::Facts;
use super::failure::{Failure, Reason};
use super::shared::{Objects, Scope, View};
use super::tally::{Standing, Tally};
use futures_util::{StreamExt, TryFutureExt};
use http::Uri;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// After so many seconds the API ends a watch. Short, because a connection whose other end is gone
/// without a word is noticed only then.
const SECONDS_MAX: u32 = 50;
/// How long a watch may say nothing, its end included.
const SILENCE_MAX: Duration = Duration::from_secs(SECONDS_MAX as u64 + 10);
/// How long an answer may take to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long changes are gathered before they are told: when a thousand pods appear, that is not
/// told a thousand times.
const GATHERING: Duration = Duration::from_millis(10);
/// The longest pause after the first failure.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest pause after any.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// A watch that stood for so long has not begun in vain, whatever ends it.
const CALM: Duration = Duration::from_secs(1);

/// Watches the objects in a scope for as long as it is polled.
pub(super) async fn run<T: Facts>(
    access: Arc<Access>,
    tally: Arc<Tally>,
    scope: Scope,
    view: Sender<View<T>>,
) {
    let mut watch = Watch::new(tally, view, scope);
    loop {
        watch.synced = None;
        let failure = match access.reach().await {
            Ok(Reached { client, at }) => {
                watch.looks_at(at);
                watch.follow(&Api::namespaced(client, &watch.scope.namespace)).await
            }
            Err(failure) => failure,
        };
        let reason = failure.reason;
        // Nobody has done anything wrong when a version is too old, unless that happens at once.
        let expected = reason == Reason::Expired && watch.stood();
        watch.failed(failure);
        let is_away = reason == Reason::Unreachable && watch.in_vain > 1;
        if is_away || reason == Reason::Unauthorized {
            access.forget();
        }
        if !expected {
            sleep(pause(watch.in_vain, rand::random())).await;
        }
    }
}

struct Watch<T: Facts> {
    tally: Arc<Tally>,
    view: Sender<View<T>>,
    scope: Scope,
    standing: Standing,
    /// Where the API is that told the version.
    at: Option<Uri>,
    /// What is there.
    objects: Objects<T>,
    /// The version up to which that is known; nothing if it has to be listed.
    version: Option<String>,
    /// When what is there is to be told, if it is other than what was told.
    tell_at: Option<Instant>,
    /// Since when it follows what changes, if it does.
    synced: Option<Instant>,
    /// Failures in a row.
    in_vain: u32,
    /// Whether the log has told that there is more than is looked at.
    overfull: bool,
}

impl<T: Facts> Watch<T> {
    fn new(tally: Arc<Tally>, view: Sender<View<T>>, scope: Scope) -> Self {
        tally.moves(T::RESOURCE, None, Some(Standing::Waiting));
        Self {
            tally,
            view,
            scope,
            standing: Standing::Waiting,
            at: None,
            objects: BTreeMap::new(),
            version: None,
            tell_at: None,
            synced: None,
            in_vain: 0,
            overfull: false,
        }
    }

    /// Notes where the API is: in another place, everything is listed.
    fn looks_at(&mut self, at: Uri) {
        if self.at.as_ref() != Some(&at) {
            self.version = None;
            self.at = Some(at);
        }
    }

    /// Follows the objects until something fails.
    async fn follow(&mut self, api: &Api<T::Object>) -> Failure {
        loop {
            if self.version.is_none()
                && let Err(failure) = self.list(api).await
            {
                return failure;
            }
            if let Err(failure) = self.watch(api).await {
                return failure;
            }
            // One that always ends at once is no watch.
            if !self.stood() {
                let message = "the watch ended as soon as it began".to_owned();
                return Failure { reason: Reason::Other, message };
            }
        }
    }

    /// Takes in everything that is there, page by page, and its version.
    async fn list(&mut self, api: &Api<T::Object>) -> Result<(), Failure> {
        let mut parameters = ListParams::default().limit(T::PAGE);
        parameters.label_selector = self.labels();
        parameters.field_selector = self.fields();
        let mut objects = BTreeMap::new();
        loop {
            let page = in_time(api.list(&parameters)).await?;
            for object in page.items {
                self.put(&mut objects, object);
            }
            parameters.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if parameters.continue_token.is_none() {
                self.version = page.metadata.resource_version;
                break;
            }
        }
        self.objects = objects;
        self.changed();
        self.tell();
        Ok(())
    }

    /// Takes in what changes until the server ends it.
    async fn watch(&mut self, api: &Api<T::Object>) -> Result<(), Failure> {
        let parameters = WatchParams {
            label_selector: self.labels(),
            field_selector: self.fields(),
            timeout: Some(SECONDS_MAX),
            bookmarks: true,
            send_initial_events: false,
        };
        let version = self.version.clone().unwrap_or_default();
        let mut events = pin!(in_time(api.watch(&parameters, &version)).await?);
        self.synced = Some(Instant::now());
        self.stands(Standing::Synced);
        let mut heard = false;
        loop {
            let event = tokio::select! {
                event = timeout(SILENCE_MAX, events.next()) => event,
                () = until(self.tell_at) => {
                    self.tell();
                    continue;
                }
            };
            match event {
                Ok(Some(Ok(event))) => {
                    heard = true;
                    self.take(event)?;
                }
                // What it has told is right, whatever comes next.
                Ok(Some(Err(error))) => {
                    self.tell();
                    return Err((&error).into());
                }
                Ok(None) => {
                    self.tell();
                    if !heard && was_deaf(self.synced.map(|since| since.elapsed())) {
                        self.version = None;
                    }
                    return Ok(());
                }
                Err(_) => return Err(Failure::silence(SILENCE_MAX)),
            }
        }
    }

    /// Notes what an event says.
    fn take(&mut self, event: WatchEvent<T::Object>) -> Result<(), Failure> {
        if !matches!(event, WatchEvent::Error(_)) {
            self.in_vain = 0;
        }
        let version = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.meta().resource_version.clone();
                let mut objects = std::mem::take(&mut self.objects);
                self.put(&mut objects, object);
                self.objects = objects;
                self.changed();
                version
            }
            WatchEvent::Deleted(object) => {
                if let Some(name) = &object.meta().name {
                    self.objects.remove(name.as_str());
                    self.changed();
                }
                object.meta().resource_version.clone()
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => {
                self.tell();
                let failure = Failure::from(&kube::Error::Api(status.boxed()));
                return Err(failure);
            }
        };
        // Without one it would go on from where it was, and tell the same again.
        self.version = version.filter(|version| !version.is_empty()).or(self.version.take());
        Ok(())
    }

    fn put(&mut self, objects: &mut Objects<T>, object: T::Object) {
        let Some(name) = object.meta().name.clone() else { return };
        if objects.len() >= OBJECTS_MAX && !objects.contains_key(name.as_str()) {
            if !std::mem::replace(&mut self.overfull, true) {
                let (resource, scope) = (T::RESOURCE, &self.scope);
                tracing::warn!(%resource, %scope, "more than {OBJECTS_MAX} are not looked at");
            }
            return;
        }
        objects.insert(name.into(), Arc::new(T::of(object)));
    }

    fn labels(&self) -> Option<String> {
        (!self.scope.labels.is_empty()).then(|| self.scope.labels.clone())
    }

    fn fields(&self) -> Option<String> {
        (!self.scope.name.is_empty()).then(|| format!("metadata.name={}", self.scope.name))
    }

    fn changed(&mut self) {
        self.tell_at.get_or_insert_with(|| Instant::now() + GATHERING);
    }

    /// Shows what is there to all who look, if they have not seen it.
    fn tell(&mut self) {
        if self.tell_at.take().is_some() {
            let objects = Some(Arc::new(self.objects.clone()));
            self.view.send_modify(|view| view.objects = objects);
        }
    }

    /// Whether it followed what changes for a while.
    fn stood(&self) -> bool {
        self.synced.is_some_and(|since| since.elapsed() > CALM)
    }

    /// Counts a failure; tells of it unless it is the same as before. That another right is missing
    /// is not the same.
    fn failed(&mut self, failure: Failure) {
        self.tally.failed(T::RESOURCE, failure.reason);
        // Who may list but not watch sees what changes at least from time to time.
        if matches!(failure.reason, Reason::Expired | Reason::Forbidden) {
            self.version = None;
        }
        self.in_vain = if self.stood() { 1 } else { self.in_vain.saturating_add(1) };
        self.stands(Standing::Failing);
        let (resource, scope) = (T::RESOURCE, &self.scope);
        self.view.send_if_modified(|view| {
            let known = view.failure.as_ref().filter(|known| known.reason == failure.reason);
            if known.is_some_and(|known| failure.reason != Reason::Forbidden || *known == failure) {
                return false;
            }
            tracing::warn!(%resource, %scope, reason = failure.reason.name(), "{failure}");
            view.failure = Some(failure);
            true
        });
    }

    fn stands(&mut self, standing: Standing) {
        if self.standing == standing {
            return;
        }
        self.tally.moves(T::RESOURCE, Some(self.standing), Some(standing));
        if standing == Standing::Synced {
            let (resource, scope) = (T::RESOURCE, &self.scope);
            tracing::info!(%resource, %scope, objects = self.objects.len(), "watched");
            self.view.send_if_modified(|view| view.failure.take().is_some());
        }
        self.standing = standing;
    }
}

impl<T: Facts> Drop for Watch<T> {
    fn drop(&mut self) {
        self.tally.moves(T::RESOURCE, Some(self.standing), None);
    }
}

/// Whether a watch on which nothing was heard may have been deaf. Before its time is over the API
/// sends a bookmark at least; one whose store was put back to an earlier state sends nothing from a
/// version that it has not reached again, and no error either.
fn was_deaf(lasted: Option<Duration>) -> bool {
    const NEARLY: Duration = Duration::from_secs(SECONDS_MAX as u64 - 5);
    lasted.is_some_and(|lasted| lasted >= NEARLY)
}

/// An answer, if it begins in time.
pub(super) async fn in_time<A>(
    asking: impl Future<Output = kube::Result<A>>,
) -> Result<A, Failure> {
    let answer = timeout(ANSWER_TIMEOUT, asking.map_err(|error| Failure::from(&error))).await;
    answer.unwrap_or_else(|_| Err(Failure::silence(ANSWER_TIMEOUT)))
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The pause after so many failures in a row, from half of what it may be to all of it, so that
/// replicas that were cut off together do not come back together. `random` is from 0 to 1.
fn pause(in_vain: u32, random: f64) -> Duration {
    let doublings = in_vain.saturating_sub(1).min(16);
    let longest = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
    longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{PAUSE_FIRST, PAUSE_MAX, SECONDS_MAX, pause, was_deaf};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn only_a_watch_that_has_had_its_time_may_have_been_deaf() {
        let seconds = |seconds: u32| Some(Duration::from_secs(seconds.into()));
        assert!(was_deaf(seconds(SECONDS_MAX)));
        assert!(!was_deaf(seconds(SECONDS_MAX / 2)) && !was_deaf(None));
    }

    proptest! {
        #[test]
        fn a_pause_grows_to_its_longest_and_is_never_none(
            in_vain in 1..100_u32,
            random in 0.0..1.0_f64,
        ) {
            let now = pause(in_vain, random);
            prop_assert!(now >= PAUSE_FIRST / 2 && now <= PAUSE_MAX);
            prop_assert!(pause(in_vain + 1, random) >= now);
        }
    }
}
