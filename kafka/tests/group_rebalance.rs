//! Members that come and go: every partition has one owner, nothing is lost, and nothing that stays is disturbed.

#[path = "support/consumer.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka::{Assignor, ConsumerError, GroupError, Outcome};
use support::{Latch, Running, Scripted, Seen, World};

fn partitions_of(running: &Running) -> BTreeSet<i32> {
    running
        .stats
        .snapshot()
        .partitions
        .iter()
        .map(|partition| partition.partition.partition)
        .collect()
}

/// How often each record was handled, by partition and offset.
fn times(handlers: &[&Scripted]) -> BTreeMap<(i32, i64), usize> {
    let mut times = BTreeMap::new();
    for seen in handlers.iter().flat_map(|handler| handler.calls()) {
        *times.entry((seen.partition, seen.offset)).or_default() += 1;
    }
    times
}

async fn members_come_and_go(assignor: Assignor) {
    let world = World::new(6).await;
    let start = |handler: &Scripted| {
        let builder = world.consumer().assignors([assignor]);
        Running::start(builder, handler.clone())
    };
    let (one, two, three) = (Scripted::done(), Scripted::done(), Scripted::done());
    let mut sent = 0;
    let send = |from: usize| {
        let world = &world;
        async move {
            for partition in 0..6 {
                world
                    .send_all(partition, from..from + 50, |n| n.to_string())
                    .await;
            }
        }
    };

    let a = start(&one);
    a.until_assigned(6).await;
    send(sent).await;
    sent += 50;
    let b = start(&two);
    a.until_assigned(3).await;
    b.until_assigned(3).await;
    send(sent).await;
    sent += 50;
    let c = start(&three);
    for member in [&a, &b, &c] {
        member.until_assigned(2).await;
    }
    let owners: Vec<_> = [&a, &b, &c].into_iter().flat_map(partitions_of).collect();
    assert_eq!(
        owners.iter().collect::<BTreeSet<_>>().len(),
        6,
        "{owners:?}"
    );
    send(sent).await;
    sent += 50;
    b.stop().await;
    a.until_assigned(3).await;
    c.until_assigned(3).await;
    send(sent).await;
    sent += 50;
    let handlers = [&one, &two, &three];
    testkit::eventually(support::PATIENCE, || async {
        (times(&handlers).len() == 6 * sent).then_some(())
    })
    .await;
    a.stop().await;
    c.stop().await;
    let twice: Vec<_> = times(&handlers)
        .into_iter()
        .filter(|(_, times)| *times != 1)
        .collect();
    assert!(
        twice.is_empty(),
        "orderly rebalances run nothing twice: {twice:?}"
    );
    let committed = world.committed().await;
    assert!(
        committed.len() == 6 && committed.values().all(|(offset, _)| *offset == sent as i64),
        "{committed:?}"
    );
}

#[tokio::test]
async fn members_come_and_go_cooperatively() {
    members_come_and_go(Assignor::CooperativeSticky).await;
}

#[tokio::test]
async fn members_come_and_go_by_range() {
    members_come_and_go(Assignor::Range).await;
}

#[tokio::test]
async fn members_come_and_go_in_turn() {
    members_come_and_go(Assignor::RoundRobin).await;
}

/// Holds every record until the latch opens, except where the key says `free`.
fn holding(latch: &Latch) -> Scripted {
    let latch = latch.clone();
    Scripted::new(move |record| {
        let latch = latch.clone();
        async move {
            if record.key.as_deref() != Some(b"free") {
                latch.opened().await;
            }
            Outcome::Done
        }
    })
}

#[tokio::test]
async fn what_stays_is_not_disturbed() {
    let world = World::new(2).await;
    let latch = Latch::new();
    let (one, two) = (holding(&latch), Scripted::done());
    for partition in 0..2 {
        world
            .send(partition, &format!("held-{partition}"), "0")
            .await;
    }
    let a = Running::start(
        world
            .consumer()
            .revocation_drain(Duration::from_millis(200)),
        one.clone(),
    );
    one.until_calls(2).await;
    let b = Running::start(world.consumer(), two.clone());
    b.until_assigned(1).await;
    a.until_assigned(1).await;
    let (stays, moves) = (partitions_of(&a), partitions_of(&b));
    // The record of the partition that moved is run again by its new owner, the other one is not.
    let again = two.until_calls(1).await;
    assert_eq!(BTreeSet::from([again[0].partition]), moves);
    latch.open();
    let kept = *stays.first().unwrap();
    testkit::eventually(support::PATIENCE, || async {
        (world.committed().await.get(&kept)?.0 == 1).then_some(())
    })
    .await;
    a.stop().await;
    b.stop().await;
    assert_eq!(one.calls().len(), 2, "the kept record ran once");
}

