//! The `Date` of responses that have none (RFC 9110 section 6.6.1), written once a second.

use crate::base::clock;
use std::cell::Cell;

/// The length of a date, `Sun, 06 Nov 1994 08:49:37 GMT`.
const DATE_BYTES: usize = 29;

/// The second of a date, and how it is written.
type Written = (u64, [u8; DATE_BYTES]);

thread_local! {
    static LAST: Cell<Written> = const { Cell::new((u64::MAX, [b' '; DATE_BYTES])) };
}

/// Appends the date of now.
pub(super) fn put(to: &mut Vec<u8>) {
    let now = clock::unix_whole_seconds();
    let (second, mut date) = LAST.get();
    if second != now {
        let text = clock::http_date(now);
        if let Ok(bytes) = <[u8; DATE_BYTES]>::try_from(text.as_bytes()) {
            date = bytes;
            LAST.set((now, date));
        }
    }
    to.extend_from_slice(&date);
}
