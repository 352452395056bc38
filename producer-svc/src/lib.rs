//! The HTTP front door of the shop: takes orders with a receipt from Kafka, shows what became of
//! them, and streams their status.
//!
//! Where to look first: [`run`] is the service as a story. Behind it:
//!
//! - [`intake`]: `POST /api/orders` and `POST /orders`. Needs Kafka alone.
//! - [`view`]: the group `order-view` writes what happens to orders into the database;
//!   `GET /api/orders/{orderId}` reads it.
//! - [`status_feed`]: server-sent events, from the status topic itself.

mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod intake;
mod run;
mod status_feed;
mod view;

pub use config::{Config, program};
pub use run::run;

/// The service's name in its metrics, events and file names.
pub const NAME: &str = "producer-svc";
