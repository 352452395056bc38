//! Three nodes of Apache Kafka, with three replicas of everything, two of which have to be in sync.

use std::time::Duration;

use kafka::{OffsetAt, TopicPartition};
use testkit::eventually;

use super::{again, settled};
use crate::checker::Verdict;
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// How long a cluster may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(180);

/// One node after another is killed under load, the next once the one before is back and in sync.
/// Orders go on without it.
pub async fn nodes_killed(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::cluster().await).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        let node = 1 + round % 3;
        shop.fault(format!("node {node} killed"));
        shop.stage.nodes().kill(node);
        again(&mut load).await;
        shop.stage.nodes().restart(node).await;
        in_sync(&mut shop).await;
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

/// A node ends in order, which moves its leaderships to others; once it is back, the controller moves
/// them back.
pub async fn leaders_moved(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::cluster().await).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        let node = 1 + round % 3;
        shop.fault(format!("node {node} ended, leaders moved and moved back"));
        shop.stage.nodes().stop(node).await;
        again(&mut load).await;
        shop.stage.nodes().restart(node).await;
        in_sync(&mut shop).await;
        again(&mut load).await;
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

/// Partitions are added to both topics of orders while orders flow; they are used, and what lies in
/// them is processed from its first record.
pub async fn partitions_added(run: Run) -> Verdict {
    const ADDED: i32 = 2;
    let flags = [("kafka-metadata-max-age", "1s")];
    let mut shop = Shop::open_with(Stage::cluster().await, &flags).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    let admin = shop.client.admin().with_timeout(PATIENCE);
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault("partitions added");
        let topics = [&shop.names.orders, &shop.names.snake_orders].map(String::as_str);
        let described = admin.describe_topics(&topics).await.expect("topics");
        let mut added = Vec::new();
        for topic in described {
            let before = topic.partitions.len() as i32;
            let created = admin.create_partitions(&topic.name, before + ADDED).await;
            created.expect("partitions can be added");
            let new = before..before + ADDED;
            added.extend(new.map(|partition| TopicPartition::new(topic.name.clone(), partition)));
        }
        eventually(PATIENCE, || async {
            let ends = admin.offsets(&added, OffsetAt::Latest).await.ok()?;
            (ends.len() == added.len() && ends.values().all(|end| *end > 0)).then_some(())
        })
        .await;
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

/// Waits until no replica lags behind, and each partition has its first replica as leader again.
async fn in_sync(shop: &mut Shop) {
    let topics = [
        &shop.names.orders,
        &shop.names.snake_orders,
        &shop.names.statuses,
        &shop.names.notifications,
    ];
    let topics = topics.map(Clone::clone);
    for topic in &topics {
        shop.stage.nodes().until_in_sync(topic).await;
    }
}
