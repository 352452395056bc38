//! A producer's queue against whatever a broker answers to its batches.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::FutureExt as _;
use kafka_protocol::{
    messages::{ProduceResponse, TopicName},
    protocol::StrBytes,
};
use parking_lot::Mutex;

use super::{
    Delivery,
    answers::{Answers, answer_of, unanswered},
    batch::Outcome,
    queue::{Next, Queue, Rules},
    sequence::ProducerId,
    topic::Partition,
};
use crate::{
    error::Error,
    records::{
        Compression,
        encoder::{MAX_RECORD_OVERHEAD, RecordParts},
    },
};

const RECORDS: usize = 3;

/// Whatever the answer, each record is with the queue until its delivery is resolved, and its share
/// of the memory is given back exactly once.
pub(crate) fn answered(response: ProduceResponse) {
    let rules = Rules {
        max_batch_bytes: 1000,
        delivery_timeout: Duration::from_secs(10),
        linger: Duration::ZERO,
        compression: Compression::None,
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
    };
    let partition = Partition {
        topic: "orders".into(),
        wire_topic: TopicName(StrBytes::from_static_str("orders")),
        index: 0,
        queue: Mutex::new(Queue::new("orders".into(), 0, &rules, Default::default())),
    };
    let mut queue = partition.queue.lock();
    let mut now = Instant::now();
    let mut reserved = 0;
    let mut deliveries: Vec<_> = (0..RECORDS)
        .map(|_| {
            let parts = RecordParts {
                timestamp: 0,
                key: None,
                value: Some(b"v"),
                headers: crate::OutgoingHeaders::Pairs(&[]),
            };
            let payload = parts.payload_size();
            let largest = payload + MAX_RECORD_OVERHEAD;
            reserved += largest;
            let placed = queue.append(&parts, payload, largest, Some(now), BytesMut::new);
            Delivery::new(placed.state, placed.index, 0)
        })
        .collect();
    let mut answers = Answers::new(response);
    let mut released = 0;
    // An answer may make it try again; one answer is used for one try.
    while let Next::Ship(shipment) =
        queue.next(now, Some(ProducerId { id: 1, epoch: 0 }), true, &rules)
    {
        let Some(answer) = answers.of(&partition) else {
            let answer = unanswered(Error::UnknownNode { node: 1 });
            released += conclude(queue.settle(now, shipment, answer, &rules));
            break;
        };
        let answer = answer_of(answer, &partition);
        released += conclude(queue.settle(now, shipment, answer, &rules));
        now += Duration::from_secs(1);
        // A broker may ask for another try for ever.
        released += conclude(queue.expire(now, &rules));
    }
    now += rules.delivery_timeout;
    released += conclude(queue.expire(now, &rules));
    assert_eq!(released, reserved, "memory given back");
    for delivery in &mut deliveries {
        assert!(delivery.now_or_never().is_some(), "a record without a fate");
    }
}

/// Tells the records what became of them; returns the memory given back.
fn conclude(outcome: Outcome) -> usize {
    for finished in outcome.finished {
        finished.deliver(|| {});
    }
    outcome.released
}
