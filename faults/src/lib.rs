//! The fault harness: the real programs under faults, and a checker of what happened.

pub mod journal;
pub mod members;
pub mod ownership;
pub mod process;
pub mod programs;
