//! A batch that nobody can read holds its partition until an operator says that it is passed over.

#[path = "support/batch.rs"]
mod batch;
#[path = "support/consumer.rs"]
mod support;

use batch::{batch, damaged, packed, record};
use bytes::Bytes;
use kafka::{DeadLetters, HeldBatch, SkipError, SkipRequest, dead_letter};
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::protocol::StrBytes;
use support::{Running, Scripted, World};

/// Bytes of the value of a record that is too large in the clear.
const HUGE: usize = 110 << 20;

/// A batch of a few kilobytes whose one record has a value of [`HUGE`] zeros: every broker takes it.
fn bomb() -> Vec<u8> {
    packed(4, &[&[]], |_| {
        // Attributes, timestamp delta, offset delta, no key, the value's length.
        let mut head = vec![0, 0, 0, 1];
        varint(&mut head, HUGE);
        let mut start = Vec::new();
        // The value, and the number of headers.
        varint(&mut start, head.len() + HUGE + 1);
        start.extend(head);
        // Magic, no content size, a window of 128 KiB.
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x38];
        block(&mut frame, 0, start.len(), false);
        frame.extend(&start);
        let mut zeros = HUGE + 1;
        while zeros > 0 {
            let size = zeros.min(128 << 10);
            zeros -= size;
            // A block of one byte, repeated.
            block(&mut frame, 1, size, zeros == 0);
            frame.push(0);
        }
        frame
    })
    .to_vec()
}

fn block(frame: &mut Vec<u8>, kind: u32, size: usize, last: bool) {
    let header = u32::from(last) | kind << 1 | (size as u32) << 3;
    frame.extend(&header.to_le_bytes()[..3]);
}

fn varint(target: &mut Vec<u8>, number: usize) {
    let mut left = number << 1;
    while left >= 0x80 {
        target.push(left as u8 | 0x80);
        left >>= 7;
    }
    target.push(left as u8);
}

