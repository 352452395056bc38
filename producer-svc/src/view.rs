//! The order view: what Kafka says about orders, kept in the database for `GET`.
//!
//! The group `order-view` hands each record to [`ViewHandler`], which writes it as one row, with
//! many others in one transaction ([`store`]). What state an order is in is not stored but read off
//! its rows ([`order_state`]), so nothing can contradict them.

mod accepted;
mod handler;
mod order_state;
mod routes;
mod rows;
mod schema;
mod store;

pub(crate) use accepted::Accepted;
pub(crate) use handler::ViewHandler;
pub(crate) use order_state::{OrderEvent, OrderEvents};
pub(crate) use routes::{Orders, asked_id, routes, routes_without_view};
pub(crate) use schema::{ORDER_EVENTS, RETENTION, STORED_POSTGRES, STORED_SQLITE};
pub(crate) use store::ViewStore;
