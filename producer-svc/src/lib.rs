//! The HTTP front door of the shop: takes orders with a receipt from Kafka, shows what became of
//! them, and streams their status.
//!
//! Where to look first: [`run`] is the service as a story. Behind it:
//!
//! - [`intake`]: `POST /api/orders` and `POST /orders`. Needs Kafka alone.
//! - [`view`]: the group `order-view` writes what happens to orders into the database;
//!   `GET /api/orders/{orderId}` reads it.
//! - [`users`]: registration, and its events by way of the outbox.
//! - [`books`]: `POST /api/books/{bookId}/views` and so on, likewise with Kafka alone; [`analytics`]:
//!   what they come to, as consumer-svc computes it, in the database.
//! - [`admin`]: what operators see, behind a password.
//! - [`doctor`]: why a user has no cart.
//! - [`status_feed`]: server-sent events, from the status topic itself.

mod acceptance;
mod admin;
mod analytics;
mod books;
mod callers;
mod config;
pub mod doctor;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod intake;
mod run;
mod schema;
mod status_feed;
mod taken;
mod users;
mod view;
mod view_lag;

pub use config::{Config, program};
pub use run::run;

/// The service's name in its metrics, events and file names.
pub const NAME: &str = "producer-svc";

/// `ce_source` of what this service sends: a URI reference, as CloudEvents asks for.
const SOURCE: &str = "/producer-svc";
