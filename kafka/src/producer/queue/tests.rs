//! A queue against a small model of a partition's log, which checks sequences as a broker does.

use std::collections::HashMap;

use futures::FutureExt as _;
use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::producer::{
    Delivery, RecordMetadata, delivery::Acked, pool::BufferPool, verdict::judge,
};
use crate::records::{
    OutgoingHeaders, layout,
    walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walked, Walker},
};

fn rules() -> Rules {
    Rules {
        max_batch_bytes: 1000,
        delivery_timeout: Duration::from_secs(10),
        linger: Duration::ZERO,
        compression: Compression::None,
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
    }
}

fn queue() -> Queue {
    Queue::new("t".into(), 0, &rules(), Arc::default())
}

const ID: ProducerId = ProducerId { id: 1, epoch: 0 };

fn append(queue: &mut Queue, value: &str, since: Instant) -> Delivery {
    let parts = RecordParts {
        timestamp: 0,
        key: None,
        value: Some(value.as_bytes()),
        headers: OutgoingHeaders::Pairs(&[]),
    };
    let payload = parts.payload_size();
    let largest = payload + crate::records::encoder::MAX_RECORD_OVERHEAD;
    let appended = queue.append(&parts, payload, largest, Some(since), BytesMut::new);
    Delivery::new(appended.state, appended.index, 0)
}

fn seal(shipment: Shipment) -> (Shipment, Bytes) {
    shipment.seal(rules().compression, &BufferPool::new(0))
}

fn take(queue: &mut Queue, now: Instant) -> Option<Shipment> {
    match queue.next(now, Some(ID), false, &rules()) {
        Next::Ship(shipment) => Some(seal(shipment).0),
        Next::Nothing | Next::Later(_) => None,
    }
}

fn answer(code: Option<ResponseError>, base_offset: i64) -> Answer {
    Answer {
        verdict: judge(code),
        code,
        acked: Acked {
            base_offset,
            append_time: -1,
        },
        message: None,
        cause: None,
    }
}

fn conclude(outcome: Outcome) -> usize {
    let released = outcome.released;
    for finished in outcome.finished {
        finished.deliver(|| {});
    }
    released
}

fn result(delivery: Delivery) -> Option<Result<RecordMetadata, ProduceError>> {
    delivery.now_or_never()
}

fn values(bytes: &Bytes) -> Vec<String> {
    let options = WalkOptions {
        topic: "t".into(),
        partition: 0,
        fetch_offset: 0,
        isolation: IsolationLevel::ReadUncommitted,
        aborted: vec![],
        max_decompressed: MAX_DECOMPRESSED,
    };
    Walker::new(bytes.clone(), options)
        .map(|walked| match walked.unwrap() {
            Walked::Record(record) => String::from_utf8(record.value.unwrap().to_vec()).unwrap(),
            Walked::Unreadable { .. } => panic!("{bytes:?}"),
        })
        .collect()
}

#[test]
fn records_gather_while_a_batch_is_in_flight() {
    let now = Instant::now();
    let mut queue = queue();
    let first = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    let second = append(&mut queue, "b", now);
    let third = append(&mut queue, "c", now);
    assert!(take(&mut queue, now).is_none(), "one in flight");
    conclude(queue.settle(now, shipment, answer(None, 5), &rules()));
    let shipment = take(&mut queue, now).unwrap();
    assert_eq!(values(&shipment.bytes()), ["b", "c"]);
    conclude(queue.settle(now, shipment, answer(None, 6), &rules()));
    let offsets: Vec<_> = [first, second, third]
        .map(|delivery| result(delivery).unwrap().unwrap().offset)
        .into();
    assert_eq!(offsets, [5, 6, 7]);
    assert!(queue.listed);
    assert!(take(&mut queue, now).is_none());
    assert!(!queue.listed);
}

#[test]
fn full_batches_go_in_order_and_give_their_memory_back() {
    let now = Instant::now();
    let mut queue = queue();
    let text = "x".repeat(300);
    let _deliveries: Vec<_> = (0..10)
        .map(|index| append(&mut queue, &format!("{index}{text}"), now))
        .collect();
    let mut seen = Vec::new();
    let mut released = 0;
    while let Some(shipment) = take(&mut queue, now) {
        assert!(shipment.bytes().len() <= 1000);
        seen.extend(
            values(&shipment.bytes())
                .iter()
                .map(|value| value[..1].to_owned()),
        );
        released += conclude(queue.settle(now, shipment, answer(None, 0), &rules()));
    }
    assert_eq!(seen.concat(), "0123456789");
    let one = 301 + 2 + 1 + 1 + crate::records::encoder::MAX_RECORD_OVERHEAD;
    assert_eq!(released, 10 * one);
}

