//! Logs that are cut back and written anew: what was read of them is noticed to be gone (KIP-320).

#[path = "support/consumer.rs"]
mod support;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kafka::{
    AutoOffsetReset, ConsumerError, NewPartition, Outcome, OutgoingRecord, PartitionListener,
    ReaderEvent, RetryPolicy, StartAt, TopicPartition,
};
use support::{PATIENCE, Running, Scripted, Seen, World, client};

/// Records before the cut, at offsets 0 to 9.
const WRITTEN: i64 = 10;

/// Where the log ends after the cut.
const CUT: i64 = 6;

/// A broker of its own, whose one partition holds ten records in batches of their own.
async fn written() -> World {
    let world = World::own(1).await;
    for number in 0..WRITTEN {
        world.send(0, &format!("key {number}"), "old").await;
    }
    world
}

/// The broker's disk loses the end of the log; another leader epoch begins.
async fn cut(world: &mut World) {
    world.kafka.kill_broker().await;
    world.kafka.cut_log(&world.topic, 0, CUT);
    world.kafka.start_broker().await;
}

/// Sends by a producer that knows nothing of what was lost.
async fn write_anew(world: &World, offsets: Range<i64>) {
    let producer = client(&world.kafka, |_| {}).producer();
    let producer = producer.build().expect("a good configuration");
    for offset in offsets {
        let key = format!("key {offset}");
        let record = OutgoingRecord {
            topic: &world.topic,
            partition: Some(0),
            key: Some(key.as_bytes()),
            value: Some(b"new"),
            ..Default::default()
        };
        let sent = producer.send(&record).await.expect("it is taken");
        assert_eq!(sent.offset, offset);
    }
}

fn offsets(calls: &[Seen], value: &str) -> Vec<i64> {
    let mut offsets: Vec<_> = calls
        .iter()
        .filter(|call| call.value() == value)
        .map(|call| call.offset)
        .collect();
    offsets.sort_unstable();
    offsets
}

#[tokio::test]
async fn a_commit_behind_the_cut_is_read_on_from_where_the_log_differs() {
    let mut world = written().await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(WRITTEN as usize).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, WRITTEN);
    cut(&mut world).await;
    // Past the commit: by its offset alone nothing would be noticed.
    write_anew(&world, CUT..14).await;

    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler
        .until("the last one", |calls| {
            calls.iter().any(|call| call.offset == 13)
        })
        .await;
    assert_eq!(offsets(&calls, "new"), Vec::from_iter(CUT..14));
    assert_eq!(calls.len(), 8, "{calls:?}");
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 14);
}

/// Keeps an offset of its own, and the epoch before it.
struct Kept(i64, Option<i32>);

impl PartitionListener for Kept {
    async fn assigned(&self, _: &NewPartition) -> Result<StartAt, String> {
        Ok(StartAt::Offset {
            offset: self.0,
            leader_epoch: self.1,
        })
    }

    fn lost(&self, _: &[TopicPartition]) {}
}

#[tokio::test]
async fn an_offset_of_the_applications_own_is_read_on_from_where_the_log_differs() {
    let mut world = written().await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(WRITTEN as usize).await;
    let epoch = calls[WRITTEN as usize - 1].leader_epoch;
    assert!(running.stop().await.is_clean());
    cut(&mut world).await;
    write_anew(&world, CUT..14).await;

    for (leader_epoch, first) in [(Some(epoch), CUT), (None, WRITTEN)] {
        let handler = Scripted::done();
        let consumer = world.consumer().listener(Kept(WRITTEN, leader_epoch));
        let running = Running::start(consumer, handler.clone());
        let calls = handler
            .until("the last one", |calls| {
                calls.iter().any(|call| call.offset == 13)
            })
            .await;
        assert_eq!(offsets(&calls, "new"), Vec::from_iter(first..14));
        assert!(running.stop().await.is_clean());
    }
}

#[tokio::test]
async fn a_running_consumer_and_a_reader_go_back_to_where_the_log_differs() {
    let mut world = written().await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(WRITTEN as usize).await;
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .build()
        .unwrap();
    let mut returned = 0;
    while returned < WRITTEN as usize {
        match reader.next_batch().await {
            ReaderEvent::Records(records) => returned += records.len(),
            reset => panic!("{reset:?}"),
        }
    }
    cut(&mut world).await;

    let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
    match event.expect("it is noticed") {
        ReaderEvent::Reset {
            partition,
            asked,
            resumed,
        } => {
            assert_eq!((partition.partition, asked, resumed), (0, WRITTEN, CUT));
        }
        records => panic!("{records:?}"),
    }
    running
        .until("going back", |stats| {
            let partition = &stats.partitions[..];
            partition.iter().any(|one| one.committed == Some(CUT))
        })
        .await;
    write_anew(&world, CUT..8).await;
    let calls = handler.until_calls(WRITTEN as usize + 2).await;
    assert_eq!(offsets(&calls, "new"), [6, 7]);
    let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
    match event.expect("what was written anew") {
        ReaderEvent::Records(records) => assert_eq!(records[0].offset, CUT),
        reset => panic!("{reset:?}"),
    }
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 8);
}

#[tokio::test]
async fn without_a_policy_it_is_an_error_that_names_place_and_epoch() {
    let mut world = written().await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(WRITTEN as usize).await;
    assert!(running.stop().await.is_clean());
    cut(&mut world).await;
    write_anew(&world, CUT..14).await;

    let none = world.consumer().auto_offset_reset(AutoOffsetReset::None);
    let handler = Scripted::done();
    let error = Running::start(none, handler.clone()).ended().await;
    let error = error.expect_err("it stops");
    let ConsumerError::Truncated {
        partition,
        offset,
        epoch,
        diverged,
        ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*offset, *epoch, *diverged), (WRITTEN, 1, CUT));
    assert_eq!(*partition.topic, *world.topic);
    assert!(error.to_string().contains(&format!("{}-0", world.topic)));
    assert_eq!(handler.calls(), [], "nothing is handled");
    assert_eq!(world.committed().await[&0].0, WRITTEN, "left as it was");
}

#[tokio::test]
async fn what_a_commit_says_is_done_behind_a_waiting_key_is_not_believed_of_new_records() {
    let mut world = written().await;
    let healed = Arc::new(AtomicBool::new(false));
    let handler = Scripted::new({
        let healed = healed.clone();
        move |record| {
            let sick = record.offset == 0 && !healed.load(Ordering::SeqCst);
            async move {
                match sick {
                    true => Outcome::Retry("not yet".to_owned()),
                    false => Outcome::Done,
                }
            }
        }
    });
    let patient = RetryPolicy {
        max_attempts: u32::MAX,
        backoff: PATIENCE,
        backoff_max: PATIENCE,
    };
    let running = Running::start(world.consumer().retry(patient), handler.clone());
    handler.until_calls(WRITTEN as usize).await;
    running.stop().await;
    let (committed, metadata) = world.committed().await[&0].clone();
    assert_eq!(committed, 0);
    assert!(metadata.contains(";e1"), "{metadata}");
    cut(&mut world).await;
    write_anew(&world, CUT..WRITTEN).await;

    healed.store(true, Ordering::SeqCst);
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(WRITTEN as usize + 5).await;
    let calls = &calls[WRITTEN as usize..];
    assert_eq!(offsets(calls, "old"), [0], "the others are done");
    assert_eq!(offsets(calls, "new"), Vec::from_iter(CUT..WRITTEN));
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, WRITTEN);
}
