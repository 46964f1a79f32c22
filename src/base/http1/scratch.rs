//! Memory for reading and writing that the connections of a thread share: an idle connection holds
//! none of its own.

use std::cell::Cell;

/// How much is read at once where little is expected: most heads come whole.
pub const READ_BYTES: usize = 16 * 1024;

thread_local! {
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
