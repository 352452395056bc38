//! A subscribed topic that is deleted: what the group has of other topics goes on, is committed and changes owners.

#[path = "support/consumer.rs"]
mod support;

use std::time::{Duration, Instant};

use kafka::{Assignor, ConsumerBuilder, OutgoingRecord};
use support::{PATIENCE, Running, Scripted, World};

/// Longer than any test: nothing is committed but what a revocation or the end of the consumer commits.
const NEVER: Duration = Duration::from_secs(3600);

/// A group on two topics, one of which is about to be deleted.
struct Two {
    world: World,
    doomed: String,
}

impl Two {
    async fn new(partitions: i32) -> Self {
        let world = World::new(partitions).await;
        let doomed = testkit::unique("doomed");
        world.kafka.create_topic(&doomed, 1).await;
        Self { world, doomed }
    }

    fn consumer(&self) -> ConsumerBuilder {
        let topics = [&self.world.topic, &self.doomed];
        self.world.consumer().topics(topics).commit_interval(NEVER)
    }

    async fn send_doomed(&self) {
        let record = OutgoingRecord {
            topic: &self.doomed,
            key: Some(b"key"),
            value: Some(b"value"),
            ..Default::default()
        };
        self.world
            .producer
            .send(&record)
            .await
            .expect("it is taken");
    }

    /// Returns once no broker knows it any more.
    async fn delete(&self) {
        let admin = self.world.client.admin();
        let doomed = [&*self.doomed];
        admin.delete_topics(&doomed).await.expect("it is deleted");
        testkit::eventually(PATIENCE, async || {
            let described = admin.describe_topics(&doomed).await;
            described.is_ok_and(|found| found.is_empty()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_last_commit_stores_the_other_topics_offsets() {
    let two = Two::new(1).await;
    let handler = Scripted::done();
    let running = Running::start(two.consumer(), handler.clone());
    running.until_assigned(2).await;
    two.send_doomed().await;
    two.world.send_all(0, 0..20, |n| n.to_string()).await;
    handler.until_calls(21).await;
    two.delete().await;
    let begun = Instant::now();
    let report = running.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // Nothing of a topic that is gone is delivered again.
    assert_eq!(report.uncommitted, []);
    assert_eq!(two.world.committed().await[&0].0, 20);
}

#[tokio::test]
async fn commits_of_the_other_topics_go_on() {
    let two = Two::new(1).await;
    let interval = Duration::from_secs(2);
    let handler = Scripted::done();
    let running = Running::start(two.consumer().commit_interval(interval), handler.clone());
    running.until_assigned(2).await;
    two.send_doomed().await;
    handler.until_calls(1).await;
    two.delete().await;
    for count in [10, 20] {
        two.world
            .send_all(0, count - 10..count, |n| n.to_string())
            .await;
        let begun = Instant::now();
        running
            .until("the commit", |stats| {
                let of = stats
                    .partitions
                    .iter()
                    .find(|of| *of.partition.topic == *two.world.topic);
                of.is_some_and(|of| of.committed == Some(count as i64))
            })
            .await;
        assert!(begun.elapsed() < interval * 4, "{:?}", begun.elapsed());
    }
    running.stop().await;
}

async fn a_joining_member_gets_its_part(assignor: Assignor) {
    let two = Two::new(2).await;
    let builder = || {
        let patient = Duration::from_secs(300);
        two.consumer()
            .assignors([assignor])
            .rebalance_timeout(patient)
    };
    let first = Scripted::done();
    let one = Running::start(builder(), first.clone());
    one.until_assigned(3).await;
    two.send_doomed().await;
    two.world.send(0, "key", "before").await;
    first.until_calls(2).await;
    two.delete().await;
    let second = Scripted::done();
    let other = Running::start(builder(), second.clone());
    other
        .until("a partition", |stats| stats.partitions.len() == 1)
        .await;
    one.until("the rest", |stats| stats.partitions.len() == 1)
        .await;
    for partition in 0..2 {
        two.world.send(partition, "key", "after").await;
    }
    let after = |calls: &[support::Seen]| calls.iter().any(|call| call.value() == "after");
    first.until("its record", after).await;
    second.until("its record", after).await;
    one.stop().await;
    other.stop().await;
    let again = [first.calls(), second.calls()].concat();
    let again = again.iter().filter(|call| call.value() == "before");
    assert_eq!(
        again.count(),
        1,
        "it was committed before it changed owners"
    );
}

#[tokio::test]
async fn a_joining_member_of_an_eager_group_gets_its_part() {
    a_joining_member_gets_its_part(Assignor::Range).await;
}

#[tokio::test]
async fn a_joining_member_of_a_cooperative_group_gets_its_part() {
    a_joining_member_gets_its_part(Assignor::CooperativeSticky).await;
}
