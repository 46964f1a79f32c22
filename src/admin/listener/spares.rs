//! File descriptors held back, so that there is a connection to ask why there are none.

use parking_lot::Mutex;
use std::fs::File;

/// How many are held back. One that is free for a moment may be lost to a client of the proxy,
/// until there are some again.
const SPARES: usize = 16;

/// File descriptors that nobody else can take.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<File>>);

impl Spares {
    /// Holds back as many as it may, if there are any.
    pub(super) fn refill(&self) {
        let mut held = self.0.lock();
        while held.len() < SPARES
            && let Ok(file) = File::open("/dev/null")
        {
            held.push(file);
        }
    }

    /// Lets one go; whether there was one.
    pub(super) fn give_one(&self) -> bool {
        self.0.lock().pop().is_some()
    }
}
