//! What tests of the other crates need: a Kafka to talk to, names of their own, and a way to wait.
//!
//! [`Kafka::start`] is Apache Kafka if `TEST_KAFKA_BOOTSTRAP_SERVERS` names one, otherwise an
//! embedded broker of the test's own; [`Kafka::own_broker`] is always the latter, for tests that
//! make it misbehave; [`apache`], [`postgres`] and [`pgbouncer`] start servers of a test's own, [`disk`] mounts one that is
//! full on request; [`guard`] puts TLS and
//! SASL before an embedded broker. [`raw`] speaks the protocol frame by frame, [`corpus`] runs those
//! of the fuzz targets, `openapi` tries a service against its own document, [`tokens`] are what users show, [`polled`] drops futures
//! half-way, [`transaction`] leaves one open. Everything panics with a clear message where a test could not go on.

pub mod apache;
pub mod certificates;
pub mod corpus;
#[cfg(feature = "database")]
pub mod database;
pub mod disk;
pub mod guard;
pub mod http;
mod kafka;
pub mod metrics;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod pgbouncer;
mod polled;
pub mod postgres;
pub mod raw;
pub mod tokens;
pub mod transaction;
mod wait;

pub use broker::{Advertised, ApiKey, ResponseError};
pub use kafka::Kafka;
pub use polled::{dropped_at_every_await, polled};
pub use wait::eventually;

/// A name no other test uses: the prefix and a random part.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}
