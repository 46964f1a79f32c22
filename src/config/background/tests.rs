//! What is done in the background is done, whoever else wants the processor.

use super::{Background, QUEUE_MAX};
#[cfg(target_os = "linux")]
use super::{NORMAL_TURN, courtesy};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

/// Longer than any test may take.
const FOREVER: Duration = Duration::from_hours(1);

/// Keeps the thread busy until the sender that is returned is dropped.
fn occupy(background: &Background) -> mpsc::Sender<()> {
    struct Waits(mpsc::Receiver<()>, Arc<Barrier>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.1.wait();
            let _ = self.0.recv();
        }
    }
    let (free, busy) = mpsc::channel();
    let begun = Arc::new(Barrier::new(2));
    background.dispose(Waits(busy, Arc::clone(&begun)));
    begun.wait();
    free
}

#[tokio::test]
async fn work_is_done_in_order_on_a_thread_of_its_own() {
    let mut background = Background::start().unwrap();
    background.give_way();
    let done = Arc::new(Mutex::new(Vec::new()));
    for number in 0..20 {
        let list = Arc::clone(&done);
        let work = move || {
            list.lock().unwrap().push(number);
            std::thread::current().name().map(str::to_owned)
        };
        assert_eq!(background.run(FOREVER, work).await.unwrap().as_deref(), Some("config"));
    }
    assert_eq!(*done.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_panic_is_told_and_does_not_end_the_thread() {
    let background = Background::start().unwrap();
    for _ in 0..2 {
        let result: Result<(), _> = background.run(FOREVER, || panic!("of {}", 1)).await;
        assert_eq!(result, Err("of 1".to_owned()));
    }
    assert_eq!(background.run(FOREVER, || 2).await, Ok(2));
}

#[tokio::test]
async fn a_panic_in_a_drop_does_not_end_the_thread() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in a drop");
        }
    }
    let background = Background::start().unwrap();
    background.dispose(Bad);
    let name = background.run(FOREVER, || std::thread::current().name().map(str::to_owned)).await;
    assert_eq!(name.unwrap().as_deref(), Some("config"));
}

#[tokio::test]
async fn what_is_not_done_in_time_is_done_elsewhere_and_its_late_answer_is_dropped() {
    let mut background = Background::start().unwrap();
    background.give_way();
    let (free, calls) = (occupy(&background), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let count = move || counted.fetch_add(1, SeqCst);
    assert_eq!(background.run(Duration::from_millis(1), count).await, Ok(0));
    drop(free);
    // What nobody waits for any more is not even begun.
    assert_eq!(background.run(FOREVER, || 7).await, Ok(7));
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test]
async fn the_first_to_be_ready_counts() {
    let mut background = Background::start().unwrap();
    background.give_way();
    let (elsewhere, begun) = mpsc::channel();
    let begun = Mutex::new(begun);
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let work = move || {
        let here = std::thread::current().name() == Some("config");
        if here {
            // Not ready before it was begun elsewhere.
            begun.lock().unwrap().recv().unwrap();
        } else {
            elsewhere.send(()).unwrap();
            let _ = held.lock().unwrap().recv();
        }
        here
    };
    assert_eq!(background.run(Duration::from_millis(1), work).await, Ok(true));
    drop(release);
}

#[tokio::test]
async fn a_full_queue_holds_nothing_up() {
    struct Told(mpsc::Sender<Option<String>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().name().map(str::to_owned));
        }
    }
    let mut background = Background::start().unwrap();
    background.give_way();
    let free = occupy(&background);
    let (sender, dropped) = mpsc::channel();
    for _ in 0..=QUEUE_MAX {
        background.dispose(Told(sender.clone()));
    }
    // The one for which there was no room.
    assert_ne!(dropped.recv().unwrap().as_deref(), Some("config"));
    assert_eq!(background.run(FOREVER, || 3).await, Ok(3));
    drop(free);
    for _ in 0..QUEUE_MAX {
        assert_eq!(dropped.recv().unwrap().as_deref(), Some("config"));
    }
}

