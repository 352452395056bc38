//! A topic as the producer knows it, and the records that wait for it.

use std::{
    sync::{Arc, atomic::AtomicU32},
    time::Instant,
};

use kafka_protocol::messages::TopicName;
use parking_lot::{Mutex, RwLock};

use super::{delivery::WaitingSlot, queue::Queue};
use crate::records::Headers;

pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Empty until known. Fewer only when the topic was deleted and created again.
    pub(super) partitions: RwLock<Vec<Arc<Partition>>>,
    /// Where records without a key go for now (KIP-480).
    pub(super) sticky: AtomicU32,
    pub(super) waiting: Mutex<Vec<WaitingRecord>>,
}

pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) wire_topic: TopicName,
    pub(super) index: i32,
    pub(super) queue: Mutex<Queue>,
}

/// A record whose topic's partitions are not known.
pub(super) struct WaitingRecord {
    pub(super) partition: Option<i32>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Headers,
    pub(super) timestamp: i64,
    pub(super) payload: usize,
    pub(super) since: Instant,
    pub(super) slot: Arc<WaitingSlot>,
}
