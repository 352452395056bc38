//! A partition's place in the producer's sequence (KIP-98). Pure.
//!
//! The epoch is kept for each partition, because brokers keep it so for a producer without a
//! transactional id. Raising it here fences what an abandoned request may still bring, and starts the
//! sequence anew.

use std::fmt;

use crate::records::encoder::ProducerStamp;

/// By what a broker knows an idempotent producer; given by InitProducerId, written `id/epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerId {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
}

impl ProducerId {
    /// None if `text` is not what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, epoch) = text.split_once('/')?;
        Some(Self {
            id: id.parse().ok().filter(|id| *id >= 0)?,
            epoch: epoch.parse().ok().filter(|epoch| *epoch >= 0)?,
        })
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.id, self.epoch)
    }
}

#[derive(Debug, Default)]
pub(super) struct Sequence {
    producer: Option<ProducerId>,
    next: i32,
}

impl Sequence {
    /// The stamp of the next batch; `current` is adopted if this partition has no producer id yet.
    pub(super) fn assign(&mut self, current: ProducerId, records: i32) -> ProducerStamp {
        let producer = *self.producer.get_or_insert(current);
        let base_sequence = self.next;
        self.next = advance(base_sequence, records);
        ProducerStamp {
            producer_id: producer.id,
            epoch: producer.epoch,
            base_sequence,
        }
    }

    /// The batch with this stamp, the last one assigned, is certainly not in the log: the next one takes
    /// its place.
    pub(super) fn take_back(&mut self, stamp: ProducerStamp) {
        if self.producer.is_some() {
            self.next = stamp.base_sequence;
        }
    }

    /// Starts anew under the next epoch. When epochs are used up, the producer id is dropped and
    /// returned, so that it is not adopted again.
    pub(super) fn next_epoch(&mut self) -> Option<i64> {
        self.next = 0;
        let producer = self.producer.as_mut()?;
        match producer.epoch.checked_add(1) {
            Some(epoch) => {
                producer.epoch = epoch;
                None
            }
            None => self.drop_id(),
        }
    }

    /// Starts anew under another producer id; returns the one that is no good.
    pub(super) fn drop_id(&mut self) -> Option<i64> {
        self.next = 0;
        self.producer.take().map(|producer| producer.id)
    }
}

/// Sequence numbers wrap from the largest to 0 (`DefaultRecordBatch.incrementSequence`).
fn advance(sequence: i32, records: i32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURRENT: ProducerId = ProducerId { id: 5, epoch: 0 };

    fn stamp(epoch: i16, base_sequence: i32) -> ProducerStamp {
        ProducerStamp {
            producer_id: 5,
            epoch,
            base_sequence,
        }
    }

    #[test]
    fn sequences_count_records() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.assign(CURRENT, 10), stamp(0, 0));
        assert_eq!(sequence.assign(CURRENT, 3), stamp(0, 10));
        sequence.take_back(stamp(0, 10));
        assert_eq!(sequence.assign(CURRENT, 1), stamp(0, 10));
    }

    #[test]
    fn the_next_epoch_starts_at_zero() {
        let mut sequence = Sequence::default();
        sequence.assign(CURRENT, 10);
        assert_eq!(sequence.next_epoch(), None);
        assert_eq!(sequence.assign(CURRENT, 1), stamp(1, 0));
    }

    #[test]
    fn used_up_epochs_need_a_new_id() {
        let mut sequence = Sequence::default();
        sequence.assign(
            ProducerId {
                id: 5,
                epoch: i16::MAX,
            },
            1,
        );
        assert_eq!(sequence.next_epoch(), Some(5));
        let other = ProducerId { id: 6, epoch: 0 };
        assert_eq!(sequence.assign(other, 1).producer_id, 6);
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        assert_eq!(ProducerId::parse(&CURRENT.to_string()), Some(CURRENT));
        for text in ["", "5", "5/", "/0", "-1/0", "5/-1", "5/0/0", "5/99999"] {
            assert_eq!(ProducerId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sequences_wrap_to_zero() {
        // From Java's DefaultRecordBatchTest.testIncrementSequence.
        assert_eq!(advance(0, 10), 10);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 5, 10), 4);
    }
}
