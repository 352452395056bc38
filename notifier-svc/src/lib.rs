//! The shop's notifications: stored once, printed, and streamed.
//!
//! Where to look first: [`run`] is the service as a story; `handler` takes one record. Around it:
//!
//! - [`store`]: the table, written in group commits
//! - [`console`]: prints each notification at least once
//! - [`logs`]: log records of every service, collected and listed
//! - `routes`, `stream`: `GET /api/notifications` and its server-sent events

mod config;
pub mod console;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod handler;
pub mod logs;
mod notification_metrics;
mod routes;
mod run;
pub mod store;
mod stream;

pub use config::{Config, program};
pub use run::run;

/// The service's name in its metrics, events and file names.
pub const NAME: &str = "notifier-svc";