/// Whether a thread that has worked for a while gives way then.
#[cfg(target_os = "linux")]
fn gives_way() -> bool {
    let since = std::time::Instant::now();
    while since.elapsed() < 2 * NORMAL_TURN {}
    courtesy::give_way()
}

#[cfg(target_os = "linux")]
#[test]
fn long_work_gives_way_in_between_wherever_it_is_done() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut background = Background::start().unwrap();
        assert_eq!(background.run(FOREVER, gives_way).await, Ok(false), "there is nobody yet");
        background.give_way();
        assert_eq!(background.run(FOREVER, gives_way).await, Ok(true));
        let _free = occupy(&background);
        // What did not get done in time, then what can not wait, and then another's work.
        assert_eq!(background.run(Duration::from_millis(1), gives_way).await, Ok(true));
        assert_eq!(background.run(Duration::ZERO, gives_way).await, Ok(false));
        assert!(!tokio::task::spawn_blocking(gives_way).await.unwrap());
    });
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_its_own_priority_is_lowered_and_only_once_there_is_somebody_to_give_way_to() {
    use preempt_rt::sched::{Pid, Scheduler, get_scheduler};
    fn class() -> Scheduler {
        get_scheduler(Pid::current_thread()).unwrap()
    }
    let ours = class();
    assert_ne!(ours, Scheduler::SCHED_IDLE);
    let mut background = Background::start().unwrap();
    assert_eq!(background.run(FOREVER, class).await, Ok(ours));
    background.give_way();
    background.give_way();
    assert_eq!(background.run(FOREVER, class).await, Ok(Scheduler::SCHED_IDLE));
    assert_eq!(class(), ours);
    assert_eq!(tokio::task::spawn_blocking(class).await.unwrap(), ours);
}

/// A thread that wants a processor all the time, and the same one as others of its kind.
#[cfg(target_os = "linux")]
fn spin(until: &Arc<AtomicBool>, cores: rustix::thread::CpuSet) -> std::thread::JoinHandle<()> {
    let until = Arc::clone(until);
    std::thread::spawn(move || {
        rustix::thread::sched_setaffinity(None, &cores).unwrap();
        while !until.load(SeqCst) {
            std::hint::spin_loop();
        }
    })
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn work_is_done_soon_although_its_core_never_rests() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use std::time::Instant;
    const SPINNERS: usize = 8;
    /// Of the processor; 273 s with 3 parts in 3 + 8 × 1,024.
    const WORK: Duration = Duration::from_millis(100);
    let allowed = sched_getaffinity(None).unwrap();
    let core = (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).unwrap();
    let mut one = CpuSet::new();
    one.set(core);
    let mut background = Background::start().unwrap();
    background.run(FOREVER, move || sched_setaffinity(None, &one).unwrap()).await.unwrap();
    background.give_way();
    let stop = Arc::new(AtomicBool::new(false));
    let spinners: Vec<_> = (0..SPINNERS).map(|_| spin(&stop, one)).collect();
    let busy = || {
        let spent = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let began = Duration::try_from(spent()).unwrap();
        while Duration::try_from(spent()).unwrap().saturating_sub(began) < WORK {}
    };
    let began = Instant::now();
    let done = background.run(Duration::from_secs(1), busy).await;
    let elapsed = began.elapsed();
    stop.store(true, SeqCst);
    for spinner in spinners {
        spinner.join().unwrap();
    }
    assert_eq!(done, Ok(()));
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

#[tokio::test]
async fn what_can_not_wait_is_done_elsewhere_at_once() {
    let mut background = Background::start().unwrap();
    background.give_way();
    let _free = occupy(&background);
    let name = background.run(Duration::ZERO, || std::thread::current().name().map(str::to_owned));
    assert_ne!(name.await.unwrap().as_deref(), Some("config"));
}
