//! Events about objects, as `kubectl describe` shows them: the newest word, and not too often.

use super::client::Access;
use super::failure::{Failure, Reason};
use super::tally::Tally;
use super::watch::in_time;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The most bytes of a note (Event v1 events.k8s.io, `note`).
pub const NOTE_BYTES_MAX: usize = 1024;
/// The most bytes of the name of the replica that tells (`reportingInstance`).
const INSTANCE_BYTES_MAX: usize = 128;
/// Its name in metrics.
const RESOURCE: &str = "events";

/// Which version of which `ConfigMap` something is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regarding {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from one of the same name before or after it.
    pub uid: String,
    /// The version that was seen.
    pub version: String,
}

/// What is told of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The object.
    pub regarding: Regarding,
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// Why it is told, in a word.
    pub reason: &'static str,
    /// The same for people, at most [`NOTE_BYTES_MAX`].
    pub note: String,
}

/// What tells of objects for as long as somebody has this.
#[derive(Debug)]
pub struct Events {
    newest: Sender<Option<Arc<Notice>>>,
    running: JoinHandle<()>,
}

impl Events {
    pub(super) fn start(access: Arc<Access>, tally: Arc<Tally>, pause: Duration) -> Self {
        let (newest, told) = tokio::sync::watch::channel(None);
        let reporter = reporter();
        let mut publisher = Publisher { access, tally, reporter, said: None, failing: None };
        let publish = async move |notice| publisher.publish(notice).await;
        Self { newest, running: tokio::spawn(run(told, pause, publish)) }
    }

    /// Tells something, now or when its time has come; by then the newest counts. Never waits.
    pub fn tell(&self, notice: Notice) {
        self.newest.send_replace(Some(Arc::new(notice)));
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Publishes the newest notice, then pauses; what could not be published is tried again after the
/// pause, if there is nothing newer.
async fn run(
    mut newest: Receiver<Option<Arc<Notice>>>,
    pause: Duration,
    mut publish: impl AsyncFnMut(Arc<Notice>) -> bool,
) {
    let mut is_done = true;
    loop {
        if is_done && newest.changed().await.is_err() {
            return;
        }
        let notice = newest.borrow_and_update().clone();
        if let Some(notice) = notice {
            is_done = publish(notice).await;
        }
        sleep(pause).await;
    }
}

/// Who tells: this pod, or else this host.
fn reporter() -> Reporter {
    let host = Reporter::from("serin");
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let instance = pod.or(host.instance).map(|mut name| {
        name.truncate(name.floor_char_boundary(INSTANCE_BYTES_MAX));
        name
    });
    Reporter { instance, ..host }
}

struct Publisher {
    access: Arc<Access>,
    tally: Arc<Tally>,
    reporter: Reporter,
    /// What was said last, with what counts repetitions.
    said: Option<(Arc<Notice>, Recorder)>,
    /// Why nothing can be said now, as the log has told.
    failing: Option<Reason>,
}

impl Publisher {
    /// Publishes; whether that is done with, well or not.
    async fn publish(&mut self, notice: Arc<Notice>) -> bool {
        let Err(failure) = self.try_publish(notice).await else {
            self.failing = None;
            return true;
        };
        let reason = failure.reason;
        self.tally.failed(RESOURCE, reason);
        if reason == Reason::Unauthorized {
            self.access.forget();
        }
        if self.failing.replace(reason) != Some(reason) {
            tracing::warn!(reason = reason.name(), "no Event can be published: {failure}");
        }
        !reason.may_pass()
    }

    async fn try_publish(&mut self, notice: Arc<Notice>) -> Result<(), Failure> {
        let (event, about) = (event(&notice), reference(&notice.regarding));
        // The text of an Event never changes: only the very same is counted as its repetition.
        if let Some((said, recorder)) = self.said.take()
            && said == notice
        {
            let published = in_time(recorder.publish(&event, &about)).await;
            // The cluster forgets Events after an hour.
            if published.as_ref().err().map(|failure| failure.reason) != Some(Reason::NotFound) {
                self.said = published.is_ok().then_some((said, recorder));
                return published;
            }
        }
        let recorder = Recorder::new(self.access.client().await?, self.reporter.clone());
        in_time(recorder.publish(&event, &about)).await?;
        self.said = Some((notice, recorder));
        Ok(())
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Publisher").field("failing", &self.failing).finish_non_exhaustive()
    }
}

fn event(notice: &Notice) -> Event {
    Event {
        type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason.to_owned(),
        note: Some(notice.note.clone()),
        action: "Reload".to_owned(),
        secondary: None,
    }
}

fn reference(regarding: &Regarding) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("ConfigMap".to_owned()),
        namespace: Some(regarding.namespace.clone()),
        name: Some(regarding.name.clone()),
        uid: Some(regarding.uid.clone()),
        resource_version: Some(regarding.version.clone()),
        field_path: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Notice, Regarding, run};
    use parking_lot::Mutex;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::sync::watch::{Sender, channel};
    use tokio::time::{Instant, sleep};

    const PAUSE: Duration = Duration::from_secs(10);

    fn tell(newest: &Sender<Option<Arc<Notice>>>, note: &str) {
        let regarding = Regarding {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            version: String::new(),
        };
        let note = note.to_owned();
        newest.send_replace(Some(Arc::new(Notice {
            regarding,
            is_warning: false,
            reason: "Told",
            note,
        })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_word_is_told_at_once_and_then_the_newest_after_each_pause() {
        let (newest, told) = channel(None);
        let (heard, begin) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
        let log = Arc::clone(&heard);
        // The second is not heard at first.
        let publish = async move |notice: Arc<Notice>| {
            log.lock().push((notice.note.clone(), begin.elapsed().as_secs()));
            log.lock().len() != 2
        };
        tokio::spawn(run(told, PAUSE, publish));
        tell(&newest, "a");
        sleep(Duration::from_secs(1)).await;
        for note in ["b", "c", "d"] {
            tell(&newest, note);
        }
        sleep(Duration::from_secs(100)).await;
        tell(&newest, "e");
        sleep(Duration::from_secs(1)).await;
        let expected = [("a", 0), ("d", 10), ("d", 20), ("e", 101)];
        assert_eq!(*heard.lock(), expected.map(|(note, at)| (note.to_owned(), at)));
    }
}
