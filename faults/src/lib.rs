//! The fault harness: the real programs under faults, and a checker of what happened.

pub mod process;
pub mod programs;
