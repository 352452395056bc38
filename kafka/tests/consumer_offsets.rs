//! Where a consumer starts, what it commits, and what it finds again.

#[path = "support/consumer.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka::{AutoOffsetReset, Compression, ConsumerError, Outcome, RetryPolicy};
use support::{Latch, Running, Scripted, World, client};

/// Retries for ever, and not while a test looks.
fn patient() -> RetryPolicy {
    RetryPolicy {
        max_attempts: u32::MAX,
        backoff: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
    }
}

#[tokio::test]
async fn a_restart_passes_over_what_was_done_behind_a_waiting_key() {
    let world = World::new(1).await;
    // Two keys wait, thousands behind them are done.
    world
        .send_all(0, 0..3000, |n| {
            if n == 5 || n == 1500 {
                "sick".into()
            } else {
                format!("{n}")
            }
        })
        .await;
    let healed = Arc::new(AtomicBool::new(false));
    let make = |healed: Arc<AtomicBool>| {
        Scripted::new(move |record| {
            let sick = record.key.as_deref() == Some(b"sick") && !healed.load(Ordering::SeqCst);
            async move {
                if sick {
                    Outcome::Retry("not yet".into())
                } else {
                    Outcome::Done
                }
            }
        })
    };
    let first = make(healed.clone());
    let running = Running::start(world.consumer().retry(patient()), first.clone());
    first
        .until("all but the key", |calls| calls.len() == 2999)
        .await;
    let report = running.stop().await;
    assert_eq!(report.given_up, 2, "the waiting one and the one behind it");
    assert!(report.abandoned.is_empty() && report.uncommitted.is_empty());
    assert_eq!(
        world.committed().await[&0].0,
        5,
        "nothing past what is not handled"
    );

    healed.store(true, Ordering::SeqCst);
    let second = make(healed);
    let running = Running::start(world.consumer().retry(patient()), second.clone());
    let stats = running
        .until("the end", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(3000))
        })
        .await;
    let offsets: Vec<_> = second.calls().iter().map(|call| call.offset).collect();
    assert_eq!(offsets, [5, 1500], "only what was not done");
    assert_eq!(
        stats.topics[0].outcomes.skipped, 2993,
        "from the committed offset on"
    );
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_partition_pauses_max_ahead_of_its_commit() {
    let world = World::new(2).await;
    world.send_all(0, 0..500, |n| format!("a{n}")).await;
    world.send_all(1, 0..500, |n| format!("b{n}")).await;
    let latch = Latch::new();
    let handler = Scripted::new({
        let latch = latch.clone();
        move |record| {
            let latch = latch.clone();
            async move {
                if record.partition == 0 && record.offset == 10 {
                    latch.opened().await;
                }
                Outcome::Done
            }
        }
    });
    let running = Running::start(world.consumer().max_ahead(50), handler.clone());
    // The other partition shows that all had its turn.
    running
        .until("one partition at its end, the other paused", |stats| {
            stats
                .partitions
                .iter()
                .any(|p| p.partition.partition == 1 && p.committed == Some(500))
                && stats
                    .partitions
                    .iter()
                    .any(|p| p.partition.partition == 0 && p.position == Some(60))
        })
        .await;
    world.send(1, "one more", "").await;
    handler.until_calls(561).await;
    let furthest = handler
        .calls()
        .iter()
        .filter(|call| call.partition == 0)
        .map(|call| call.offset)
        .max();
    assert_eq!(
        furthest,
        Some(59),
        "offset 10 holds the commit, 50 offsets from there are allowed"
    );
    latch.open();
    handler.until_calls(1001).await;
    assert!(running.stop().await.is_clean());
    let each: HashSet<_> = handler
        .calls()
        .iter()
        .map(|call| (call.partition, call.offset))
        .collect();
    assert_eq!(
        (each.len(), handler.calls().len()),
        (1001, 1001),
        "each once"
    );
}

