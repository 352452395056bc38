//! Static members (KIP-345): who was killed and is back takes up its partitions at once, one name has one member, and
//! who ends in order leaves.

#[path = "support/consumer.rs"]
mod support;

use std::time::{Duration, Instant};

use kafka::{ConsumerBuilder, ConsumerError, ConsumerStats, GroupError, StaticMember};
use support::{Killable, Running, Scripted, World, until};

/// Kafka's defaults: what a member that is not known again would wait for.
const SESSION: Duration = Duration::from_secs(45);
const HEARTBEAT: Duration = Duration::from_secs(3);

fn as_default(builder: ConsumerBuilder, name: &str) -> ConsumerBuilder {
    builder
        .static_member(Some(StaticMember::derived(name, "a test")))
        .session_timeout(SESSION)
        .heartbeat_interval(HEARTBEAT)
}

fn names(stats: &ConsumerStats) -> Vec<String> {
    stats
        .partitions
        .iter()
        .map(|partition| partition.partition.to_string())
        .collect()
}

#[tokio::test]
async fn who_was_killed_gets_its_partitions_back_at_once() {
    let world = World::new(4).await;
    let start = |name: &'static str, handler: &Scripted| {
        Killable::start(&world, handler.clone(), |builder| as_default(builder, name))
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
    a.kill();
    for partition in 0..4 {
        world.send_all(partition, 0..10, |n| n.to_string()).await;
    }
    two.until_calls(20).await;
    let begin = Instant::now();
    let a = start("one", &again);
    again.until_calls(1).await;
    let first = begin.elapsed();
    again.until_calls(20).await;
    a.until_assigned(2).await;
    let after = a.stats.snapshot();
    println!("the killed leader's first record after {first:?}");
    assert_eq!(names(&after), names(&before));
    assert_ne!(after.member_id, before.member_id);
    assert_eq!(
        (after.generation, after.rebalances, &after.fenced),
        (settled.generation, 1, &None)
    );
    let now = b.stats.snapshot();
    assert_eq!(
        (now.generation, now.rebalances),
        (settled.generation, settled.rebalances),
        "nobody noticed"
    );

    // The other one.
    b.kill();
    let begin = Instant::now();
    let b = start("two", &two);
    for partition in 0..4 {
        world.send_all(partition, 0..10, |n| n.to_string()).await;
    }
    two.until_calls(21).await;
    println!(
        "the killed follower's first record after {:?}",
        begin.elapsed()
    );
    two.until_calls(40).await;
    assert_eq!(b.stats.snapshot().generation, settled.generation);
}

#[tokio::test]
async fn who_was_killed_and_is_back_with_a_further_topic_reads_it() {
    let world = World::new(1).await;
    let further = testkit::unique("further");
    world.kafka.create_topic(&further, 2).await;
    let handler = Scripted::done();
    let a = Killable::start(&world, handler.clone(), |builder| {
        as_default(builder, "one")
    });
    a.until_assigned(1).await;
    a.kill();
    let topics = [world.topic.clone(), further.clone()];
    let a = Killable::start(&world, handler, |builder| {
        as_default(builder, "one").topics(&topics)
    });
    a.until_assigned(3).await;
}

#[tokio::test]
async fn who_ends_in_order_leaves_its_partitions_to_the_others_at_once() {
    let world = World::new(2).await;
    let start = |name: &str| {
        Running::start(
            as_default(world.consumer(), name).heartbeat_interval(Duration::from_millis(200)),
            Scripted::done(),
        )
    };
    let a = start("one");
    a.until_assigned(2).await;
    let b = start("two");
    a.until_assigned(1).await;
    b.until_assigned(1).await;
    a.stop().await;
    b.until_assigned(2).await;
    let group = world.client.admin().describe_groups(&[&world.group]).await;
    let members = &group.expect("a description")[0].members;
    let instances: Vec<_> = members
        .iter()
        .map(|m| m.group_instance_id.as_deref())
        .collect();
    assert_eq!(instances, [Some("two")]);
    b.stop().await;
}

#[tokio::test]
async fn a_second_member_of_a_configured_name_ends_the_first() {
    let world = World::new(2).await;
    let builder = || {
        let member = StaticMember::configured("same");
        world.consumer().static_member(Some(member))
    };
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

#[tokio::test]
async fn a_second_member_of_a_derived_name_makes_the_first_go_on_without_it() {
    let world = World::new(2).await;
    let start = || {
        let member = StaticMember::derived("same", "a copied folder");
        let builder = world.consumer().static_member(Some(member.clone()));
        (Running::start(builder, Scripted::done()), member)
    };
    let (a, member) = start();
    a.until_assigned(2).await;
    let (b, _) = start();
    a.until("fenced", |stats| stats.fenced.is_some()).await;
    a.until_assigned(1).await;
    b.until_assigned(1).await;
    assert_eq!(b.stats.snapshot().fenced, None);
    assert_eq!(a.stats.snapshot().fenced.as_ref(), Some(&member));
    // The process begins a new consumer of the group: it does not fight for the name.
    let before = b.stats.snapshot().member_id.clone();
    a.stop().await;
    b.until_assigned(2).await;
    let builder = world.consumer().static_member(Some(member));
    let a = Running::start(builder, Scripted::done());
    until(&a.stats, "a member again", |stats| {
        stats.partitions.len() == 1
    })
    .await;
    b.until_assigned(1).await;
    let now = b.stats.snapshot();
    assert_eq!((&now.member_id, &now.fenced), (&before, &None));
    a.stop().await;
    b.stop().await;
}
