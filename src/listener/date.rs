//! The `Date` of responses that have none (RFC 9110 section 6.6.1), written once a second.

use crate::base::clock;
use http::HeaderValue;
use std::cell::RefCell;
use std::time::{Duration, Instant};

thread_local! {
    /// The date of this second, and when that is over.
    static WRITTEN: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
}

/// The date of now.
pub(super) fn value() -> HeaderValue {
    look(HeaderValue::clone)
}

/// Appends the date of now.
pub(super) fn put(to: &mut Vec<u8>) {
    look(|date| to.extend_from_slice(date.as_bytes()));
}

fn look<T>(use_it: impl FnOnce(&HeaderValue) -> T) -> T {
    let now = clock::recent();
    WRITTEN.with_borrow_mut(|written| match written {
        Some((end, date)) if now < *end => use_it(date),
        other => use_it(&other.insert(write(now)).1),
    })
}

/// The date, and when its second is over.
fn write(now: Instant) -> (Instant, HeaderValue) {
    let time = clock::since_epoch();
    let passed = Duration::from_nanos(time.subsec_nanos().into());
    let date = HeaderValue::try_from(clock::http_date(time.as_secs()));
    let end = now + Duration::from_secs(1).saturating_sub(passed);
    (end, date.unwrap_or_else(|_| HeaderValue::from_static("")))
}