#[tokio::test]
async fn the_start_position_is_committed_on_assignment() {
    let world = World::new(2).await;
    world.send_all(0, 0..3, |n| n.to_string()).await;
    let handler = Scripted::done();
    let running = Running::start(
        world.consumer().auto_offset_reset(AutoOffsetReset::Latest),
        handler.clone(),
    );
    running.until_assigned(2).await;
    assert_eq!(
        world
            .committed()
            .await
            .into_iter()
            .map(|(p, (o, _))| (p, o))
            .collect::<Vec<_>>(),
        [(0, 3), (1, 0)]
    );
    // So that what comes while nobody is there is found.
    running.crash().await;
    world.send(0, "a", "new").await;
    world.send(1, "b", "new").await;
    let running = Running::start(
        world.consumer().auto_offset_reset(AutoOffsetReset::Latest),
        handler.clone(),
    );
    let calls = handler.until_calls(2).await;
    assert!(calls.iter().all(|call| call.value() == "new"));
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_new_partition_starts_at_its_first_record_whatever_the_policy() {
    let world = World::new(1).await;
    world.send(0, "old", "old").await;
    let handler = Scripted::done();
    let reset = AutoOffsetReset::Latest;
    // Notices new partitions by itself.
    let quick = client(&world.kafka, |config| {
        config.metadata_max_age = Duration::from_millis(200)
    });
    let running = Running::start(
        world.consumer_of(&quick).auto_offset_reset(reset),
        handler.clone(),
    );
    running.until_assigned(1).await;
    world
        .client
        .admin()
        .create_partitions(&world.topic, 2)
        .await
        .expect("a second partition");
    sent_to_new_partition(&world, 1).await;
    let calls = handler.until_calls(1).await;
    assert_eq!((calls[0].partition, calls[0].offset), (1, 0));
    assert!(running.stop().await.is_clean());

    // The same while the group is away.
    world
        .client
        .admin()
        .create_partitions(&world.topic, 3)
        .await
        .expect("a third partition");
    sent_to_new_partition(&world, 2).await;
    let running = Running::start(world.consumer().auto_offset_reset(reset), handler.clone());
    let calls = handler.until_calls(2).await;
    assert_eq!((calls[1].partition, calls[1].offset), (2, 0));
    assert!(running.stop().await.is_clean());
}

/// A producer that knew the topic before would not know the partition.
async fn sent_to_new_partition(world: &World, partition: i32) {
    let fresh = client(&world.kafka, |_| {});
    let producer = fresh.producer().build().expect("a good configuration");
    testkit::eventually(support::PATIENCE, || async {
        let record = kafka::OutgoingRecord {
            topic: &world.topic,
            partition: Some(partition),
            key: Some(b"new"),
            value: Some(b"new"),
            headers: &[],
            timestamp: None,
        };
        producer.send(&record).await.ok()
    })
    .await;
}

#[tokio::test]
async fn out_of_range_follows_the_policy() {
    for (reset, expected) in [
        (AutoOffsetReset::Earliest, vec![0, 1, 2, 3]),
        (AutoOffsetReset::Latest, vec![3]),
    ] {
        let world = World::new(1).await;
        world.send_all(0, 0..3, |n| n.to_string()).await;
        world.commit(0, 1000).await;
        let handler = Scripted::done();
        let running = Running::start(world.consumer().auto_offset_reset(reset), handler.clone());
        let at = if reset == AutoOffsetReset::Latest {
            3
        } else {
            0
        };
        running
            .until("the reset", |stats| {
                stats
                    .partitions
                    .iter()
                    .any(|p| p.committed == Some(3) && p.position == Some(3))
            })
            .await;
        assert!(
            world.committed().await[&0].0 >= at,
            "the new position is committed"
        );
        world.send(0, "last", "3").await;
        let calls = handler.until_calls(expected.len()).await;
        assert_eq!(
            calls.iter().map(|call| call.offset).collect::<Vec<_>>(),
            expected,
            "{reset:?}"
        );
        assert!(running.stop().await.is_clean());
        assert_eq!(world.committed().await[&0].0, 4);
    }
}

#[tokio::test]
async fn without_a_policy_no_offset_is_an_error_that_names_the_place() {
    let world = World::new(1).await;
    let reset = AutoOffsetReset::None;
    let running = Running::start(world.consumer().auto_offset_reset(reset), Scripted::done());
    match running.ended().await {
        Err(ConsumerError::NoOffset { group, partition }) => {
            assert_eq!(
                (&*group, &*partition.topic, partition.partition),
                (&*world.group, &*world.topic, 0)
            );
        }
        other => panic!("{other:?}"),
    }
    world.commit(0, 77).await;
    let running = Running::start(world.consumer().auto_offset_reset(reset), Scripted::done());
    match running.ended().await {
        Err(error @ ConsumerError::OutOfRange { offset: 77, .. }) => {
            assert!(
                error.to_string().contains(&format!("{}-0", world.topic)),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.committed().await[&0].0, 77, "left as it was");
}

#[tokio::test]
async fn every_compression_is_read() {
    let world = World::new(1).await;
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let producer = world
            .client
            .producer()
            .compression(codec)
            .build()
            .expect("a good configuration");
        let value = format!("{codec:?}").repeat(100);
        let mut deliveries = Vec::new();
        for n in 0..100 {
            let key = n.to_string();
            let record = kafka::OutgoingRecord {
                topic: &world.topic,
                partition: Some(0),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[(b"codec", Some(codec_name(codec)))],
                timestamp: None,
            };
            deliveries.push(producer.enqueue(&record).expect("room"));
        }
        for delivery in deliveries {
            delivery.await.expect("the record is taken");
        }
    }
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(400).await;
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let value = format!("{codec:?}").repeat(100);
        assert_eq!(
            calls.iter().filter(|call| call.value() == value).count(),
            100,
            "{codec:?}"
        );
    }
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 400);
}

