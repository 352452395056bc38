//! Partitions that go to other members, and consumers that go away in the middle of things.

#[path = "support/consumer.rs"]
mod support;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kafka::Outcome;
use support::{Latch, PATIENCE, Running, Scripted, World};
use testkit::{ApiKey, ResponseError};

/// Waits at the latch for every record of partitions that were not let through.
fn held_by(latch: &Latch) -> Scripted {
    let latch = latch.clone();
    Scripted::new(move |_| {
        let latch = latch.clone();
        async move {
            latch.opened().await;
            Outcome::Done
        }
    })
}

#[tokio::test]
async fn what_runs_on_a_revoked_partition_may_end_and_is_committed() {
    let world = World::new(2).await;
    world.send_all(0, 0..5, |n| format!("a{n}")).await;
    world.send_all(1, 0..5, |n| format!("b{n}")).await;
    let latch = Latch::new();
    let first = held_by(&latch);
    let one = Running::start(world.consumer(), first.clone());
    first.until_calls(10).await;
    let second = Scripted::done();
    let two = Running::start(world.consumer(), second.clone());
    // The first is asked to let one go; what it handles there ends within the drain.
    two.until("the second's joining", |stats| !stats.member_id.is_empty())
        .await;
    one.until("the rebalance", |stats| {
        stats.rebalances >= 2 || stats.membership != "stable"
    })
    .await;
    latch.open();
    two.until_assigned(1).await;
    one.until("all committed", |stats| {
        stats.partitions.len() == 1 && stats.partitions[0].committed == Some(5)
    })
    .await;
    world.send(0, "more", "more").await;
    world.send(1, "more", "more").await;
    first.until_calls(11).await;
    let calls = second.until_calls(1).await;
    assert_eq!(
        calls.iter().map(|call| call.value()).collect::<Vec<_>>(),
        ["more"],
        "nothing twice"
    );
    assert!(one.stop().await.is_clean());
    assert!(two.stop().await.is_clean());
    let committed = world.committed().await;
    assert_eq!(
        committed
            .values()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [6, 6]
    );
}

#[tokio::test]
async fn what_outlasts_the_drain_is_dropped_never_committed_and_comes_again() {
    let world = World::new(2).await;
    world.send(0, "a", "0").await;
    world.send(1, "b", "1").await;
    let latch = Latch::new();
    let first = held_by(&latch);
    let one = Running::start(
        world
            .consumer()
            .revocation_drain(Duration::from_millis(100)),
        first.clone(),
    );
    first.until_calls(2).await;
    let second = Scripted::done();
    let two = Running::start(world.consumer(), second.clone());
    let calls = second.until_calls(1).await;
    let moved = calls[0].partition;
    two.until("its commit", |stats| {
        stats.partitions.iter().any(|p| p.committed == Some(1))
    })
    .await;
    two.until_assigned(1).await;
    // Now the old flight lands: too late.
    latch.open();
    let stats = one
        .until("the dropped result", |stats| {
            stats
                .topics
                .iter()
                .any(|topic| topic.outcomes.abandoned == 1)
        })
        .await;
    assert_eq!(stats.partitions.len(), 1);
    assert_ne!(stats.partitions[0].partition.partition, moved);
    assert!(one.stop().await.is_clean());
    assert!(two.stop().await.is_clean());
    let committed = world.committed().await;
    assert_eq!(
        committed
            .values()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [1, 1]
    );
}

