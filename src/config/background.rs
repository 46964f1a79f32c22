//! A thread for the work that a new configuration makes, which gives way to those that serve.

use crate::base::courtesy;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// The most pieces of work that wait for the thread.
const QUEUE_MAX: usize = 4;
/// How long the thread goes on before it looks whether somebody else wants the processor: a hundred
/// times what looking costs.
const IDLE_TURN: Duration = Duration::from_micros(50);
/// The same for what did not get done there in time, and so is done at normal priority. Beside one
/// thread that never rests it has a twelfth of the processor then, in pieces that no request
/// notices much.
const NORMAL_TURN: Duration = Duration::from_micros(250);
/// For how long that is done so: of many threads that never rest each has a slice in between.
const NORMAL_PATIENCE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce() + Send>;

/// A thread of its own for what keeps a processor busy. Once there is somebody to give way to, the
/// kernel lets it run where no other thread wants to. What does not get done there in time is done
/// elsewhere, at normal priority, so that a busy processor delays a change but never stops it.
#[derive(Debug)]
pub struct Background {
    jobs: SyncSender<Job>,
    gives_way: bool,
}

impl Background {
    /// Starts the thread, which ends with this; it gives way to nobody yet.
    pub fn start() -> io::Result<Self> {
        let (jobs, receiver) = sync_channel::<Job>(QUEUE_MAX);
        std::thread::Builder::new().name("config".to_owned()).spawn(move || {
            while let Ok(job) = receiver.recv() {
                // Whoever waits for an answer sees that there is none.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self { jobs, gives_way: false })
    }

    /// From now on everybody else who wants the processor gets it first.
    pub fn give_way(&mut self) {
        if !self.gives_way {
            self.gives_way = self.jobs.try_send(Box::new(lower_priority)).is_ok();
        }
    }

    /// Does something that may be done twice, and waits for it; the error is a panic's message.
    /// After so much patience with a thread that gives way it is begun anew elsewhere, and whatever
    /// is ready first counts; without any it is not left to that thread. To be called inside a
    /// tokio runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<T, String> {
        let work = Arc::new(work);
        if self.gives_way && patience.is_zero() {
            let done = spawn_blocking(move || caught(&*work)).await;
            return done.unwrap_or_else(|error| Err(error.to_string()));
        }
        let (answer, mut answered) = oneshot::channel();
        let there = Arc::clone(&work);
        let job = Box::new(move || {
            // Nobody may be waiting any more.
            if !answer.is_closed() {
                let _ = answer.send(caught(&*there));
            }
        });
        if self.jobs.try_send(job).is_ok() {
            let patience = if self.gives_way { patience } else { Duration::MAX };
            if let Ok(result) = tokio::time::timeout(patience, &mut answered).await {
                return result.unwrap_or_else(|error| Err(error.to_string()));
            }
            tracing::debug!("no processor for the configuration, going on at normal priority");
        }
        let elsewhere = spawn_blocking(move || {
            courtesy::begin(NORMAL_TURN, NORMAL_PATIENCE);
            let done = caught(&*work);
            courtesy::end();
            done
        });
        tokio::select! {
            Ok(result) = answered => result,
            result = elsewhere => result.unwrap_or_else(|error| Err(error.to_string())),
        }
    }

    /// Drops something for which that takes a while. To be called inside a tokio runtime.
    pub fn dispose(&self, what: impl Send + 'static) {
        if let Err(full) = self.jobs.try_send(Box::new(move || drop(what))) {
            spawn_blocking(move || drop(full));
        }
    }
}

/// The result of some work, or the message of its panic.
fn caught<T>(work: &impl Fn() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic).to_owned())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked")
}

/// Gives way to every thread that wants to run. Of a processor on which another one never rests it
/// gets 3 parts in 1,027 then. None but the way back needs a privilege.
#[cfg(target_os = "linux")]
fn lower_priority() {
    use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, set_scheduler};
    /// The least priority of the normal class: such a thread may finish its time slice first.
    const NICE_MAX: i32 = 19;
    let only_when_idle = SchedulerParams { priority: 0 };
    let class = set_scheduler(Pid::current_thread(), Scheduler::SCHED_IDLE, only_when_idle);
    let lowered = class.map_err(|idle| {
        let this = Some(rustix::thread::gettid());
        let nice = rustix::process::setpriority_process(this, NICE_MAX);
        nice.inspect_err(|nice| {
            tracing::debug!(%idle, %nice, "configurations are compiled at normal priority");
        })
    });
    match lowered {
        Ok(()) | Err(Ok(())) => courtesy::begin(IDLE_TURN, Duration::MAX),
        Err(Err(_)) => {}
    }
}

/// Without a class of threads that is safe to use, all are alike.
#[cfg(not(target_os = "linux"))]
fn lower_priority() {
    tracing::debug!("configurations are compiled at normal priority");
}

#[cfg(test)]
mod tests;
