//! A consumer on a broker that misbehaves: nothing is lost, nothing is stepped over, and what holds
//! it up is told.

#[path = "support/batch.rs"]
mod batch;
#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use batch::{batch, damaged, packed, reaching, record};
use kafka::{ClientConfig, ResponseError, dead_letter};
use kafka_protocol::messages::ApiKey;
use support::{PATIENCE, Running, Scripted, World, client};
use testkit::Kafka;

/// Tuned so that a silent connection is noticed within a test's time.
fn hasty(config: &mut ClientConfig) {
    config.request_timeout = Duration::from_millis(500);
}

#[tokio::test]
async fn a_batch_with_a_broken_checksum_holds_its_partition_and_is_never_stepped_over() {
    let world = World::own(2).await;
    world.send(0, "a", "before").await;
    let broken = damaged(batch(&[&record(0, b"x", b"broken")]));
    let broker = world.kafka.broker().expect("its own");
    assert_eq!(
        broker
            .plant(&world.topic, 0, 0, broken.freeze())
            .expect("planted"),
        1
    );
    world.send(0, "a", "behind").await;
    world.send(1, "b", "other").await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let stats = running
        .until("the hold, and the other partition", |stats| {
            stats
                .partitions
                .iter()
                .any(|p| p.partition.partition == 1 && p.committed == Some(1))
                && stats
                    .partitions
                    .iter()
                    .any(|p| p.partition.partition == 0 && p.problem.is_some())
        })
        .await;
    let held = stats
        .partitions
        .iter()
        .find(|p| p.partition.partition == 0)
        .expect("assigned");
    let problem = held.problem.as_deref().unwrap_or_default();
    assert!(
        problem.contains("checksum") && problem.contains(&format!("{}-0 offset 1", world.topic)),
        "{problem}"
    );
    // More arrives, and still nothing gets past it.
    world.send(1, "b", "more").await;
    handler
        .until("more", |calls| {
            calls.iter().any(|call| call.value() == "more")
        })
        .await;
    running
        .until("the commit before it", |stats| {
            stats
                .partitions
                .iter()
                .any(|p| p.committed == Some(1) && p.partition.partition == 0)
        })
        .await;
    assert!(
        handler
            .calls()
            .iter()
            .all(|call| call.value() != "behind" && call.value() != "broken")
    );
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 1);
}

#[tokio::test]
async fn whatever_else_makes_a_batch_unreadable_holds_its_partition_by_name() {
    let content: &[&[u8]] = &[&record(0, b"x", b"broken")];
    let unreadable = [
        (
            packed(1, content, |_| b"no gzip".to_vec()),
            "gzip data cannot be decompressed",
        ),
        (
            packed(2, content, |_| b"no snappy".to_vec()),
            "snappy data cannot be decompressed",
        ),
        (
            packed(3, content, |_| b"no lz4".to_vec()),
            "lz4 data cannot be decompressed",
        ),
        (
            packed(4, content, |_| b"no zstd".to_vec()),
            "zstd data cannot be decompressed",
        ),
        (
            packed(7, content, <[u8]>::to_vec),
            "unknown compression type 7",
        ),
    ];
    let world = World::own(unreadable.len() as i32).await;
    let broker = world.kafka.broker().expect("its own");
    for (partition, (batch, _)) in unreadable.iter().enumerate() {
        let partition = partition as i32;
        world.send(partition, "a", "before").await;
        let planted = broker.plant(&world.topic, partition, 0, batch.clone().freeze());
        assert_eq!(planted.expect("planted"), 1);
        world.send(partition, "a", "behind").await;
    }
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let stats = running
        .until("every partition held", |stats| {
            let held = stats.partitions.iter().filter(|p| p.problem.is_some());
            held.count() == unreadable.len()
                && stats.partitions.iter().all(|p| p.committed == Some(1))
        })
        .await;
    for (held, (_, wanted)) in stats.partitions.iter().zip(&unreadable) {
        let problem = held.problem.as_deref().unwrap_or_default();
        let place = format!("{} offset 1", held.partition);
        assert!(
            problem.contains(wanted) && problem.contains(&place),
            "{problem}"
        );
        let partition = held.partition.partition;
        let error = world
            .client
            .admin()
            .read_record(&world.topic, partition, 1)
            .await;
        let error = error.expect_err("nothing to show").to_string();
        assert!(error.contains(wanted) && error.contains(&place), "{error}");
    }
    assert!(handler.calls().iter().all(|call| call.value() == "before"));
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_goes_to_the_dead_letters_with_its_bytes() {
    let world = World::own(1).await.with_dead_letters(1).await;
    // The second says its key has 25 bytes, and ends before them.
    let unreadable: &[u8] = &[0, 0, 2, 50, b'?'];
    let planted = batch(&[
        &record(0, b"a", b"good"),
        unreadable,
        &record(2, b"b", b"also good"),
    ]);
    world
        .kafka
        .broker()
        .expect("its own")
        .plant(&world.topic, 0, 0, planted.freeze())
        .expect("planted");
    let handler = Scripted::done();
    let running = Running::start(
        world.consumer().dead_letters(world.letters()),
        handler.clone(),
    );
    let letters = world.read(&world.dlt(), 1).await;
    assert_eq!(letters[0].value.as_deref(), Some(unreadable));
    assert_eq!(
        letters[0].headers.get_str(dead_letter::ORIGINAL_OFFSET),
        Some("1")
    );
    assert_eq!(letters[0].headers.get_str(dead_letter::ATTEMPTS), Some("0"));
    let reason = letters[0]
        .headers
        .get_str(dead_letter::REASON)
        .unwrap_or_default();
    assert!(reason.contains("cannot be read"), "{reason}");
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(3))
        })
        .await;
    assert_eq!(
        handler
            .calls()
            .iter()
            .map(|call| call.value().to_owned())
            .collect::<Vec<_>>(),
        ["good", "also good"]
    );
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn gaps_and_empty_batches_are_passed() {
    let world = World::own(1).await;
    world.send(0, "a", "0").await;
    let broker = world.kafka.broker().expect("its own");
    // As compaction leaves it: a gap, a batch whose last records are gone, one that has none left.
    let shrunk = reaching(batch(&[&record(0, b"a", b"10")]), 9);
    assert_eq!(
        broker
            .plant(&world.topic, 0, 10, shrunk.freeze())
            .expect("planted"),
        10
    );
    let empty = reaching(batch(&[]), 4);
    assert_eq!(
        broker
            .plant(&world.topic, 0, 0, empty.freeze())
            .expect("planted"),
        20
    );
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    running
        .until("the end", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(25))
        })
        .await;
    assert_eq!(world.send(0, "a", "25").await, 25);
    let calls = handler.until_calls(3).await;
    assert_eq!(
        calls.iter().map(|call| call.offset).collect::<Vec<_>>(),
        [0, 10, 25]
    );
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 26);
}