/// Sends a batch as it is; returns its offset.
async fn produce(world: &World, batch: Vec<u8>) -> i64 {
    let data = PartitionProduceData::default().with_records(Some(Bytes::from(batch)));
    let topic = StrBytes::from_string(world.topic.clone());
    let topic = TopicProduceData::default()
        .with_name(topic.into())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    let mut connection = world.kafka.connect().await;
    let answer = connection.call(&request, 9).await;
    let answer = &answer.responses[0].partition_responses[0];
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

fn request(world: &World, first: i64, last: i64) -> SkipRequest {
    SkipRequest {
        group: world.group.clone(),
        topic: world.topic.clone(),
        partition: 0,
        first,
        last,
        reason: "ann said so".to_owned(),
        beyond: false,
    }
}

async fn skip(world: &World, request: &SkipRequest) -> Result<(), SkipError> {
    let admin = world.client.admin();
    let skipped = admin
        .skip(&world.producer, DeadLetters::SUFFIX, request)
        .await;
    skipped.map(drop)
}

async fn held(running: &Running) -> HeldBatch {
    let stats = running
        .until("the hold", |stats| {
            stats.partitions.iter().any(|p| p.held.is_some())
        })
        .await;
    stats.partitions[0].held.clone().expect("held")
}

#[tokio::test]
async fn a_batch_that_grows_too_large_is_passed_over_on_an_operators_word_alone() {
    let world = World::new(1).await.with_dead_letters(1).await;
    world.send(0, "a", "before").await;
    assert_eq!(produce(&world, bomb()).await, 1);
    world.send(0, "a", "behind").await;
    let handler = Scripted::done();
    let letters = || world.consumer().dead_letters(world.letters());
    let running = Running::start(letters(), handler.clone());
    let found = held(&running).await;
    assert_eq!((found.first, found.last), (1, Some(1)));
    assert!(found.reason.contains("decompressed"), "{}", found.reason);

    // What is readable, or lies behind the batch, is not given up by mistake.
    let readable = skip(&world, &request(&world, 0, 1)).await;
    assert!(matches!(readable, Err(SkipError::Readable { .. })));
    let beyond = skip(&world, &request(&world, 1, 2)).await;
    assert!(matches!(beyond, Err(SkipError::Beyond { asked: 2, .. })));
    // Nor what no record has yet.
    let ahead = SkipRequest {
        beyond: true,
        ..request(&world, 1, 3)
    };
    let ahead = skip(&world, &ahead).await;
    assert!(matches!(
        ahead,
        Err(SkipError::BehindTheLog { asked: 3, .. })
    ));
    let backwards = skip(&world, &request(&world, 2, 1)).await;
    assert!(matches!(backwards, Err(SkipError::NoRange { .. })));
    skip(&world, &request(&world, 1, 1)).await.expect("taken");
    let calls = handler.until_calls(2).await;
    let values: Vec<_> = calls.iter().map(|call| call.value().to_owned()).collect();
    assert_eq!(values, ["before", "behind"]);
    running
        .until("the commit behind it", |stats| {
            let on = &stats.partitions[0];
            on.committed == Some(3) && on.held.is_none() && on.problem.is_none()
        })
        .await;
    assert!(running.stop().await.is_clean());

    let letter = &world.read(&world.dlt(), 1).await[0];
    let said = |name: &str| letter.headers.get_str(name).unwrap_or_default().to_owned();
    assert_eq!(letter.value, None);
    assert_eq!(said(dead_letter::ORIGINAL_OFFSET), "1");
    assert_eq!(said(dead_letter::LAST_OFFSET), "1");
    assert_eq!(said(dead_letter::CONSUMER_GROUP), world.group);
    let reason = said(dead_letter::REASON);
    assert!(
        reason.contains("decompressed") && reason.ends_with("; ann said so"),
        "{reason}"
    );
    // It is behind the group for good.
    let handler = Scripted::done();
    let running = Running::start(letters(), handler.clone());
    world.send(0, "a", "later").await;
    assert_eq!(handler.until_calls(1).await[0].value(), "later");
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_skip_of_another_group_means_nothing() {
    let world = World::new(1).await.with_dead_letters(1).await;
    world.send(0, "a", "before").await;
    assert_eq!(produce(&world, bomb()).await, 1);
    world.send(0, "a", "behind").await;
    // They are looked through in this order: who took the first would hand out what is behind the batch.
    let other = SkipRequest {
        group: "another".to_owned(),
        ..request(&world, 1, 1)
    };
    skip(&world, &other).await.expect("taken");
    let beyond = SkipRequest {
        beyond: true,
        ..request(&world, 1, 2)
    };
    skip(&world, &beyond).await.expect("taken");
    world.send(0, "a", "later").await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(2).await;
    let values: Vec<_> = calls.iter().map(|call| call.value().to_owned()).collect();
    assert_eq!(values, ["before", "later"]);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_skip_said_beforehand_holds_for_whoever_has_the_partition_later() {
    let world = World::own(1).await.with_dead_letters(1).await;
    world.send(0, "a", "before").await;
    let broker = world.kafka.broker().expect("its own");
    // Its header says that it ends at 1, and where the next batch begins says that it ends at 3.
    let broken = damaged(batch(&[&record(0, b"x", b"broken")]));
    let planted = broker.plant(&world.topic, 0, 0, broken.freeze());
    assert_eq!(planted.expect("planted"), 1);
    let between = batch(&[&record(0, b"a", b"between")]);
    let planted = broker.plant(&world.topic, 0, 4, between.freeze());
    assert_eq!(planted.expect("planted"), 4);
    let broken = damaged(batch(&[&record(0, b"x", b"broken")]));
    let planted = broker.plant(&world.topic, 0, 0, broken.freeze());
    assert_eq!(planted.expect("planted"), 5);
    world.send(0, "a", "behind").await;
    skip(&world, &request(&world, 5, 5)).await.expect("taken");

    // The first is held; the consumer dies, and the operator speaks while nobody is there.
    let running = Running::start(world.consumer(), Scripted::done());
    let found = held(&running).await;
    assert_eq!((found.first, found.last), (1, Some(3)));
    running
        .until("the commit before it", |stats| {
            stats.partitions[0].committed == Some(1)
        })
        .await;
    running.crash().await;
    skip(&world, &request(&world, 1, 3)).await.expect("taken");
    // Twice is once.
    skip(&world, &request(&world, 1, 3)).await.expect("taken");
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(2).await;
    let seen: Vec<_> = calls.iter().map(|call| call.offset).collect();
    assert_eq!(seen, [4, 6]);
    running
        .until("the commit behind it", |stats| {
            stats.partitions[0].committed == Some(7)
        })
        .await;
    assert!(running.stop().await.is_clean());
}