fn codec_name(codec: Compression) -> &'static [u8] {
    match codec {
        Compression::Gzip => b"gzip",
        Compression::Snappy => b"snappy",
        Compression::Lz4 => b"lz4",
        Compression::Zstd => b"zstd",
        _ => b"none",
    }
}

#[tokio::test]
async fn commits_come_by_themselves_and_never_pass_what_is_not_handled() {
    let world = World::new(1).await;
    world.send_all(0, 0..10, |n| n.to_string()).await;
    let latch = Latch::new();
    let handler = Scripted::new({
        let latch = latch.clone();
        move |record| {
            let latch = latch.clone();
            async move {
                if record.offset == 4 {
                    latch.opened().await;
                }
                Outcome::Done
            }
        }
    });
    let running = Running::start(world.consumer(), handler.clone());
    running
        .until("a commit up to the open one", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(4))
        })
        .await;
    let (offset, metadata) = world.committed().await[&0].clone();
    assert_eq!(offset, 4);
    assert!(!metadata.is_empty(), "what is done beyond it");
    latch.open();
    running
        .until("the rest", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(10))
        })
        .await;
    // A crash after that repeats nothing.
    running.crash().await;
    world.send(0, "next", "next").await;
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(11).await;
    assert_eq!(calls[10].value(), "next");
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_shutdown_that_runs_out_of_time_reports_what_was_left() {
    let world = World::new(1).await;
    world.send_all(0, 0..3, |n| n.to_string()).await;
    let handler = Scripted::new(|record| async move {
        if record.offset == 1 {
            std::future::pending::<()>().await;
        }
        Outcome::Done
    });
    let builder = world.consumer().shutdown_drain(Duration::from_millis(100));
    let running = Running::start(builder, handler.clone());
    running
        .until("the others", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(1))
        })
        .await;
    let report = running.stop().await;
    assert_eq!(report.abandoned.len(), 1);
    assert_eq!((report.abandoned[0].offset, report.given_up), (1, 0));
    let text = report.to_string();
    assert!(
        text.contains(&format!("{}-0 offset 1", world.topic)),
        "{text}"
    );
    assert_eq!(world.committed().await[&0].0, 1);
}
