//! Orders that lie in their topic more than once, as a producer without idempotence leaves them
//! after a lost acknowledgement.

use kafka::{ConsumerRecord, OutgoingRecord, Producer, ReaderEvent};

use super::settled;
use crate::checker::Verdict;
use crate::history::Place;
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// One in so many orders is copied, some of the copies too.
const ONE_IN: u8 = 5;

/// Copies have the outcome of their order, and tell nobody a second time.
pub async fn of_orders(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let plan = run.steady_plan();
    let load = shop.load(plan.clone());
    let topics = [&shop.names.orders, &shop.names.snake_orders];
    let reader = shop.client.reader().topics(topics.map(String::as_str));
    let mut reader = reader.build().expect("topics");
    let producer = shop.client.producer().build().expect("sound settings");
    let mut random = run.random();
    let mut copied = 0;
    while copied < run.orders / u64::from(ONE_IN) {
        let ReaderEvent::Records(records) = reader.next_batch().await else {
            panic!("an order is gone");
        };
        for record in &records {
            if random.u8(..ONE_IN) == 0 {
                let copy = copy(&producer, record).await;
                shop.planted(copy);
                copied += 1;
            }
        }
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

async fn copy(producer: &Producer, record: &ConsumerRecord) -> Place {
    let headers: Vec<_> = record.headers.iter().collect();
    let copy = OutgoingRecord {
        topic: &record.topic,
        partition: Some(record.partition),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
        timestamp: Some(record.timestamp),
    };
    let sent = producer.send(&copy).await.expect("a sound Kafka");
    Place {
        topic: sent.topic,
        partition: sent.partition,
        offset: sent.offset,
    }
}
