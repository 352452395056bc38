//! Configuration to client, topics made at start, health by asking, statistics as metrics.

mod connect;
mod consume;
mod explained;
mod letter_retention;
mod passed_over;
mod process_duration;
mod refused;
mod scan;
mod stats;
mod topics;
mod watch;
mod watch_consumer;
mod watch_topics;

pub use consume::{ConsumeError, consume, consume_after};
pub use explained::explained;
pub use passed_over::PassedOver;
pub use process_duration::{ProcessDurations, Timed};
pub use refused::{ORDINARY_RECORD, is_oversized};
pub use scan::{Scan, ScanError};
pub use stats::KafkaStats;
pub use topics::{TopicPlan, make_topics};
pub use watch::watch_kafka;
pub use watch_consumer::{ConsumerHealth, watch_consumer};