#[tokio::test]
async fn fetch_errors_are_waited_out_and_lose_nothing() {
    for error in [
        ResponseError::NotLeaderOrFollower,
        ResponseError::FencedLeaderEpoch,
        ResponseError::UnknownLeaderEpoch,
        ResponseError::UnknownTopicOrPartition,
        ResponseError::KafkaStorageError,
        ResponseError::UnknownServerError,
        ResponseError::Unknown(12345),
    ] {
        let world = World::own(2).await;
        let handler = Scripted::done();
        let fault = world
            .kafka
            .faults()
            .on(ApiKey::Fetch)
            .topic(&world.topic)
            .partition(0)
            .times(3)
            .error(error);
        let running = Running::start(world.consumer(), handler.clone());
        world.send_all(0, 0..20, |n| n.to_string()).await;
        world.send_all(1, 0..20, |n| n.to_string()).await;
        handler.until_calls(40).await;
        assert_eq!(fault.hits(), 3, "{error:?}");
        assert!(running.stop().await.is_clean());
        assert_eq!(handler.calls().len(), 40, "{error:?}: each once");
    }
}

#[tokio::test]
async fn a_moved_leader_is_looked_up_again() {
    let world = World::own(1).await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    running.until_assigned(1).await;
    let refused = world
        .kafka
        .faults()
        .on(ApiKey::Fetch)
        .always()
        .error(ResponseError::NotLeaderOrFollower);
    // Again and again, as long as the broker says that it is not the leader.
    let asked = world
        .kafka
        .faults()
        .on(ApiKey::Metadata)
        .always()
        .delay(Duration::ZERO);
    asked.hit_times(5).await;
    refused.clear();
    world.send(0, "a", "b").await;
    handler.until_calls(1).await;
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn lost_and_silent_connections_are_replaced() {
    let world = World::on(Kafka::own_broker().await, 1).await;
    let quick = client(&world.kafka, hasty);
    let handler = Scripted::done();
    let builder = world
        .consumer_of(&quick)
        .fetch_max_wait(Duration::from_millis(100));
    let running = Running::start(builder, handler.clone());
    world.send(0, "a", "0").await;
    handler.until_calls(1).await;
    let faults = world.kafka.faults();
    faults.on(ApiKey::Fetch).drop_connection().hit().await;
    world.send(0, "a", "1").await;
    handler.until_calls(2).await;
    faults.on(ApiKey::Fetch).lose_acknowledgement().hit().await;
    world.send(0, "a", "2").await;
    handler.until_calls(3).await;
    // Never answered: the connection is cut after max_wait + request_timeout.
    faults.on(ApiKey::Fetch).swallow().hit().await;
    world.send(0, "a", "3").await;
    let began = std::time::Instant::now();
    handler.until_calls(4).await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    world.kafka.broker().expect("its own").disconnect_all();
    world.send(0, "a", "4").await;
    let calls = handler.until_calls(5).await;
    assert_eq!(
        calls.iter().map(|call| call.offset).collect::<Vec<_>>(),
        [0, 1, 2, 3, 4]
    );
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back_is_read_on() {
    let mut world = World::own(2).await;
    let quick = client(&world.kafka, hasty);
    let handler = Scripted::done();
    let running = Running::start(world.consumer_of(&quick), handler.clone());
    world.send_all(0, 0..50, |n| n.to_string()).await;
    handler.until_calls(50).await;
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(50))
        })
        .await;
    world.kafka.kill_broker().await;
    running
        .until("a problem that says so", |stats| {
            stats.partitions.iter().all(|p| {
                p.problem
                    .as_deref()
                    .is_some_and(|text| text.contains("fetching fails"))
            })
        })
        .await;
    world.kafka.start_broker().await;
    world.send_all(1, 0..50, |n| n.to_string()).await;
    handler.until_calls(100).await;
    running
        .until("all committed", |stats| {
            stats.partitions.len() == 2 && stats.partitions.iter().all(|p| p.committed == Some(50))
        })
        .await;
    assert!(running.stop().await.is_clean());
    assert_eq!(handler.calls().len(), 100, "each once");
}

