//! The memory of static binaries: musl's own allocator costs more processor time an order
//! (docs/containers.md has figures), and this one is written in Rust.

use dlmalloc::GlobalDlmalloc;

#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;
