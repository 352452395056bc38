//! Processes the shop's orders: CREATED, then CONFIRMED or REJECTED, and a notification; and keeps
//! the users' carts and the bookstore's statistics.
//!
//! Where to look first: [`run`] is the service as a story; `processing` handles one order. Around it:
//!
//! - `rules`: which orders are confirmed; `events`: what is sent about an order
//! - `memory`: recent orders, so that a repeat costs nothing and a conflict is noticed
//! - `carts`: a cart for every user, its items over HTTP, its events by way of the outbox
//! - `analytics`: what book events come to, each counted once
//! - [`dlt`]: dead letters for an operator
//!
//! Orders need no database: whatever is known of one lies in Kafka. Carts and statistics have one.

mod analytics;
mod carts;
mod config;
pub mod dlt;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod memory;
mod order_log;
mod order_metrics;
mod processing;
mod rules;
mod run;
mod schema;

pub use analytics::AnalyticsConfig;
pub use config::{Config, program};
pub use run::run;

/// The service's name in its metrics, events and file names.
pub const NAME: &str = "consumer-svc";
