//! What is committed, when, and what a restart makes of it.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use kafka::{AutoOffsetReset, Outcome, ResponseError, RetryPolicy};
use support::{Running, Scripted, World, client};

#[tokio::test]
async fn a_restart_goes_on_behind_the_last_handled_record() {
    let world = World::new(2).await;
    world.send_all(0, 0..100, |n| n.to_string()).await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(100).await;
    running.stop().await;
    let committed = world.committed().await;
    assert_eq!(
        (committed[&0].0, committed[&1].0),
        (100, 0),
        "the next offset, and the start of what has no records"
    );

    world.send(0, "k", "next").await;
    let again = Scripted::done();
    let running = Running::start(world.consumer(), again.clone());
    let calls = again.until_calls(1).await;
    running.stop().await;
    assert_eq!(calls[0].offset, 100);
    assert_eq!(again.calls().len(), 1);
}

#[tokio::test]
async fn a_waiting_key_does_not_make_what_is_behind_it_run_twice() {
    let world = World::new(1).await;
    world.send(0, "stubborn", "0").await;
    world.send_all(0, 1..3000, |n| format!("key-{n}")).await;
    let handler = Scripted::new(|record| async move {
        if record.key.as_deref() == Some(b"stubborn") {
            Outcome::Retry("not now".into())
        } else {
            Outcome::Done
        }
    });
    let patient = RetryPolicy {
        max_attempts: 1000,
        backoff: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
    };
    let running = Running::start(world.consumer().retry(patient), handler.clone());
    handler.until_calls(3000).await;
    running.stop().await;
    let (offset, metadata) = world.committed().await[&0].clone();
    assert_eq!(offset, 0);
    // 1 not done, 2999 done, of the leader's first epoch, in the group's first generation.
    let first = ["k1;B39C;e0;g1", "k1;B39C;e1;g1"];
    assert!(first.contains(&&*metadata), "{metadata}");

    let again = Scripted::done();
    let running = Running::start(world.consumer(), again.clone());
    again.until_calls(1).await;
    let last = world.send(0, "last", "x").await;
    let calls = again.until_calls(2).await;
    running.stop().await;
    let offsets: Vec<_> = calls.iter().map(|call| call.offset).collect();
    assert_eq!(offsets, [0, last]);
    assert_eq!(world.committed().await[&0], (last + 1, String::new()));
}

#[tokio::test]
async fn the_start_position_is_committed_on_assignment() {
    let world = World::new(2).await;
    world.send_all(0, 0..7, |n| n.to_string()).await;
    let builder = world
        .consumer()
        .auto_offset_reset(AutoOffsetReset::Latest)
        .commit_interval(Duration::from_secs(3600));
    let handler = Scripted::done();
    let running = Running::start(builder, handler.clone());
    testkit::eventually(support::PATIENCE, || async {
        let committed = world.committed().await;
        (committed.get(&0)?.0 == 7 && committed.get(&1)?.0 == 0).then_some(())
    })
    .await;
    running.stop().await;
    assert!(handler.calls().is_empty());
}

#[tokio::test]
async fn a_partition_that_appears_later_starts_at_its_first_record() {
    let world = World::new(1).await;
    world.send_all(0, 0..5, |n| n.to_string()).await;
    let watchful = client(&world.kafka, |config| {
        config.metadata_max_age = Duration::from_millis(200)
    });
    let handler = Scripted::done();
    let builder = world
        .consumer_of(&watchful)
        .auto_offset_reset(AutoOffsetReset::Latest);
    let running = Running::start(builder, handler.clone());
    running.until_assigned(1).await;
    world
        .client
        .admin()
        .create_partitions(&world.topic, 2)
        .await
        .expect("one more partition");
    let writer = client(&world.kafka, |config| {
        config.metadata_max_age = Duration::from_millis(50)
    });
    let producer = writer.producer().build().expect("a good configuration");
    testkit::eventually(support::PATIENCE, || async {
        let record = kafka::OutgoingRecord {
            topic: &world.topic,
            partition: Some(1),
            key: None,
            value: Some(b"early"),
            headers: &[],
            timestamp: None,
        };
        producer
            .send(&record)
            .await
            .ok()
            .filter(|place| place.offset >= 20)
    })
    .await;
    handler
        .until("the records from 0 on", |calls| {
            calls.iter().filter(|call| call.partition == 1).count() > 20
        })
        .await;
    running.stop().await;
    let calls = handler.calls();
    assert!(
        calls.iter().all(|call| call.partition == 1),
        "the policy holds for what was there"
    );
    assert!(calls.iter().any(|call| call.offset == 0));
}