#[tokio::test]
async fn a_new_partition_does_not_wait_behind_an_idle_poll() {
    let world = World::own(1).await;
    let quick = client(&world.kafka, |config| {
        config.metadata_max_age = Duration::from_millis(100)
    });
    let handler = Scripted::done();
    // The poll of the first partition waits far longer than this test does.
    let builder = world.consumer_of(&quick).fetch_max_wait(PATIENCE * 2);
    let polls = world
        .kafka
        .faults()
        .on(ApiKey::Fetch)
        .always()
        .delay(Duration::ZERO);
    let running = Running::start(builder, handler.clone());
    polls.hit().await;
    world
        .client
        .admin()
        .create_partitions(&world.topic, 2)
        .await
        .expect("a second partition");
    running.until_assigned(2).await;
    let fresh = client(&world.kafka, |_| {});
    let producer = fresh.producer().build().expect("a good configuration");
    let record = kafka::OutgoingRecord {
        topic: &world.topic,
        partition: Some(1),
        key: Some(b"k"),
        value: Some(b"v"),
        headers: &[],
        timestamp: None,
    };
    producer.send(&record).await.expect("the record is taken");
    handler.until_calls(1).await;
    running.stop().await;
}

#[tokio::test]
async fn dead_letters_wait_for_their_acknowledgement_through_a_broken_broker() {
    let world = World::own(1).await.with_dead_letters(1).await;
    let refused = world
        .kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(world.dlt())
        .times(2)
        .error(ResponseError::TopicAuthorizationFailed);
    world.send(0, "bad", "bad").await;
    world.send(0, "good", "good").await;
    let handler = Scripted::new(|record| async move {
        if record.value.as_deref() == Some(b"bad") {
            kafka::Outcome::Reject("bad".into())
        } else {
            kafka::Outcome::Done
        }
    });
    let running = Running::start(
        world.consumer().dead_letters(world.letters()),
        handler.clone(),
    );
    refused.hit_times(2).await;
    let letters = world.read(&world.dlt(), 1).await;
    assert_eq!(letters[0].value.as_deref(), Some(&b"bad"[..]));
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(2))
        })
        .await;
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_dead_letter_that_is_refused_for_its_time_is_sent_without_one() {
    let world = World::own(1).await.with_dead_letters(1).await;
    let refused = world
        .kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(world.dlt())
        .times(1)
        .error(ResponseError::InvalidTimestamp);
    world.send(0, "bad", "bad").await;
    let handler = Scripted::new(|_| async { kafka::Outcome::Reject("bad".into()) });
    let running = Running::start(world.consumer().dead_letters(world.letters()), handler);
    refused.hit_times(1).await;
    // At once, and not after a wait.
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(1))
        })
        .await;
    let letters = world.read(&world.dlt(), 1).await;
    assert_eq!(letters[0].timestamp, -1);
    assert_eq!(letters[0].value.as_deref(), Some(&b"bad"[..]));
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_reader_is_held_by_a_broken_batch_too_and_steps_over_nothing() {
    let world = World::own(2).await;
    world.send(0, "a", "before").await;
    let broken = damaged(batch(&[&record(0, b"x", b"broken")]));
    let broker = world.kafka.broker().expect("its own");
    broker
        .plant(&world.topic, 0, 0, broken.freeze())
        .expect("planted");
    world.send(0, "a", "behind").await;
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .build()
        .expect("a good configuration");
    let mut values = Vec::new();
    // The last one is sent when the broken one has been met.
    while values.last().is_none_or(|value| value != "last") {
        let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
        let kafka::ReaderEvent::Records(records) = event.expect("something to read") else {
            panic!("a reset");
        };
        for record in records {
            let value = record.value.expect("a value");
            values.push(String::from_utf8(value.to_vec()).expect("text"));
        }
        world.send(1, "b", "last").await;
    }
    assert_eq!(values, ["before", "last"]);
    assert_eq!(reader.positions()[0].1, 1, "still before the broken one");
}
