//! Kafka's record batches, format version 2 (KIP-98, `DefaultRecordBatch.java`).
//!
//! [`encoder`] appends records straight into a batch, [`walker`] reads fetched batches without copying,
//! [`compression`] has the four codecs, [`Headers`] are a record's headers as they lie in the batch.

pub(crate) mod compression;
pub(crate) mod encoder;
mod headers;
mod varint;
pub(crate) mod walker;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::{
    compression::{Compression, UnknownCompression},
    headers::{EncodedHeaders, HeaderTemplate, Headers, OutgoingHeaders},
};

/// Byte positions in a batch's header.
pub(crate) mod layout {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const BATCH_LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
    /// Where the records begin.
    pub(crate) const RECORDS: usize = 61;
    /// What `BATCH_LENGTH` does not count: base offset and itself.
    pub(crate) const LENGTH_OVERHEAD: usize = 12;

    pub(crate) const COMPRESSION_MASK: i16 = 0x07;
    pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
    pub(crate) const TRANSACTIONAL: i16 = 0x10;
    pub(crate) const CONTROL: i16 = 0x20;
}

/// The largest offset that is believed. No log gets near it, and what is computed from it cannot
/// overflow.
pub(crate) const MAX_OFFSET: i64 = i64::MAX / 2;

/// A batch that cannot be read, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record batch at {topic}-{partition} offset {offset} cannot be read: {problem}")]
pub struct BatchError {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The batch's first offset, or the offset that was asked for if even that is unreadable.
    pub offset: i64,
    /// The batch's last offset, if its header can be believed.
    pub last: Option<i64>,
    /// What is wrong with it, and what can be done.
    pub problem: BatchProblem,
}

/// What is wrong with a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchProblem {
    /// Magic 0 or 1, or one from the future.
    #[error(
        "message format version {0}; this client reads version 2 (Kafka 0.11 and later), so let the \
         broker rewrite or expire the old segments"
    )]
    Magic(i8),
    /// The bytes are not those that were written.
    #[error("its checksum is {found:#010x}, not {expected:#010x}: the data is damaged")]
    Checksum {
        /// From the batch's header.
        expected: u32,
        /// Computed over the data.
        found: u32,
    },
    /// A codec that does not exist.
    #[error("unknown compression type {0}")]
    UnknownCompression(i16),
    /// The codec failed, or its output is larger than allowed.
    #[error("its {codec} data cannot be decompressed: {reason}")]
    Decompression {
        /// The codec's name.
        codec: &'static str,
        /// What it said.
        reason: String,
    },
    /// Lengths or counts contradict each other, so that the records' boundaries are lost.
    #[error("{0}")]
    Malformed(String),
}