/// Runs with faults; everything ends committed.
async fn commits_in_the_end(world: &World, handler: &Scripted, calls: usize) {
    world.send_all(0, 0..50, |n| n.to_string()).await;
    let running = Running::start(world.consumer(), handler.clone());
    handler.until_calls(calls).await;
    testkit::eventually(support::PATIENCE, || async {
        (world.committed().await.get(&0)?.0 == 50).then_some(())
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn a_commit_during_a_rebalance_is_made_again() {
    let world = World::own(1).await;
    let fault = world
        .kafka
        .faults()
        .on(broker::ApiKey::OffsetCommit)
        .times(2)
        .error(ResponseError::RebalanceInProgress);
    let handler = Scripted::done();
    commits_in_the_end(&world, &handler, 50).await;
    assert_eq!(fault.hits(), 2);
    assert_eq!(
        handler.calls().len(),
        50,
        "nothing is lost, so nothing runs twice"
    );
}

#[tokio::test]
async fn a_commit_of_a_generation_that_is_over_is_dropped_and_the_group_joined_again() {
    for error in [
        ResponseError::IllegalGeneration,
        ResponseError::UnknownMemberId,
    ] {
        let world = World::own(1).await;
        let handler = Scripted::done();
        // The first commit is that of the start position.
        let fault = world
            .kafka
            .faults()
            .on(broker::ApiKey::OffsetCommit)
            .skip(1)
            .error(error);
        commits_in_the_end(&world, &handler, 50).await;
        assert_eq!(fault.hits(), 1);
        assert!(
            handler.calls().len() > 50,
            "what was not committed runs again"
        );
    }
}

#[tokio::test]
async fn a_coordinator_error_on_a_commit_is_survived() {
    for error in [
        ResponseError::NotCoordinator,
        ResponseError::CoordinatorNotAvailable,
        ResponseError::CoordinatorLoadInProgress,
        ResponseError::UnknownTopicOrPartition,
    ] {
        let world = World::own(1).await;
        let handler = Scripted::done();
        let fault = world
            .kafka
            .faults()
            .on(broker::ApiKey::OffsetCommit)
            .times(2)
            .error(error);
        commits_in_the_end(&world, &handler, 50).await;
        assert_eq!(fault.hits(), 2);
        assert_eq!(handler.calls().len(), 50);
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_commit_is_survived() {
    let world = World::own(1).await;
    let handler = Scripted::done();
    let fault = world
        .kafka
        .faults()
        .on(broker::ApiKey::OffsetCommit)
        .times(2)
        .lose_acknowledgement();
    commits_in_the_end(&world, &handler, 50).await;
    assert_eq!(fault.hits(), 2);
    assert_eq!(handler.calls().len(), 50);
}

#[tokio::test]
async fn metadata_that_the_broker_refuses_is_left_out() {
    let world = World::own(1).await;
    let handler = Scripted::new(|record| async move {
        if record.offset == 0 {
            Outcome::Retry("not now".into())
        } else {
            Outcome::Done
        }
    });
    world.send_all(0, 0..50, |n| n.to_string()).await;
    let slow = RetryPolicy {
        max_attempts: 1000,
        backoff: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
    };
    let fault = world
        .kafka
        .faults()
        .on(broker::ApiKey::OffsetCommit)
        .skip(1)
        .error(ResponseError::OffsetMetadataTooLarge);
    let running = Running::start(
        world
            .consumer()
            .retry(slow)
            .commit_interval(Duration::from_secs(3600)),
        handler.clone(),
    );
    handler.until_calls(50).await;
    running.stop().await;
    assert_eq!(fault.hits(), 1);
    assert_eq!(world.committed().await[&0], (0, String::new()));
}
