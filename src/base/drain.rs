//! Draining: one side asks for the end, every holder of the other side finishes what it has.

use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// The side that asks everybody to finish.
#[derive(Debug)]
pub struct Drain {
    signal: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
}

/// The side that finishes: held by everything that must be waited for.
#[derive(Debug, Clone)]
pub struct Draining {
    signal: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

/// A new pair; what is to be drained holds clones of the second part.
pub fn pair() -> (Drain, Draining) {
    let (signal, watched) = watch::channel(false);
    let (held, alive) = mpsc::channel(1);
    (Drain { signal, alive }, Draining { signal: watched, _alive: held })
}

impl Drain {
    /// Asks everybody to finish and returns at once.
    pub fn begin(&self) {
        self.signal.send_replace(true);
    }

    /// Asks everybody to finish and waits until all have, or until the time is up; says whether
    /// all have.
    pub async fn finish(mut self, timeout: Duration) -> bool {
        self.begin();
        tokio::time::timeout(timeout, self.alive.recv()).await.is_ok()
    }
}

impl Draining {
    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        *self.signal.borrow()
    }

    /// Waits until the end is asked for; at once if the asking side is gone.
    pub async fn asked(&mut self) {
        let _ = self.signal.wait_for(|asked| *asked).await;
    }

    /// Waits until nobody waits for the end any more: what is not finished then is to be cut off.
    pub async fn over(&mut self) {
        while self.signal.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::pair;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn finishing_waits_for_every_holder() {
        let (drain, draining) = pair();
        let mut other = draining.clone();
        let task = tokio::spawn(async move {
            other.asked().await;
            tokio::time::advance(Duration::from_secs(1)).await;
        });
        drop(draining);
        assert!(drain.finish(Duration::from_mins(1)).await);
        assert!(task.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn finishing_gives_up_when_its_time_is_up() {
        let (drain, draining) = pair();
        let mut other = draining.clone();
        let cut = tokio::spawn(async move { other.over().await });
        assert!(!drain.finish(Duration::from_secs(1)).await);
        assert!(draining.is_asked());
        cut.await.unwrap();
    }
}
