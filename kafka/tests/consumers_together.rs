//! Several consumers of one client.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use support::{Running, Scripted, World};

#[tokio::test]
async fn one_that_waits_for_records_holds_up_no_other() {
    // How long a broker may sit on a poll; far beyond what five records take.
    const POLL: Duration = Duration::from_secs(25);
    let world = World::new(1).await;
    let (idle_topic, idle_group) = (testkit::unique("topic"), testkit::unique("group"));
    world.kafka.create_topic(&idle_topic, 1).await;
    let idle = world
        .client
        .consumer(&idle_group)
        .topics([&idle_topic])
        .discard_rejected()
        .fetch_max_wait(POLL);
    let idle = Running::start(idle, Scripted::done());
    idle.until_assigned(1).await;
    let handler = Scripted::done();
    let busy = Running::start(world.consumer().fetch_max_wait(POLL), handler.clone());
    busy.until_assigned(1).await;

    let five = async {
        for count in 1..=5 {
            world.send(0, "a", "value").await;
            handler.until_calls(count).await;
        }
    };
    tokio::time::timeout(POLL, five)
        .await
        .expect("within the other's poll");
    idle.stop().await;
    busy.stop().await;
}
