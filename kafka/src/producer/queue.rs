//! The records of one partition on their way to the broker. No I/O; time comes in, but for the moment
//! at which a batch is opened.
//!
//! One batch is open and being filled, full ones wait behind each other, at most one is in flight.
//! A batch that has to be sent again goes first, so that no record overtakes another.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{
    ProduceError,
    batch::{Filling, Finished, Outcome, Part, Shipment},
    delivery::{Acked, BatchState, Untold},
    sequence::{ProducerId, Sequence},
    verdict::Verdict,
};
use crate::{
    backoff::Backoff,
    error::{Error, ResponseError},
    records::{
        Compression,
        encoder::{BatchBuilder, ProducerStamp, RecordParts},
    },
};

/// What all queues of a producer have in common.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) max_batch_bytes: usize,
    pub(super) delivery_timeout: Duration,
    pub(super) linger: Duration,
    pub(super) compression: Compression,
    pub(super) retry_backoff: Duration,
    pub(super) retry_backoff_max: Duration,
}

struct InFlight {
    part: Part,
    count: i32,
    since: Instant,
}

pub(super) struct Queue {
    topic: Arc<str>,
    partition: i32,
    open: Option<Filling>,
    full: VecDeque<Filling>,
    retry: Option<Shipment>,
    in_flight: Option<InFlight>,
    sequence: Sequence,
    /// Known to a sender, in flight there, or waiting for a leader. Whoever sets it hands the partition on.
    pub(super) listed: bool,
    not_before: Option<Instant>,
    batch_limit: usize,
    problem: Option<Arc<Error>>,
    untold: Arc<Untold>,
}

/// Where a record went.
pub(super) struct Appended {
    pub(super) state: Arc<BatchState>,
    pub(super) index: u32,
    /// Nobody knows yet that this partition has something to send.
    pub(super) unlisted: bool,
}

/// What a queue has to send.
pub(super) enum Next {
    /// Nothing; the queue is not listed any more.
    Nothing,
    /// Something, but not before this.
    Later(Instant),
    Ship(Shipment),
}

/// The broker's answer for one batch.
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) code: Option<ResponseError>,
    pub(super) acked: Acked,
    pub(super) message: Option<Arc<str>>,
    /// The failure in words, for the error of a deadline that passes later.
    pub(super) cause: Option<Arc<Error>>,
}

impl Queue {
    pub(super) fn new(topic: Arc<str>, partition: i32, rules: &Rules, untold: Arc<Untold>) -> Self {
        Self {
            topic,
            partition,
            open: None,
            full: VecDeque::new(),
            retry: None,
            in_flight: None,
            sequence: Sequence::default(),
            listed: false,
            not_before: None,
            batch_limit: rules.max_batch_bytes,
            problem: None,
            untold,
        }
    }

