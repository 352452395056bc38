//! Static members (KIP-345): a restart moves nothing, and one name has one member.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use kafka::{ConsumerError, GroupError};
use support::{Running, Scripted, World};

#[tokio::test]
async fn a_restart_gets_its_partitions_back_without_a_rebalance() {
    let world = World::new(4).await;
    let start = |name: &str, handler: &Scripted| {
        let builder = world
            .consumer()
            .group_instance_id(Some(name))
            .session_timeout(Duration::from_secs(30));
        Running::start(builder, handler.clone())
    };
    let (one, again, two) = (Scripted::done(), Scripted::done(), Scripted::done());
    // The first to join leads; so both a leader and a follower are restarted.
    let a = start("one", &one);
    a.until_assigned(4).await;
    let b = start("two", &two);
    a.until_assigned(2).await;
    b.until_assigned(2).await;
    let settled = b.stats.snapshot();
    let before = a.stats.snapshot();
    a.stop().await;
    for partition in 0..4 {
        world.send_all(partition, 0..10, |n| n.to_string()).await;
    }
    two.until_calls(20).await;
    let a = start("one", &again);
    a.until_assigned(2).await;
    again.until_calls(20).await;
    let after = a.stats.snapshot();
    let names = |stats: &kafka::ConsumerStats| -> Vec<_> {
        stats
            .partitions
            .iter()
            .map(|partition| partition.partition.clone())
            .collect()
    };
    assert_eq!(names(&after), names(&before));
    assert_ne!(after.member_id, before.member_id);
    let now = b.stats.snapshot();
    assert_eq!(
        (now.generation, now.rebalances),
        (settled.generation, settled.rebalances),
        "nobody noticed"
    );
    assert_eq!(after.generation, settled.generation);

    // The other one.
    b.stop().await;
    let b = start("two", &two);
    b.until_assigned(2).await;
    assert_eq!(b.stats.snapshot().generation, settled.generation);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_second_member_of_the_same_name_ends_the_first() {
    let world = World::new(2).await;
    let builder = || world.consumer().group_instance_id(Some("same"));
    let a = Running::start(builder(), Scripted::done());
    a.until_assigned(2).await;
    let b = Running::start(builder(), Scripted::done());
    let error = a.ended().await.unwrap_err();
    assert!(
        matches!(
            error,
            ConsumerError::Group(GroupError::FencedInstance { .. })
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("KAFKA_GROUP_INSTANCE_ID"),
        "{error}"
    );
    b.until_assigned(2).await;
    b.stop().await;
}