#[test]
fn a_retried_batch_goes_first_and_keeps_its_sequence() {
    let now = Instant::now();
    let mut queue = queue();
    let _first = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    let bytes = shipment.bytes();
    let _second = append(&mut queue, "b", now);
    let outcome = queue.settle(
        now,
        shipment,
        answer(Some(ResponseError::NotLeaderOrFollower), -1),
        &rules(),
    );
    assert_eq!(outcome.retried, 1);
    conclude(outcome);
    let Next::Later(at) = queue.next(now, Some(ID), false, &rules()) else {
        panic!("no pause")
    };
    let again = take(&mut queue, at).unwrap();
    assert_eq!(again.bytes(), bytes);
}

#[test]
fn lingering_ends_with_time_or_a_flush() {
    let now = Instant::now();
    let linger = Rules {
        linger: Duration::from_millis(50),
        ..rules()
    };
    let mut queue = queue();
    let _delivery = append(&mut queue, "a", now);
    assert!(
        matches!(queue.next(now, Some(ID), false, &linger), Next::Later(at) if at == now + linger.linger)
    );
    assert!(matches!(
        queue.next(now, Some(ID), true, &linger),
        Next::Ship(_)
    ));
    let mut queue = self::queue();
    let _delivery = append(&mut queue, "a", now);
    assert!(matches!(
        queue.next(now + linger.linger, Some(ID), false, &linger),
        Next::Ship(_)
    ));
}

#[test]
fn a_batch_that_may_be_written_is_fenced_when_it_is_given_up() {
    let start = Instant::now();
    let mut queue = queue();
    let first = append(&mut queue, "a", start);
    let shipment = take(&mut queue, start).unwrap();
    let lost = Answer {
        verdict: Verdict::Retry {
            refresh: true,
            unclear: true,
        },
        ..answer(None, -1)
    };
    conclude(queue.settle(start, shipment, lost, &rules()));
    let late = start + Duration::from_secs(11);
    let second = append(&mut queue, "b", late);
    conclude(queue.expire(late, &rules()));
    let error = result(first).unwrap().unwrap_err();
    assert!(error.may_be_written(), "{error}");
    assert!(
        error
            .to_string()
            .contains("t-0 was not acknowledged within 11000 ms"),
        "{error}"
    );
    assert!(result(second).is_none());
    let next = take(&mut queue, late).unwrap();
    assert_eq!(
        next.stamp.map(|stamp| (stamp.epoch, stamp.base_sequence)),
        Some((1, 0))
    );
}

#[test]
fn a_batch_that_was_refused_leaves_no_gap() {
    let now = Instant::now();
    let mut queue = queue();
    let first = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    conclude(queue.settle(
        now,
        shipment,
        answer(Some(ResponseError::TopicAuthorizationFailed), -1),
        &rules(),
    ));
    let error = result(first).unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "a record for t-0 was refused: TOPIC_AUTHORIZATION_FAILED (29); look at the rights (ACLs) of this client"
    );
    assert!(!error.may_be_written());
    let _second = append(&mut queue, "b", now);
    let next = take(&mut queue, now).unwrap();
    assert_eq!(
        next.stamp.map(|stamp| (stamp.epoch, stamp.base_sequence)),
        Some((0, 0))
    );
}

#[test]
fn a_deadline_that_passes_in_flight_answers_at_once_and_fences_later() {
    let start = Instant::now();
    let late = start + Duration::from_secs(10);
    let mut queue = queue();
    let delivery = append(&mut queue, "a", start);
    let shipment = take(&mut queue, start).unwrap();
    assert_eq!(
        conclude(queue.expire(late, &rules())),
        0,
        "its memory is still in use"
    );
    assert!(result(delivery).unwrap().unwrap_err().may_be_written());
    let released = conclude(queue.settle(
        late,
        shipment,
        answer(Some(ResponseError::RequestTimedOut), -1),
        &rules(),
    ));
    assert!(released > 0);
    let _next = append(&mut queue, "b", late);
    let next = take(&mut queue, late).unwrap();
    assert_eq!(values(&next.bytes()), ["b"]);
    assert_eq!(next.stamp.map(|stamp| stamp.epoch), Some(1));
}

