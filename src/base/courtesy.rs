//! Long work that gives way: points at which a thread lets those go on that have something to do.
//!
//! A class of threads that run "only when idle" is not enough for that. Linux weighs such a thread
//! with 3 against 1,024, so now and then it is its turn although another one could run, and on a
//! kernel that preempts nothing by itself the turn lasts to the next tick: 4 ms at 250 Hz, in which
//! eighty requests come at 20,000 a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static TURN: Cell<Option<Turn>> = const { Cell::new(None) };
}

/// How long a thread may go on before it asks whether somebody else wants the processor.
#[derive(Debug, Clone, Copy)]
struct Turn {
    began: Instant,
    length: Duration,
    /// When it has given way for long enough; never if there is no such time.
    over: Option<Instant>,
}

/// From now on this thread gives way after turns of this length, for so long in all.
pub fn begin(length: Duration, patience: Duration) {
    let began = Instant::now();
    TURN.set(Some(Turn { began, length, over: began.checked_add(patience) }));
}

/// From now on it does not any more.
pub fn end() {
    TURN.set(None);
}

/// To be called in long loops, every few microseconds; says whether the processor was offered to
/// others. Never on a thread that did not [`begin`] to: it gets less than its part, since a thread
/// of the same class that never rests goes on for its whole time slice, some 3 ms, in between.
pub fn give_way() -> bool {
    let Some(turn) = TURN.get() else { return false };
    if turn.began.elapsed() < turn.length {
        return false;
    }
    std::thread::yield_now();
    let began = Instant::now();
    if turn.over.is_some_and(|over| began >= over) {
        end();
    } else {
        TURN.set(Some(Turn { began, ..turn }));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{begin, end, give_way};
    use std::time::{Duration, Instant};

    const TURN: Duration = Duration::from_micros(50);

    fn work(turns: u32) {
        let since = Instant::now();
        while since.elapsed() < turns * TURN {}
    }

    #[test]
    fn only_who_has_begun_to_gives_way_and_only_after_its_turn() {
        std::thread::spawn(|| {
            work(2);
            assert!(!give_way(), "it has not begun to");
            let since = Instant::now();
            begin(TURN, Duration::MAX);
            for _ in 0..3 {
                while !give_way() {}
            }
            assert!(since.elapsed() >= 3 * TURN);
            work(1);
            assert!(give_way());
            end();
            work(2);
            assert!(!give_way(), "it has ended to");
        })
        .join()
        .unwrap();
    }

    #[test]
    fn nobody_gives_way_for_ever_to_who_never_rests() {
        std::thread::spawn(|| {
            begin(TURN, 4 * TURN);
            work(4);
            assert!(give_way(), "what is due is due");
            work(2);
            assert!(!give_way(), "it has been patient for long enough");
        })
        .join()
        .unwrap();
    }
}
