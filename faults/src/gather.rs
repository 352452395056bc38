//! Reads a run's history out of Kafka and the services.

mod commits;
mod notifications;
mod topics;

pub use commits::{CommitWatch, worked_off};
pub use notifications::stored;
pub use topics::{each_record, ends, read_topics};