#[test]
fn never_sent_records_say_so_when_they_expire() {
    let start = Instant::now();
    let mut queue = queue();
    queue.set_problem(Arc::new(Error::UnknownNode { node: 4 }));
    let delivery = append(&mut queue, "a", start);
    conclude(queue.expire(start + Duration::from_secs(10), &rules()));
    let error = result(delivery).unwrap().unwrap_err();
    assert!(!error.may_be_written());
    assert!(
        error
            .to_string()
            .contains("it was not written; the last failure: broker 4"),
        "{error}"
    );
    assert!(!queue.has_work());
}

#[test]
fn a_batch_too_large_for_the_topic_is_split() {
    let now = Instant::now();
    let mut queue = queue();
    let deliveries: Vec<_> = (0..5)
        .map(|index| append(&mut queue, &index.to_string(), now))
        .collect();
    let mut log = Vec::new();
    while let Some(shipment) = take(&mut queue, now) {
        let code = (shipment.count > 2).then_some(ResponseError::MessageTooLarge);
        let base = log.len() as i64;
        if code.is_none() {
            let stamp = shipment.stamp.unwrap();
            assert_eq!((stamp.epoch, i64::from(stamp.base_sequence)), (0, base));
            log.extend(values(&shipment.bytes()));
        }
        conclude(queue.settle(now, shipment, answer(code, base), &rules()));
    }
    assert_eq!(log.concat(), "01234");
    let offsets: Vec<_> = deliveries
        .into_iter()
        .map(|delivery| result(delivery).unwrap().unwrap().offset)
        .collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
}

#[test]
fn a_single_record_too_large_names_its_size() {
    let now = Instant::now();
    let mut queue = queue();
    let delivery = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    let size = shipment.bytes().len();
    conclude(queue.settle(
        now,
        shipment,
        answer(Some(ResponseError::MessageTooLarge), -1),
        &rules(),
    ));
    let error = result(delivery).unwrap().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "a record of {size} bytes is larger than t-0 takes"
        )),
        "{error}"
    );
}

#[test]
fn a_producer_id_that_is_refused_is_not_used_again() {
    let now = Instant::now();
    let mut queue = queue();
    let _delivery = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    let outcome = queue.settle(
        now,
        shipment,
        answer(Some(ResponseError::InvalidProducerEpoch), -1),
        &rules(),
    );
    assert_eq!(outcome.bad_producer_id, Some(1));
    let later = now + Duration::from_secs(1);
    let fresh = ProducerId { id: 2, epoch: 0 };
    let Next::Ship(again) = queue.next(later, Some(fresh), false, &rules()) else {
        panic!("not sent again")
    };
    let (_, again) = seal(again);
    let stamp = &again[layout::PRODUCER_ID..layout::PRODUCER_EPOCH];
    assert_eq!(stamp, 2_i64.to_be_bytes());
    assert_eq!(values(&again), ["a"]);
}

#[test]
fn closing_fails_everything() {
    let now = Instant::now();
    let mut queue = queue();
    let first = append(&mut queue, "a", now);
    let shipment = take(&mut queue, now).unwrap();
    let second = append(&mut queue, "b", now);
    conclude(queue.fail_all(&ProduceError::Closed { topic: "t".into() }));
    for delivery in [first, second] {
        assert!(matches!(
            result(delivery),
            Some(Err(ProduceError::Closed { .. }))
        ));
    }
    assert!(!queue.has_work());
    assert!(conclude(queue.settle(now, shipment, answer(None, 0), &rules())) > 0);
}

/// Base sequence, number of records, base offset.
type Batch = (i32, i32, i64);

/// A partition's log that checks producers as `ProducerAppendInfo.checkSequence` does.
#[derive(Default)]
struct Log {
    records: Vec<String>,
    /// By producer id: epoch, and the last batches with their base sequence and offset.
    producers: HashMap<i64, (i16, Vec<Batch>)>,
}

