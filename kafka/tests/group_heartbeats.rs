//! Heartbeats go on whatever else takes its time.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use broker::{ApiKey, Fault};
use kafka::{Client, Outcome};
use support::{Latch, PATIENCE, Running, Scripted, World, client};

const HEARTBEAT: Duration = Duration::from_millis(50);

fn named(world: &World, name: &str) -> Client {
    client(&world.kafka, |config| config.client_id = name.to_owned())
}

/// Counts a client's heartbeats.
fn heartbeats(world: &World, name: &str) -> Fault {
    let rule = world.kafka.faults().on(ApiKey::Heartbeat).client_id(name);
    rule.always().delay(Duration::ZERO)
}

async fn more(heartbeats: &Fault, count: u64) {
    let hit = heartbeats.hit_times(heartbeats.hits() + count);
    tokio::time::timeout(PATIENCE, hit)
        .await
        .expect("heartbeats");
}

#[tokio::test]
async fn a_handler_slower_than_the_session_keeps_its_partition() {
    let world = World::own(1).await;
    world.send(0, "k", "v").await;
    let latch = Latch::new();
    let handler = {
        let latch = latch.clone();
        Scripted::new(move |_| {
            let latch = latch.clone();
            async move {
                latch.opened().await;
                Outcome::Done
            }
        })
    };
    let client = named(&world, "slow");
    let counted = heartbeats(&world, "slow");
    let session = Duration::from_millis(500);
    let builder = world
        .consumer_of(&client)
        .session_timeout(session)
        .heartbeat_interval(HEARTBEAT);
    let running = Running::start(builder, handler.clone());
    handler.until_calls(1).await;
    let generation = running.stats.snapshot().generation;
    // Twice the session.
    more(&counted, 20).await;
    latch.open();
    testkit::eventually(PATIENCE, || async {
        (world.committed().await.get(&0)?.0 == 1).then_some(())
    })
    .await;
    assert_eq!(running.stats.snapshot().generation, generation);
    running.stop().await;
    assert_eq!(handler.calls().len(), 1);
}

#[tokio::test]
async fn a_rebalance_that_waits_for_others_stops_neither_heartbeats_nor_handling() {
    let world = World::own(4).await;
    let (first, second) = (named(&world, "first"), named(&world, "second"));
    let counted = heartbeats(&world, "first");
    let handler = Scripted::done();
    let builder = |client| world.consumer_of(client).heartbeat_interval(HEARTBEAT);
    let a = Running::start(builder(&first), handler.clone());
    let b = Running::start(builder(&second), Scripted::done());
    a.until_assigned(2).await;
    b.until_assigned(2).await;
    // The second one does not come back when the third joins, so the first one's JoinGroup waits.
    let held_up = world
        .kafka
        .faults()
        .on(ApiKey::JoinGroup)
        .client_id("second")
        .always()
        .swallow();
    let c = Running::start(world.consumer(), Scripted::done());
    tokio::time::timeout(PATIENCE, held_up.hit())
        .await
        .expect("the rebalance");
    a.until("the first one waits", |stats| stats.membership == "joining")
        .await;
    more(&counted, 5).await;
    let owned = a.stats.snapshot().partitions.clone();
    assert_eq!(owned.len(), 2, "cooperative members keep what they own");
    let partition = owned[0].partition.partition;
    let offset = world.send(partition, "k", "during the rebalance").await;
    handler
        .until("the record", |calls| {
            calls
                .iter()
                .any(|call| (call.partition, call.offset) == (partition, offset))
        })
        .await;
    assert_eq!(a.stats.snapshot().membership, "joining");
    a.stop().await;
    c.stop().await;
    b.stop().await;
}
