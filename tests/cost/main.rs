//! What a decision and a forwarded request cost, in counts that no noise changes.
//!
//! Allocations are counted by the allocator of this process, in which the whole proxy runs; the
//! clients and the origin allocate nothing. System calls are counted by strace at the real binary;
//! without it, that test is skipped, loudly.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "all of this is tests")]

mod allocations;
mod exchange;
mod http2;
mod system_calls;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
