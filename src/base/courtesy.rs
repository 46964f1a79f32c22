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
}

/// From now on this thread gives way after turns of this length, or never.
pub fn begin(length: Option<Duration>) {
    TURN.set(length.map(|length| Turn { began: Instant::now(), length }));
}

/// To be called in long loops, every few microseconds; says whether the processor was offered to
/// others. Never on a thread that did not [`begin`] to: it gets less than its part, since a thread
/// of the same class that never rests goes on for its whole time slice, some 3 ms, in between.
pub fn give_way() -> bool {
    let over = TURN.get().filter(|turn| turn.began.elapsed() >= turn.length);
    if let Some(turn) = over {
        std::thread::yield_now();
        begin(Some(turn.length));
    }
    over.is_some()
}

#[cfg(test)]
mod tests {
    use super::{begin, give_way};
    use std::time::{Duration, Instant};

    #[test]
    fn only_who_has_begun_to_gives_way_and_only_after_its_turn() {
        const TURN: Duration = Duration::from_micros(50);
        let working = |turns: u32| {
            let since = Instant::now();
            while since.elapsed() < turns * TURN {}
        };
        std::thread::spawn(move || {
            working(2);
            assert!(!give_way(), "it has not begun to");
            begin(Some(TURN));
            let since = Instant::now();
            for _ in 0..3 {
                while !give_way() {}
            }
            assert!(since.elapsed() >= 3 * TURN);
            working(1);
            assert!(give_way());
            begin(None);
            working(2);
            assert!(!give_way(), "it has ended to");
        })
        .join()
        .unwrap();
    }
}