#[tokio::test]
async fn a_key_stays_busy_across_a_revocation_and_back() {
    let world = World::new(2).await;
    world.send(0, "a", "0").await;
    world.send(1, "b", "0").await;
    let latch = Latch::new();
    let inside: Arc<parking_lot::Mutex<HashSet<(String, i32)>>> = Arc::default();
    let overlaps = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let first = Scripted::new({
        let (latch, inside, overlaps) = (latch.clone(), inside.clone(), overlaps.clone());
        move |record| {
            let (latch, inside, overlaps) = (latch.clone(), inside.clone(), overlaps.clone());
            async move {
                let key = (record.topic.to_string(), record.partition);
                if !inside.lock().insert(key.clone()) {
                    overlaps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
                latch.opened().await;
                inside.lock().remove(&key);
                Outcome::Done
            }
        }
    });
    let one = Running::start(
        world.consumer().revocation_drain(Duration::from_millis(50)),
        first.clone(),
    );
    first.until_calls(2).await;
    // Another member takes a partition away, handles nothing, and gives it back.
    let second = Scripted::new(|_| std::future::pending());
    let two = Running::start(
        world.consumer().shutdown_drain(Duration::from_millis(10)),
        second.clone(),
    );
    second.until_calls(1).await;
    two.stop().await;
    one.until_assigned(2).await;
    // It is back, and its record with it, but the first call for the key still runs.
    one.until("the record queued behind its own flight", |stats| {
        stats.queued == 1
    })
    .await;
    assert_eq!(first.calls().len(), 2);
    latch.open();
    let calls = first.until_calls(3).await;
    assert_eq!(calls[2].offset, 0);
    one.until("both committed", |stats| {
        stats.partitions.iter().all(|p| p.committed == Some(1))
    })
    .await;
    assert_eq!(overlaps.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(one.stop().await.is_clean());
}

#[tokio::test]
async fn a_member_that_vanishes_is_replaced_and_nothing_is_lost() {
    let world = World::new(4).await;
    let (first, second) = (Scripted::done(), Scripted::done());
    let one = Running::start(world.consumer(), first.clone());
    let two = Running::start(world.consumer(), second.clone());
    one.until_assigned(2).await;
    two.until_assigned(2).await;
    for partition in 0..4 {
        world
            .send_all(partition, 0..100, |n| format!("{partition}-{n}"))
            .await;
    }
    one.crash().await;
    two.until("all committed", |stats| {
        stats.partitions.len() == 4 && stats.partitions.iter().all(|p| p.committed == Some(100))
    })
    .await;
    assert!(two.stop().await.is_clean());
    let mut seen: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for call in first.calls().iter().chain(&second.calls()) {
        *seen.entry((call.partition, call.offset)).or_default() += 1;
    }
    assert_eq!(seen.len(), 400, "each at least once");
}

#[tokio::test]
async fn a_consumer_dropped_at_any_point_loses_nothing() {
    let world = World::new(2).await;
    for partition in 0..2 {
        world
            .send_all(partition, 0..400, |n| format!("{partition}-{}", n % 20))
            .await;
    }
    let handler = Scripted::new(|record| async move {
        for _ in 0..record.offset % 4 {
            tokio::task::yield_now().await;
        }
        Outcome::Done
    });
    // Dropped after ever more of its work: while joining, fetching, handling, committing.
    for calls in [0, 1, 30, 100, 200, 300] {
        let running = Running::start(
            world.consumer().commit_interval(Duration::from_millis(1)),
            handler.clone(),
        );
        handler.until_calls(calls).await;
        running.crash().await;
        let done: HashSet<_> = handler
            .calls()
            .iter()
            .map(|call| (call.partition, call.offset))
            .collect();
        for (partition, (offset, _)) in world.committed().await {
            for below in 0..offset {
                assert!(
                    done.contains(&(partition, below)),
                    "{partition} committed {offset} without {below}"
                );
            }
        }
    }
    let running = Running::start(world.consumer(), handler.clone());
    running
        .until("the end", |stats| {
            stats.partitions.len() == 2 && stats.partitions.iter().all(|p| p.committed == Some(400))
        })
        .await;
    assert!(running.stop().await.is_clean());
    let done: HashSet<_> = handler
        .calls()
        .iter()
        .map(|call| (call.partition, call.offset))
        .collect();
    assert_eq!(done.len(), 800);
    let _ = PATIENCE;
}

#[tokio::test]
async fn the_record_sent_ahead_after_a_pause_may_lose_its_partition() {
    let world = World::own(1).await;
    world.send(0, "a", "1").await;
    let (calls, ahead) = (Arc::new(AtomicUsize::new(0)), Latch::new());
    let handler = Scripted::new({
        let ahead = ahead.clone();
        move |_| {
            let (call, ahead) = (calls.fetch_add(1, Ordering::SeqCst), ahead.clone());
            async move {
                if call == 1 {
                    ahead.opened().await;
                }
                if call < 2 {
                    Outcome::Unavailable("the database is away".into())
                } else {
                    Outcome::Done
                }
            }
        }
    });
    let builder = world
        .consumer()
        .heartbeat_interval(Duration::from_millis(100));
    let running = Running::start(builder, handler.clone());
    // The first call pauses the consumer, the second is sent ahead.
    handler.until_calls(2).await;
    let heartbeats = world.kafka.faults().on(ApiKey::Heartbeat).times(1);
    heartbeats.error(ResponseError::UnknownMemberId).hit().await;
    running
        .until("joined again", |stats| stats.rebalances >= 2)
        .await;
    ahead.open();
    handler.until_calls(3).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 1);
}
