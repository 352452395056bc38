//! Following topics without a group.

#[path = "support/consumer.rs"]
mod support;

use std::collections::HashMap;
use std::time::Duration;

use futures::FutureExt;
use kafka::{Reader, ReaderEvent, Start, TopicPartition};
use support::{PATIENCE, World, client};

async fn next(reader: &mut Reader) -> ReaderEvent {
    tokio::time::timeout(PATIENCE, reader.next_batch())
        .await
        .expect("something to read")
}

/// The next `count` records, by partition and value.
async fn values(reader: &mut Reader, count: usize) -> Vec<(i32, String)> {
    let mut values = Vec::new();
    while values.len() < count {
        match next(reader).await {
            ReaderEvent::Records(records) => values.extend(records.iter().map(|record| {
                let value = record.value.as_deref().expect("a value");
                (
                    record.partition,
                    String::from_utf8(value.to_vec()).expect("text"),
                )
            })),
            reset => panic!("{reset:?}"),
        }
    }
    assert_eq!(values.len(), count);
    values
}

#[tokio::test]
async fn all_is_read_from_the_start_and_then_what_comes() {
    let world = World::new(2).await;
    world.send_all(0, 0..10, |n| n.to_string()).await;
    world.send_all(1, 10..20, |n| n.to_string()).await;
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .build()
        .expect("a good configuration");
    let mut read = values(&mut reader, 20).await;
    read.sort_by_key(|(_, value)| value.parse::<usize>().expect("a number"));
    assert_eq!(
        read,
        (0..20)
            .map(|n| ((n >= 10) as i32, n.to_string()))
            .collect::<Vec<_>>()
    );
    assert!(reader.is_caught_up());
    world.send(1, "k", "live").await;
    assert_eq!(values(&mut reader, 1).await, [(1, "live".to_owned())]);
    let positions: Vec<_> = reader
        .positions()
        .into_iter()
        .map(|(name, offset)| (name.partition, offset))
        .collect();
    assert_eq!(positions, [(0, 10), (1, 11)]);
}

#[tokio::test]
async fn latest_shows_only_what_is_new_and_offsets_resume() {
    let world = World::new(2).await;
    world.send_all(0, 0..10, |n| n.to_string()).await;
    let mut latest = world
        .client
        .reader()
        .topics([&world.topic])
        .from(Start::Latest)
        .build()
        .expect("a good configuration");
    tokio::time::timeout(PATIENCE, latest.positioned())
        .await
        .expect("positions");
    world.send(0, "k", "new").await;
    assert_eq!(values(&mut latest, 1).await, [(0, "new".to_owned())]);
    assert_eq!(
        latest.positions()[0],
        (TopicPartition::new(world.topic.as_str(), 0), 11)
    );

    // The other partition is not named: from its first record.
    world.send(1, "k", "other").await;
    let offsets = HashMap::from([(TopicPartition::new(world.topic.as_str(), 0), 8)]);
    let mut resumed = world
        .client
        .reader()
        .topics([&world.topic])
        .from(Start::Offsets(offsets))
        .build()
        .expect("a good configuration");
    let mut read = values(&mut resumed, 4).await;
    read.sort();
    assert_eq!(
        read,
        [(0, "8"), (0, "9"), (0, "new"), (1, "other")].map(|(p, v)| (p, v.to_owned()))
    );
}

#[tokio::test]
async fn topics_and_partitions_that_appear_later_are_read_from_their_first_record() {
    let world = World::new(1).await;
    let late = testkit::unique("late");
    let quick = client(&world.kafka, |config| {
        config.metadata_max_age = Duration::from_millis(100)
    });
    let mut reader = quick
        .reader()
        .topics([&world.topic, &late])
        .from(Start::Latest)
        .build()
        .expect("a good configuration");
    // Something read from the one topic shows that the other has been looked for and not found.
    tokio::select! {
        _ = next(&mut reader) => {}
        () = async { loop { world.send(0, "k", "seen or not").await; } } => {}
    }
    assert!(!reader.is_caught_up());
    world.kafka.create_topic(&late, 1).await;
    let record = kafka::OutgoingRecord {
        topic: &late,
        partition: Some(0),
        key: None,
        value: Some(b"first of the late topic"),
        headers: &[],
        timestamp: None,
    };
    world
        .producer
        .send(&record)
        .await
        .expect("the record is taken");
    world
        .client
        .admin()
        .create_partitions(&world.topic, 2)
        .await
        .expect("a second partition");
    let fresh = client(&world.kafka, |_| {})
        .producer()
        .build()
        .expect("a good configuration");
    let record = kafka::OutgoingRecord {
        topic: &world.topic,
        partition: Some(1),
        value: Some(b"first of the new partition"),
        ..record
    };
    testkit::eventually(PATIENCE, || async { fresh.send(&record).await.ok() }).await;
    let mut wanted = vec!["first of the late topic", "first of the new partition"];
    while !wanted.is_empty() {
        let ReaderEvent::Records(records) = next(&mut reader).await else {
            panic!("a reset")
        };
        for record in records {
            wanted.retain(|wanted| record.value.as_deref() != Some(wanted.as_bytes()));
        }
    }
}

#[tokio::test]
async fn out_of_range_is_told_and_reading_goes_on_at_the_first_record() {
    let world = World::new(1).await;
    world.send_all(0, 0..3, |n| n.to_string()).await;
    let name = TopicPartition::new(world.topic.as_str(), 0);
    let start = Start::Offsets(HashMap::from([(name.clone(), 500)]));
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .from(start)
        .build()
        .expect("a good configuration");
    match next(&mut reader).await {
        ReaderEvent::Reset {
            partition,
            asked,
            resumed,
        } => {
            assert_eq!((partition, asked, resumed), (name, 500, 0));
        }
        other => panic!("{other:?}"),
    }
    let read = values(&mut reader, 3).await;
    assert_eq!(
        read.iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
}

#[tokio::test]
async fn next_batch_may_be_dropped_at_every_await() {
    let world = World::new(2).await;
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .build()
        .expect("a good configuration");
    let sender = async {
        for n in 0..200 {
            world.send(n % 2, "k", &n.to_string()).await;
        }
    };
    let reading = async {
        let mut read = Vec::new();
        while read.len() < 200 {
            // Polled once and dropped, over and over.
            match reader.next_batch().now_or_never() {
                Some(ReaderEvent::Records(records)) => {
                    read.extend(
                        records
                            .iter()
                            .map(|record| (record.partition, record.offset)),
                    );
                }
                Some(reset) => panic!("{reset:?}"),
                None => tokio::task::yield_now().await,
            }
        }
        read
    };
    let (mut read, ()) = tokio::time::timeout(PATIENCE, futures::future::join(reading, sender))
        .await
        .expect("all of it");
    read.sort_unstable();
    let all: Vec<_> = (0..2)
        .flat_map(|partition| (0..100).map(move |offset| (partition, offset)))
        .collect();
    assert_eq!(read, all, "each once, none lost");
}
