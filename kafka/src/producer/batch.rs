//! A batch on its way: being filled, as it is sent, and what becomes of its records.

use std::{sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    ProduceError,
    delivery::{Acked, BatchState},
    pool::BufferPool,
};
use crate::{
    error::Error,
    records::{
        Compression,
        encoder::{BatchBuilder, ProducerStamp, RecordParts, restamp},
        walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walked, Walker},
    },
};

/// Which records of a [`BatchState`] a batch carries.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) state: Arc<BatchState>,
    /// Index of the first.
    pub(super) first: u32,
}

pub(super) struct Filling {
    pub(super) builder: BatchBuilder,
    pub(super) part: Part,
    /// When its first record was enqueued.
    pub(super) since: Instant,
    /// Bytes of `buffer_memory` that its records hold.
    pub(super) reserved: usize,
}

/// A batch that is sent.
pub(super) struct Shipment {
    content: Content,
    /// `None` while it waits for a new producer id.
    pub(super) stamp: Option<ProducerStamp>,
    pub(super) count: i32,
    pub(super) part: Part,
    pub(super) since: Instant,
    pub(super) reserved: usize,
    pub(super) attempts: u32,
    /// An attempt ended without a definite answer: it may be in the log.
    pub(super) unclear: bool,
    pub(super) cause: Option<Arc<Error>>,
}

/// Compressing and stamping take time, so that both are left to the sender, which does them with the
/// queue unlocked.
enum Content {
    Filled(BatchBuilder),
    /// With this stamp, unless none.
    Closed(Bytes, Option<ProducerStamp>),
}

/// A result for records, to be delivered once the queue is unlocked.
pub(super) struct Finished {
    pub(super) part: Part,
    pub(super) count: i32,
    pub(super) result: Result<Acked, ProduceError>,
}

impl Finished {
    pub(super) fn is_failure(&self) -> bool {
        self.result.is_err()
    }

    /// Calls `note` before anybody sees the result; neither happens if the records had a result
    /// before, which is false.
    pub(super) fn deliver(self, note: impl FnOnce()) -> bool {
        self.part.state.finish(self.part.first, self.result, note)
    }
}

/// What settling or expiring batches brought about.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) finished: Vec<Finished>,
    /// Bytes of `buffer_memory` that are free again.
    pub(super) released: usize,
    /// A batch whose memory can be used again.
    pub(super) buffer: Option<Bytes>,
    /// A producer id that must not be used any more.
    pub(super) bad_producer_id: Option<i64>,
    /// Records that are sent again.
    pub(super) retried: u64,
}

impl Shipment {
    pub(super) fn new(filling: Filling) -> Self {
        Self {
            count: filling.builder.count(),
            content: Content::Filled(filling.builder),
            stamp: None,
            part: filling.part,
            since: filling.since,
            reserved: filling.reserved,
            attempts: 0,
            unclear: false,
            cause: None,
        }
    }

    /// The batch as it is sent: compressed, and with its stamp.
    pub(super) fn seal(mut self, compression: Compression, pool: &BufferPool) -> (Self, Bytes) {
        let stamp = self.stamp.unwrap_or(ProducerStamp::NONE);
        let bytes = match self.content {
            Content::Closed(bytes, Some(written)) if written == stamp => bytes,
            Content::Closed(bytes, _) => restamp(bytes, stamp),
            Content::Filled(builder) => {
                let closed = builder.close(compression, || pool.take());
                if let Some(left_over) = closed.left_over {
                    pool.put_back(left_over);
                }
                restamp(closed.batch, stamp)
            }
        };
        self.content = Content::Closed(bytes.clone(), Some(stamp));
        (self, bytes)
    }

    /// The batch as it was sent; empty before.
    pub(super) fn bytes(&self) -> Bytes {
        match &self.content {
            Content::Filled(_) => Bytes::new(),
            Content::Closed(bytes, _) => bytes.clone(),
        }
    }

    /// Its memory is free again.
    pub(super) fn release(self, outcome: &mut Outcome) {
        outcome.released += self.reserved;
        if let Content::Closed(bytes, _) = self.content {
            outcome.buffer = Some(bytes);
        }
    }

    /// Two batches with a half of its records each, and its memory.
    pub(super) fn halves(self) -> ([Filling; 2], Bytes) {
        let Content::Closed(bytes, _) = self.content else {
            unreachable!("only what was sent is found too large");
        };
        let half = (self.count as u32).div_ceil(2);
        let walker = Walker::new(
            bytes.clone(),
            WalkOptions {
                topic: self.part.state.topic().clone(),
                partition: self.part.state.partition(),
                fetch_offset: 0,
                isolation: IsolationLevel::ReadUncommitted,
                aborted: Vec::new(),
                // It was made here, from memory that was bounded.
                max_decompressed: MAX_DECOMPRESSED.max(self.reserved),
            },
        );
        let mut builders = [
            BatchBuilder::new(BytesMut::new()),
            BatchBuilder::new(BytesMut::new()),
        ];
        for (index, walked) in walker.enumerate() {
            let Ok(Walked::Record(record)) = walked else {
                unreachable!("a batch made here can be read here");
            };
            let parts = RecordParts {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: record.headers.encoded().into(),
            };
            builders[usize::from(index as u32 >= half)].append(&parts, parts.payload_size());
        }
        self.part.state.split(2);
        let filling = |builder, first, reserved| Filling {
            builder,
            part: Part {
                state: self.part.state.clone(),
                first,
            },
            since: self.since,
            reserved,
        };
        let [first, second] = builders;
        let halves = [
            filling(first, self.part.first, self.reserved - self.reserved / 2),
            filling(second, self.part.first + half, self.reserved / 2),
        ];
        (halves, bytes)
    }
}