    /// Encodes a record into the open batch, or into a new one if it is full. `largest` is the most
    /// bytes that the record can take, and what it holds of `buffer_memory`; `since` is when it was
    /// enqueued, `None` for now.
    #[inline]
    pub(super) fn append(
        &mut self,
        record: &RecordParts<'_>,
        payload: usize,
        largest: usize,
        since: Option<Instant>,
        buffer: impl FnOnce() -> BytesMut,
    ) -> Appended {
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.builder.len() + largest > self.batch_limit)
        {
            self.full.extend(self.open.take());
        }
        let open = self.open.get_or_insert_with(|| Filling {
            builder: BatchBuilder::new(buffer()),
            part: Part {
                state: BatchState::new(self.topic.clone(), self.partition, self.untold.clone()),
                first: 0,
            },
            since: since.unwrap_or_else(Instant::now),
            reserved: 0,
        });
        open.reserved += largest;
        let index = open.builder.append(record, payload);
        Appended {
            state: open.part.state.clone(),
            index,
            unlisted: !std::mem::replace(&mut self.listed, true),
        }
    }

    /// Whether the open batch takes `largest` more bytes.
    pub(super) fn has_room(&self, largest: usize) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.builder.len() + largest <= self.batch_limit)
    }

    /// The batch to send now, still to be sealed. It counts as in flight until it is settled.
    pub(super) fn next(
        &mut self,
        now: Instant,
        producer: Option<ProducerId>,
        flushing: bool,
        rules: &Rules,
    ) -> Next {
        if self.in_flight.is_some() {
            // Settling lists it again.
            return Next::Nothing;
        }
        if let Some(at) = self.not_before.filter(|at| *at > now) {
            return Next::Later(at);
        }
        let shipment = if let Some(again) = self.retry.take() {
            again
        } else if let Some(full) = self.full.pop_front() {
            Shipment::new(full)
        } else if let Some(open) = self.open.take() {
            let due = open.since + rules.linger;
            if due > now && !flushing {
                self.open = Some(open);
                return Next::Later(due);
            }
            Shipment::new(open)
        } else {
            self.listed = false;
            return Next::Nothing;
        };
        self.not_before = None;
        self.in_flight = Some(InFlight {
            part: shipment.part.clone(),
            count: shipment.count,
            since: shipment.since,
        });
        Next::Ship(self.stamped(shipment, producer))
    }

    fn stamped(&mut self, mut shipment: Shipment, producer: Option<ProducerId>) -> Shipment {
        if shipment.stamp.is_none() {
            let stamp = match producer {
                Some(producer) => self.sequence.assign(producer, shipment.count),
                None => ProducerStamp::NONE,
            };
            shipment.stamp = Some(stamp);
        }
        shipment.attempts += 1;
        shipment
    }

    /// Takes in the answer to the batch in flight.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        mut shipment: Shipment,
        answer: Answer,
        rules: &Rules,
    ) -> Outcome {
        self.in_flight = None;
        let expired = shipment.part.state.is_finished(shipment.part.first);
        let mut outcome = Outcome::default();
        match answer.verdict {
            Verdict::Written => self.finish(shipment, Ok(answer.acked), &mut outcome),
            Verdict::Retry { unclear, .. } => {
                shipment.unclear |= unclear;
                shipment.cause = answer.cause;
                if expired {
                    self.abandon(shipment, &mut outcome);
                } else {
                    self.again(now, shipment, rules, &mut outcome);
                }
            }
            Verdict::NextEpoch | Verdict::NewProducerId => {
                shipment.cause = answer.cause;
                let next_epoch = answer.verdict == Verdict::NextEpoch;
                outcome.bad_producer_id = if next_epoch {
                    self.sequence.next_epoch()
                } else {
                    self.sequence.drop_id()
                };
                shipment.stamp = None;
                if expired {
                    // Its records have failed already, and the sequence starts anew.
                    shipment.release(&mut outcome);
                } else if next_epoch || !shipment.unclear {
                    shipment.unclear = false;
                    self.again(now, shipment, rules, &mut outcome);
                } else {
                    let error = self.rejected(&shipment, &answer.code, answer.message);
                    self.finish(shipment, Err(error), &mut outcome);
                }
            }
            Verdict::TooLarge if shipment.count > 1 && !expired => {
                self.give_up_sequence(&shipment, &mut outcome);
                self.split(shipment, &mut outcome);
            }
            Verdict::TooLarge | Verdict::Refused | Verdict::Unclear => {
                shipment.unclear |= answer.verdict == Verdict::Unclear;
                let error = if answer.verdict == Verdict::TooLarge {
                    ProduceError::TooLargeForTopic {
                        topic: self.topic.clone(),
                        partition: self.partition,
                        size: shipment.bytes().len(),
                    }
                } else {
                    self.rejected(&shipment, &answer.code, answer.message)
                };
                self.give_up_sequence(&shipment, &mut outcome);
                self.finish(shipment, Err(error), &mut outcome);
            }
        }
        outcome
    }

    /// Fails what has waited longer than `delivery_timeout`. A batch in flight fails as well, but keeps
    /// its place until it is answered.
    pub(super) fn expire(&mut self, now: Instant, rules: &Rules) -> Outcome {
        let mut outcome = Outcome::default();
        let is_due =
            |since: Instant| now.saturating_duration_since(since) >= rules.delivery_timeout;
        if let Some(flight) = self
            .in_flight
            .as_ref()
            .filter(|flight| is_due(flight.since))
        {
            let error = self.timeout(now, flight.since, true, None);
            outcome.finished.push(Finished {
                part: flight.part.clone(),
                count: flight.count,
                result: Err(error),
            });
        }
        if let Some(shipment) = self.retry.take_if(|shipment| is_due(shipment.since)) {
            let error = self.timeout(
                now,
                shipment.since,
                shipment.unclear,
                shipment.cause.clone(),
            );
            self.give_up_sequence(&shipment, &mut outcome);
            self.finish(shipment, Err(error), &mut outcome);
        }
        while let Some(filling) = self.full.pop_front_if(|filling| is_due(filling.since)) {
            self.fail_filling(now, filling, &mut outcome);
        }
        if let Some(filling) = self.open.take_if(|filling| is_due(filling.since)) {
            self.fail_filling(now, filling, &mut outcome);
        }
        outcome
    }

    /// Fails everything, as the producer closes.
    pub(super) fn fail_all(&mut self, error: &ProduceError) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(flight) = &self.in_flight {
            outcome.finished.push(Finished {
                part: flight.part.clone(),
                count: flight.count,
                result: Err(error.clone()),
            });
        }
        if let Some(shipment) = self.retry.take() {
            self.finish(shipment, Err(error.clone()), &mut outcome);
        }
        for filling in self.full.drain(..).chain(self.open.take()) {
            outcome.released += filling.reserved;
            outcome.finished.push(Finished {
                part: filling.part,
                count: filling.builder.count(),
                result: Err(error.clone()),
            });
        }
        outcome
    }

    /// Why nothing moves at the moment, for the error of a deadline that passes later.
    pub(super) fn set_problem(&mut self, problem: Arc<Error>) {
        self.problem = Some(problem);
    }

    /// The states of every batch that is not finished, oldest first.
    pub(super) fn unfinished(&self, into: &mut Vec<Arc<BatchState>>) {
        into.extend(
            self.in_flight
                .iter()
                .map(|flight| flight.part.state.clone()),
        );
        into.extend(
            self.retry
                .iter()
                .map(|shipment| shipment.part.state.clone()),
        );
        into.extend(self.full.iter().map(|filling| filling.part.state.clone()));
        into.extend(self.open.iter().map(|filling| filling.part.state.clone()));
    }

    /// Whether there is something to send.
    pub(super) fn has_work(&self) -> bool {
        self.retry.is_some() || !self.full.is_empty() || self.open.is_some()
    }

    /// Puts a batch in front of all others, to be sent after a pause.
    fn again(&mut self, now: Instant, shipment: Shipment, rules: &Rules, outcome: &mut Outcome) {
        outcome.retried += shipment.count as u64;
        let backoff = Backoff::new(rules.retry_backoff, rules.retry_backoff_max);
        self.not_before = Some(now + backoff.random_delay(shipment.attempts));
        self.retry = Some(shipment);
    }

    fn finish(
        &mut self,
        shipment: Shipment,
        result: Result<Acked, ProduceError>,
        outcome: &mut Outcome,
    ) {
        self.problem = None;
        outcome.finished.push(Finished {
            part: shipment.part.clone(),
            count: shipment.count,
            result,
        });
        shipment.release(outcome);
    }

    /// Its records have failed at their deadline while it was in flight.
    fn abandon(&mut self, shipment: Shipment, outcome: &mut Outcome) {
        self.give_up_sequence(&shipment, outcome);
        shipment.release(outcome);
    }

    /// The batch is not sent any more. If it may be in the log, or still get there, the next batch must
    /// not continue its sequence, nor take its place: the epoch is raised, which fences it.
    fn give_up_sequence(&mut self, shipment: &Shipment, outcome: &mut Outcome) {
        let Some(stamp) = shipment.stamp else { return };
        if shipment.unclear {
            outcome.bad_producer_id = self.sequence.next_epoch();
        } else {
            self.sequence.take_back(stamp);
        }
    }

    fn fail_filling(&mut self, now: Instant, filling: Filling, outcome: &mut Outcome) {
        let result = Err(self.timeout(now, filling.since, false, None));
        outcome.released += filling.reserved;
        outcome.finished.push(Finished {
            part: filling.part,
            count: filling.builder.count(),
            result,
        });
    }

    fn timeout(
        &self,
        now: Instant,
        since: Instant,
        may_be_written: bool,
        cause: Option<Arc<Error>>,
    ) -> ProduceError {
        ProduceError::Timeout {
            topic: self.topic.clone(),
            partition: Some(self.partition),
            elapsed: now.saturating_duration_since(since),
            may_be_written,
            cause: cause.or_else(|| self.problem.clone()),
        }
    }

    fn rejected(
        &self,
        shipment: &Shipment,
        code: &Option<ResponseError>,
        message: Option<Arc<str>>,
    ) -> ProduceError {
        ProduceError::Rejected {
            topic: self.topic.clone(),
            partition: self.partition,
            code: code.unwrap_or(ResponseError::UnknownServerError),
            message,
            may_be_written: shipment.unclear,
        }
    }

    /// A batch that the broker found too large goes in two, before all others; later batches are made no
    /// larger than a half.
    fn split(&mut self, shipment: Shipment, outcome: &mut Outcome) {
        outcome.retried += shipment.count as u64;
        let (halves, buffer) = shipment.halves();
        let largest = halves.iter().map(|half| half.builder.len()).max();
        self.batch_limit = self.batch_limit.min(largest.unwrap_or(self.batch_limit));
        for half in halves.into_iter().rev() {
            self.full.push_front(half);
        }
        outcome.buffer = Some(buffer);
    }
}

#[cfg(test)]
mod tests;
