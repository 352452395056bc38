//! The bookstore's figures: the aggregates that consumer-svc publishes, kept in the database with
//! their history.
//!
//! A group of its own hands each record to [`AnalyticsHandler`], which writes it with many others in
//! one transaction ([`write`]). Figures are totals, so what comes twice changes nothing, and of two
//! aggregates of one thing the one that was made later counts, in whatever order they come.

mod books_page;
mod figures;
mod handler;
mod routes;
mod rows;
mod schema;
mod store;
mod write;

pub(crate) use handler::AnalyticsHandler;
pub(crate) use routes::{routes, routes_without_analytics};
pub(crate) use schema::{BOOK_RETENTION, STORED_POSTGRES, STORED_SQLITE, SYSTEM_RETENTION, TABLES};
pub(crate) use store::AnalyticsStore;