#[tokio::test]
async fn results_of_a_revoked_partition_are_dropped_after_the_drain() {
    let world = World::new(1).await;
    let (latch, other_latch) = (Latch::new(), Latch::new());
    let (one, two) = (holding(&latch), holding(&other_latch));
    world.send(0, "held", "0").await;
    let eager = || {
        world
            .consumer()
            .assignors([Assignor::RoundRobin])
            .revocation_drain(Duration::from_millis(200))
    };
    let a = Running::start(eager(), one.clone());
    one.until_calls(1).await;
    // A second member makes the first let go of everything; afterwards one of them has the partition.
    let b = Running::start(eager(), two.clone());
    let all = |handlers: [&Scripted; 2]| -> Vec<Seen> {
        handlers.into_iter().flat_map(Scripted::calls).collect()
    };
    testkit::eventually(support::PATIENCE, || async {
        // Where the partition stays with the first member, its key is busy until the old flight ends.
        let moved = partitions_of(&a).is_empty() && all([&one, &two]).len() == 2;
        let stayed = a.stats.snapshot().rebalances >= 2 && partitions_of(&a).len() == 1;
        (moved || stayed).then_some(())
    })
    .await;
    let moved = partitions_of(&a).is_empty();
    latch.open();
    if moved {
        // The first flight has ended: its result must not be committed, since the second one still runs.
        testkit::eventually(support::PATIENCE, || async {
            let topics = a.stats.snapshot().topics.clone();
            topics
                .iter()
                .any(|topic| topic.outcomes.abandoned == 1)
                .then_some(())
        })
        .await;
        assert_eq!(world.committed().await[&0].0, 0);
    }
    other_latch.open();
    testkit::eventually(support::PATIENCE, || async {
        (world.committed().await[&0].0 == 1).then_some(())
    })
    .await;
    a.stop().await;
    b.stop().await;
    assert_eq!(
        all([&one, &two]).len(),
        2,
        "once before and once after the rebalance"
    );
}

#[tokio::test]
async fn a_member_whose_future_is_dropped_is_replaced_at_once() {
    let world = World::new(2).await;
    world.send_all(0, 0..10, |n| n.to_string()).await;
    let (one, two) = (Scripted::done(), Scripted::done());
    // A session so long that the test would fail if it had to end.
    let builder = || world.consumer().session_timeout(Duration::from_secs(60));
    let a = Running::start(builder(), one.clone());
    a.until_assigned(2).await;
    one.until_calls(10).await;
    a.crash().await;
    let b = Running::start(builder(), two.clone());
    b.until_assigned(2).await;
    b.stop().await;
}

#[tokio::test]
async fn a_group_without_a_common_strategy_says_what_to_set() {
    let world = World::new(2).await;
    let a = Running::start(
        world.consumer().assignors([Assignor::Range]),
        Scripted::done(),
    );
    a.until_assigned(2).await;
    let b = Running::start(world.consumer(), Scripted::done());
    let error = b.ended().await.unwrap_err();
    assert!(
        matches!(
            error,
            ConsumerError::Group(GroupError::NoCommonAssignor { .. })
        ),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("KAFKA_ASSIGNMENT_STRATEGY") && text.contains(&world.group),
        "{text}"
    );
    // The group goes on.
    a.until_assigned(2).await;
    a.stop().await;
}

#[tokio::test]
async fn a_group_that_refuses_a_member_is_joined_once_it_can_be() {
    let world = World::new(2).await;
    let a = Running::start(
        world.consumer().assignors([Assignor::Range]),
        Scripted::done(),
    );
    a.until_assigned(2).await;
    let pause = Duration::from_millis(200);
    let b = Running::start(world.consumer().retry_refused(pause), Scripted::done());
    let stats = b
        .until("the refusal", |stats| stats.group_problem.is_some())
        .await;
    let problem = stats.group_problem.clone().unwrap_or_default();
    assert!(
        problem.contains("KAFKA_ASSIGNMENT_STRATEGY") && problem.contains(&world.group),
        "{problem}"
    );
    // The group goes on.
    a.until_assigned(2).await;
    a.stop().await;
    b.until_assigned(2).await;
    assert_eq!(b.stats.snapshot().group_problem, None);
    b.stop().await;
}

#[tokio::test]
async fn a_common_strategy_is_found_among_several() {
    let world = World::new(2).await;
    let a = Running::start(
        world
            .consumer()
            .assignors([Assignor::Range, Assignor::RoundRobin]),
        Scripted::done(),
    );
    let b = Running::start(
        world.consumer().assignors([Assignor::RoundRobin]),
        Scripted::done(),
    );
    a.until_assigned(1).await;
    b.until_assigned(1).await;
    assert_eq!(b.stats.snapshot().assignor.as_deref(), Some("roundrobin"));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn members_with_different_topics_share_what_both_read() {
    let world = World::new(2).await;
    let other = testkit::unique("other");
    world.kafka.create_topic(&other, 3).await;
    let a = Running::start(world.consumer(), Scripted::done());
    a.until_assigned(2).await;
    let b = Running::start(
        world.consumer().topics([&world.topic, &other]),
        Scripted::done(),
    );
    // b alone may have the three of the other topic, so a keeps its two.
    b.until_assigned(3).await;
    a.until_assigned(2).await;
    assert!(
        b.stats
            .snapshot()
            .partitions
            .iter()
            .all(|partition| *partition.partition.topic == *other)
    );
    a.stop().await;
    b.until_assigned(5).await;
    b.stop().await;
}
