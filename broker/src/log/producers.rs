//! What a partition remembers of idempotent producers (KIP-98): enough to know a repeat from a gap.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::batch::{BatchHeader, NO_PRODUCER, add_sequence};

/// Batches remembered a producer; Java's `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`, the most an
/// idempotent producer may have in flight.
const REMEMBERED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    #[error("sequence {got} does not follow {last}")]
    OutOfOrder { last: i32, got: i32 },
    #[error("epoch {got} is older than {current}")]
    OldEpoch { current: i16, got: i16 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Append,
    /// Stored before, at this base offset, with this time of its append if its records carry it.
    Duplicate {
        base_offset: i64,
        append_time: Option<i64>,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    first: i32,
    last: i32,
    offset: i64,
    /// Missing in the files of earlier versions, which knew no append time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    append_time: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Stored>,
    /// Milliseconds since the Unix epoch.
    seen: i64,
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Producers(HashMap<i64, Producer>);

impl Producers {
    /// Judges a batch by Java's `ProducerAppendInfo` and `ProducerStateEntry.findDuplicateBatch`.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Verdict, SequenceError> {
        if header.producer_id == NO_PRODUCER {
            return Ok(Verdict::Append);
        }
        // Nothing known of the producer, perhaps because retention took it: any start will do.
        let Some(producer) = self.0.get(&header.producer_id) else {
            return Ok(Verdict::Append);
        };
        if header.producer_epoch < producer.epoch {
            return Err(SequenceError::OldEpoch {
                current: producer.epoch,
                got: header.producer_epoch,
            });
        }
        if header.producer_epoch > producer.epoch {
            return if header.base_sequence == 0 {
                Ok(Verdict::Append)
            } else {
                Err(SequenceError::OutOfOrder {
                    last: -1,
                    got: header.base_sequence,
                })
            };
        }
        let repeated = producer.batches.iter().find(|stored| {
            stored.first == header.base_sequence && stored.last == header.last_sequence()
        });
        if let Some(stored) = repeated {
            return Ok(Verdict::Duplicate {
                base_offset: stored.offset,
                append_time: stored.append_time,
            });
        }
        match producer.batches.back() {
            Some(last) if add_sequence(last.last, 1) != header.base_sequence => {
                Err(SequenceError::OutOfOrder {
                    last: last.last,
                    got: header.base_sequence,
                })
            }
            _ => Ok(Verdict::Append),
        }
    }

    /// Remembers a stored batch.
    pub(crate) fn record(&mut self, header: &BatchHeader, base_offset: i64, now: i64) {
        if header.producer_id == NO_PRODUCER || header.is_control() {
            return;
        }
        let producer = self
            .0
            .entry(header.producer_id)
            .or_insert_with(|| Producer {
                epoch: header.producer_epoch,
                batches: VecDeque::with_capacity(REMEMBERED),
                seen: now,
            });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Stored {
            first: header.base_sequence,
            last: header.last_sequence(),
            offset: base_offset,
            append_time: header.has_append_time().then_some(header.max_timestamp),
        });
        producer.seen = now;
    }

    /// Forgets producers silent since before `limit` (milliseconds since the Unix epoch).
    pub(crate) fn expire(&mut self, limit: i64) {
        self.0.retain(|_, producer| producer.seen >= limit);
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::testing::Build;
    use super::*;

    fn batch(epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        let bytes = Build {
            count,
            producer_id: 9,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..Default::default()
        }
        .bytes();
        BatchHeader::parse(&bytes).unwrap()
    }

    fn stored(batches: &[(i16, i32, i32, i64)]) -> Producers {
        let mut producers = Producers::default();
        for (epoch, sequence, count, offset) in batches {
            producers.record(&batch(*epoch, *sequence, *count), *offset, 0);
        }
        producers
    }

    #[test]
    fn a_repeat_of_any_of_the_last_five_is_known_by_its_offset() {
        let producers = stored(&[
            (0, 0, 1, 100),
            (0, 1, 2, 101),
            (0, 3, 1, 103),
            (0, 4, 1, 104),
            (0, 5, 1, 105),
            (0, 6, 1, 106),
        ]);
        let verdict = producers.check(&batch(0, 1, 2)).unwrap();
        assert_eq!(
            verdict,
            Verdict::Duplicate {
                base_offset: 101,
                append_time: None,
            }
        );
        assert!(matches!(
            producers.check(&batch(0, 0, 1)),
            Err(SequenceError::OutOfOrder { last: 6, got: 0 })
        ));
    }

    #[test]
    fn a_gap_is_out_of_order_and_the_next_is_not() {
        let producers = stored(&[(0, 0, 2, 0)]);
        assert_eq!(producers.check(&batch(0, 2, 1)), Ok(Verdict::Append));
        assert_eq!(
            producers.check(&batch(0, 3, 1)),
            Err(SequenceError::OutOfOrder { last: 1, got: 3 })
        );
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_an_older_one_is_refused() {
        let producers = stored(&[(4, 0, 2, 0)]);
        assert_eq!(producers.check(&batch(5, 0, 1)), Ok(Verdict::Append));
        assert!(matches!(
            producers.check(&batch(5, 2, 1)),
            Err(SequenceError::OutOfOrder { .. })
        ));
        assert_eq!(
            producers.check(&batch(3, 0, 1)),
            Err(SequenceError::OldEpoch { current: 4, got: 3 })
        );
    }

    #[test]
    fn an_unknown_producer_may_start_anywhere_and_is_forgotten_when_silent() {
        let mut producers = stored(&[(0, 0, 1, 0)]);
        producers.expire(1);
        assert_eq!(producers.check(&batch(0, 17, 1)), Ok(Verdict::Append));
    }

    #[test]
    fn the_sequence_after_the_greatest_is_zero() {
        let producers = stored(&[(0, i32::MAX, 1, 0)]);
        assert_eq!(producers.check(&batch(0, 0, 1)), Ok(Verdict::Append));
    }
}
