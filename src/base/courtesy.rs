//! Long work that gives way: points at which a thread lets those go on that have something to do.
//!
//! A class of threads that run "only when idle" is not enough for that. Linux weighs such a thread
//! with 3 against 1,024, so now and then it is its turn although another one could run, and on a
//! kernel that preempts nothing by itself the turn lasts to the next tick: 4 ms at 250 Hz, in which
//! eighty requests come at 20,000 a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long such a thread goes on before it asks whether somebody else wants the processor: a
/// hundred times what asking costs if nobody does.
const TURN: Duration = Duration::from_micros(50);

thread_local! {
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on this thread gives way.
pub fn begin() {
    SINCE.set(Some(Instant::now()));
}

/// To be called in long loops, every few microseconds; says whether the processor was offered to
/// others. Never on a thread that did not [`begin`] to: it would get less than its part.
pub fn give_way() -> bool {
    let over = SINCE.get().is_some_and(|since| since.elapsed() >= TURN);
    if over {
        std::thread::yield_now();
        begin();
    }
    over
}

#[cfg(test)]
mod tests {
    use super::{TURN, begin, give_way};
    use std::time::Instant;

    #[test]
    fn only_who_has_begun_to_gives_way_and_only_after_its_turn() {
        let working = |turns: u32| {
            let since = Instant::now();
            while since.elapsed() < turns * TURN {}
        };
        std::thread::spawn(move || {
            working(2);
            assert!(!give_way(), "it has not begun to");
            begin();
            let since = Instant::now();
            for _ in 0..3 {
                while !give_way() {}
            }
            assert!(since.elapsed() >= 3 * TURN);
            working(1);
            assert!(give_way());
        })
        .join()
        .unwrap();
    }
}
