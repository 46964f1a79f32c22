//! Memory for reading and writing that the connections of a thread share: an idle connection holds
//! none of its own.

use http::HeaderMap;
use std::cell::Cell;

/// How much is read at once where little is expected: most heads come whole.
pub const READ_BYTES: usize = 16 * 1024;

/// A map that has, or has room for, more fields than this is not kept.
const KEPT_FIELDS_MAX: usize = 128;

thread_local! {
    static FIELDS: Cell<Option<HeaderMap>> = const { Cell::new(None) };
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the memory for reading, [`READ_BYTES`] of it.
pub fn read<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    READ.with(|cell| {
        let mut memory = cell.take();
        memory.resize(READ_BYTES, 0);
        let result = work(&mut memory);
        cell.set(memory);
        result
    })
}

/// An empty map with room for so many fields.
pub fn fields(room: usize) -> HeaderMap {
    let mut fields = FIELDS.take().unwrap_or_default();
    fields.reserve(room);
    fields
}

/// Keeps the memory of a map that is needed no longer for the next one.
pub fn keep_fields(mut fields: HeaderMap) {
    if fields.capacity().max(fields.len()) <= KEPT_FIELDS_MAX {
        fields.clear();
        FIELDS.set(Some(fields));
    }
}

/// Lends the memory for writing, empty; what is larger than `kept` afterwards is given back.
pub fn write<T>(kept: usize, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    WRITE.with(|cell| {
        let mut memory = cell.take();
        let result = work(&mut memory);
        memory.clear();
        if memory.capacity() <= kept {
            cell.set(memory);
        }
        result
    })
}
