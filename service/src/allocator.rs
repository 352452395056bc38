//! The memory of static binaries. musl's own allocator takes one lock for all threads and gives memory
//! back to the system all the time (docs/containers.md has figures); this one is written in Rust.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;
