//! A timer or a task that is not asked again as long as it is known to be not ready: what waits for
//! a socket beside it is woken for that far more often.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::{JoinHandle, coop};
use tokio::time::{Instant, Sleep};

/// What can tell without a waker whether it may be ready.
pub trait Certain: Future + Unpin {
    /// Whether it must be polled; else nothing has come of it since.
    fn may_be_ready(&self) -> bool;
}

impl Certain for Pin<Box<Sleep>> {
    fn may_be_ready(&self) -> bool {
        self.is_elapsed()
    }
}

impl<T> Certain for JoinHandle<T> {
    fn may_be_ready(&self) -> bool {
        self.is_finished()
    }
}

/// The future, and whom it wakes.
#[derive(Debug)]
pub struct Quiet<F> {
    future: F,
    /// Whom it is known to wake.
    waker: Option<Waker>,
}

impl<F: Certain> Quiet<F> {
    /// Nobody waits for it yet.
    pub fn new(future: F) -> Self {
        Self { future, waker: None }
    }

    /// As [`Future::poll`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if known && !self.future.may_be_ready() {
            return Poll::Pending;
        }
        // Who has no budget left is only told to come again.
        let asked = coop::has_budget_remaining();
        let polled = Pin::new(&mut self.future).poll(cx);
        self.waker = (asked && polled.is_pending()).then(|| cx.waker().clone());
        polled
    }
}

impl Quiet<Pin<Box<Sleep>>> {
    /// A timer that runs out after this.
    pub fn after(time: Duration) -> Self {
        Self::new(Box::pin(tokio::time::sleep(time)))
    }

    /// Lets it run anew.
    pub fn reset(&mut self, time: Duration) {
        self.waker = None;
        self.future.as_mut().reset(Instant::now() + time);
    }
}

impl<T> Quiet<JoinHandle<T>> {
    /// Ends the task, if it has not ended by itself.
    pub fn abort(&self) {
        self.future.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::{Certain, Quiet};
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;
    use tokio::task::coop;
    use tokio::time::{Instant, timeout};

    const TIME: Duration = Duration::from_secs(1);

    /// Never ready; counts how often it is asked.
    struct Asked(u32);

    impl Future for Asked {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            self.0 += 1;
            Poll::Pending
        }
    }

    impl Certain for Asked {
        fn may_be_ready(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn it_is_asked_once_by_each_that_waits() {
        let mut quiet = Quiet::new(Asked(0));
        for asked in 1..=3 {
            // Another task each time.
            let waiting = FuturesUnordered::from_iter([poll_fn(|cx| {
                for _ in 0..10 {
                    assert!(quiet.poll(cx).is_pending());
                }
                Poll::Ready(())
            })]);
            waiting.collect::<()>().await;
            assert_eq!(quiet.future.0, asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_in_time_and_anew() {
        let (began, mut quiet) = (Instant::now(), Quiet::after(TIME));
        poll_fn(|cx| quiet.poll(cx)).await;
        assert_eq!(began.elapsed(), TIME);
        quiet.reset(TIME);
        poll_fn(|cx| quiet.poll(cx)).await;
        assert_eq!(began.elapsed(), 2 * TIME);
        let mut task = Quiet::new(tokio::spawn(async { 7 }));
        assert_eq!(poll_fn(|cx| task.poll(cx)).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn it_wakes_who_has_asked_last() {
        let mut quiet = Quiet::after(TIME);
        assert!(quiet.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        timeout(2 * TIME, poll_fn(|cx| quiet.poll(cx))).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_without_a_budget_is_woken_in_time_all_the_same() {
        let mut quiet = Quiet::after(TIME);
        let mut polls = 0;
        let waiting = pin!(poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                while let Poll::Ready(proceeding) = coop::poll_proceed(cx) {
                    proceeding.made_progress();
                }
            }
            quiet.poll(cx)
        }));
        timeout(2 * TIME, waiting).await.unwrap();
        assert_eq!(polls, 3);
    }
}
