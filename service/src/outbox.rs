//! Transactional outbox: an event is a row of the same transaction as what it tells of, and a relay
//! publishes the rows.
//!
//! Invariants:
//! - **Nothing is lost.** A row is marked as published only after Kafka has acknowledged it. A relay
//!   that ends in between publishes it once more, with the same `ce_id`.
//! - **Events of one key keep their order.** Of one key, one event is under way at a time; the next
//!   is sent after the acknowledgement of the one before, and after a failure none.
//!   Rows are read by their id. So a writer must hold a lock on the entity (its row, written first in
//!   the transaction) when it [appends](Outbox::append): then ids come in the order of commits.
//! - **One relay at a time**, by a [lease](lease) that has an epoch: a relay that lost it, even
//!   without knowing, cannot mark anything, and sends nothing once its term is over by its own clock.
//!   What it still has in Kafka's hands may land, which makes a repeat, and nothing else.
//! - Where a row lies in Kafka (partition, offset) is kept with it until its retention.

mod append;
mod lease;
mod line;
mod published;
mod relay;
mod schema;

pub use append::{NewEvent, Outbox};
pub use published::{Place, Published, find};
pub use relay::{Announce, DELIVERY_TIMEOUT, Relay, RelayError, Silent};
pub use schema::{POSTGRES, RETENTION, SQLITE, TOPIC_IDS};
