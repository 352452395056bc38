//! The fault harness: the real programs under faults, and a checker of what happened.
//!
//! Where to look first: [`scenarios`], each the story of one fault; a test in `tests/` runs it in
//! short, `just chaos` at length ([`run`]). Behind them:
//!
//! - [`shop`]: a whole shop of real processes on a [`shop::Stage`], the embedded broker or Apache
//!   Kafka;
//! - [`proxy`]: the network before it, cut, slow or silent;
//! - [`load`]: orders over HTTP, every request noted;
//! - [`gather`]: topics, commits and stored notifications, read into a [`history`];
//! - [`checker`]: proves from a history that nothing was lost, invented or reordered, or names
//!   the offender. Pure;
//! - [`carts`], [`bookstore`]: users and carts, book events, with databases that can be taken away;
//! - [`poison`]: records that are no events of ours;
//! - [`ownership`]: the same for a group shared with other clients, from their [`journal`]s;
//! - [`members`], [`producers`]: those clients, Java's and librdkafka's;
//! - [`processor`]: a processor with a planted bug, which the checker must catch;
//! - [`process`], [`programs`]: the services as child processes.

pub mod bookstore;
pub mod carts;
pub mod checker;
pub mod gather;
pub mod history;
pub mod journal;
pub mod load;
pub mod members;
pub mod ownership;
pub mod poison;
pub mod process;
pub mod processor;
pub mod producers;
pub mod programs;
pub mod proxy;
pub mod run;
pub mod scenarios;
pub mod shop;
