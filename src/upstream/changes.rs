//! Word of changes in the pools, for workers that would else look only when a request comes.

use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The side that tells; all clones tell the same listeners.
#[derive(Debug, Clone, Default)]
pub struct Changes(watch::Sender<()>);

/// The side that is told.
#[derive(Debug)]
pub struct Noticing {
    changed: watch::Receiver<()>,
    /// Before this it is not told again.
    rests_until: Instant,
}

impl Changes {
    /// Tells everybody that something has changed.
    pub fn announce(&self) {
        self.0.send_replace(());
    }

    /// Somebody who is told from now on.
    pub fn listen(&self) -> Noticing {
        Noticing { changed: self.0.subscribe(), rests_until: Instant::now() }
    }
}

impl Noticing {
    /// Waits for a change: the first after a while is told at once, and all that come soon after it
    /// together. Nothing is lost if this is given up while it waits.
    pub async fn changed(&mut self) {
        /// How long all further changes are taken together: what they cost is bounded by this.
        const REST: Duration = Duration::from_millis(5);
        sleep_until(self.rests_until).await;
        if self.changed.changed().await.is_err() {
            // Nobody is left who could tell.
            pending::<()>().await;
        }
        self.rests_until = Instant::now() + REST;
    }
}

#[cfg(test)]
mod tests {
    use super::Changes;
    use std::time::Duration;
    use tokio::time::{Instant, sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_thousand_changes_are_told_a_few_times_and_the_last_is_not_missed() {
        let changes = Changes::default();
        let mut noticing = changes.listen();
        let telling = tokio::spawn(async move {
            for _ in 0..1_000 {
                changes.announce();
                sleep(Duration::from_micros(20)).await;
            }
            changes.announce();
            changes
        });
        let mut told = 0;
        while timeout(Duration::from_secs(1), noticing.changed()).await.is_ok() {
            told += 1;
        }
        assert!((2..=500).contains(&told), "{told}");
        let changes = telling.await.unwrap();
        let before = Instant::now();
        changes.announce();
        noticing.changed().await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}
