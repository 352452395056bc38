//! Carts: created by `UserCreated`, read and changed over HTTP, every change an event on
//! `carts.events`.
//!
//! The group `cart-service` hands each record to [`CartHandler`], which creates the user's cart in one
//! transaction with many others. A user has one cart ([`schema`]: a unique column), so the event may
//! come as often as it likes. Changes of a cart lock its row first ([`store`]), so its events come in
//! the order of its changes.

mod handler;
mod items;
mod metrics;
mod requests;
mod routes;
mod schema;
mod stages;
mod store;

pub(crate) use handler::CartHandler;
pub(crate) use items::Carts;
pub(crate) use metrics::CartMetrics;
pub(crate) use requests::{RETENTION as REQUEST_RETENTION, SCHEMA as REQUEST_KEYS};
pub(crate) use routes::{routes, routes_without_carts};
pub(crate) use schema::{POSTGRES, SQLITE};
pub(crate) use stages::Stages;
pub(crate) use store::{CartEvents, CreateCarts};