impl Log {
    fn append(&mut self, bytes: &Bytes) -> Result<i64, ResponseError> {
        let get = |at: usize, length: usize| &bytes[at..at + length];
        let id = i64::from_be_bytes(get(layout::PRODUCER_ID, 8).try_into().unwrap());
        let epoch = i16::from_be_bytes(get(layout::PRODUCER_EPOCH, 2).try_into().unwrap());
        let first = i32::from_be_bytes(get(layout::BASE_SEQUENCE, 4).try_into().unwrap());
        let values = values(bytes);
        let count = values.len() as i32;
        let offset = self.records.len() as i64;
        let state = self.producers.entry(id).or_insert((epoch, Vec::new()));
        if epoch < state.0 {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if epoch > state.0 {
            if first != 0 {
                return Err(ResponseError::OutOfOrderSequenceNumber);
            }
            *state = (epoch, Vec::new());
        }
        if let Some(&(_, _, offset)) = state
            .1
            .iter()
            .rev()
            .take(5)
            .find(|batch| (batch.0, batch.1) == (first, count))
        {
            return Ok(offset);
        }
        if let Some(&(last, count, _)) = state.1.last()
            && first != last + count
        {
            return Err(ResponseError::OutOfOrderSequenceNumber);
        }
        state.1.push((first, count, offset));
        self.records.extend(values);
        Ok(offset)
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    AnswerLost,
    NeverArrives,
    /// Given up by the client, and carried out after a later one.
    ArrivesLate,
    NotLeader,
    ForgetsProducer,
    Refused,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Answered),
        2 => Just(Fate::AnswerLost),
        1 => Just(Fate::NeverArrives),
        1 => Just(Fate::ArrivesLate),
        1 => Just(Fate::NotLeader),
        1 => Just(Fate::ForgetsProducer),
        1 => Just(Fate::Refused),
    ]
}

proptest! {
    /// Whatever happens to requests: nothing is duplicated, what is acknowledged is in the log at its
    /// offset, what failed for sure is not, and the log keeps the order.
    #[test]
    fn the_log_has_every_record_once_and_in_order(
        steps in proptest::collection::vec((0_usize..4, fate(), 0_u64..4000), 1..60),
    ) {
        let mut now = Instant::now();
        let mut queue = queue();
        let mut log = Log::default();
        let mut deliveries = Vec::new();
        let mut late: Vec<Bytes> = Vec::new();
        let mut fresh_id = 1;
        let settled = steps.len();
        let drain = std::iter::repeat_n((0, Fate::Answered, 1100), settled + 60);
        for (count, fate, pause) in steps.into_iter().chain(drain) {
            for _ in 0..count {
                let number = deliveries.len();
                deliveries.push(append(&mut queue, &format!("{number:04}"), now));
            }
            now += Duration::from_millis(pause);
            let producer = ProducerId { id: fresh_id, epoch: 0 };
            if let Next::Ship(shipment) = queue.next(now, Some(producer), false, &rules()) {
                let (shipment, bytes) = seal(shipment);
                let lost = Answer { verdict: Verdict::Retry { refresh: true, unclear: true }, ..answer(None, -1) };
                let given = match fate {
                    Fate::NeverArrives => lost,
                    Fate::ArrivesLate => { late.push(bytes); lost }
                    Fate::NotLeader => answer(Some(ResponseError::NotLeaderOrFollower), -1),
                    Fate::Refused => answer(Some(ResponseError::InvalidRecord), -1),
                    Fate::Answered | Fate::AnswerLost | Fate::ForgetsProducer => {
                        if matches!(fate, Fate::ForgetsProducer) {
                            // Only producers without anything in flight are forgotten in practice.
                            if late.is_empty() && shipment.attempts == 1 { log.producers.clear(); }
                        }
                        let appended = log.append(&bytes);
                        match (fate, appended) {
                            (Fate::AnswerLost, _) => lost,
                            (_, Ok(offset)) => answer(None, offset),
                            (_, Err(code)) => answer(Some(code), -1),
                        }
                    }
                };
                let outcome = queue.settle(now, shipment, given, &rules());
                if outcome.bad_producer_id.is_some() { fresh_id += 1; }
                conclude(outcome);
                // A straggler is overtaken by one request at most.
                if !matches!(fate, Fate::ArrivesLate) {
                    for straggler in late.drain(..) { let _ = log.append(&straggler); }
                }
            }
            let outcome = queue.expire(now, &rules());
            if outcome.bad_producer_id.is_some() { fresh_id += 1; }
            conclude(outcome);
        }
        let mut sorted = log.records.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(&sorted, &log.records, "once each and in order");
        for (number, delivery) in deliveries.into_iter().enumerate() {
            let name = format!("{number:04}");
            let outcome = result(delivery);
            prop_assert!(outcome.is_some(), "{} has no result", name);
            match outcome.unwrap() {
                Ok(metadata) => prop_assert_eq!(&log.records[metadata.offset as usize], &name),
                Err(error) => prop_assert!(error.may_be_written() || !log.records.contains(&name), "{}: {}", name, error),
            }
        }
    }
}
