//! A partition from which nobody reads on: what is written to it is in the log, and no view has it.

use kafka::{NewTopic, SkipRequest, partition_for_key};
use testkit::transaction::Transaction;
use testkit::{Kafka, eventually};

use crate::support::{SOON, Scene};

const PARTITION: i32 = 0;
const PARTITIONS: i32 = 3;

/// What holds it.
enum Held {
    /// Consumers are given nothing behind an open transaction.
    Transaction(Transaction),
    /// On the embedded broker, which has no transactions: a batch that nobody can read.
    Garbage,
}

/// The first partition of a scene's `order_topic`, held before its first order.
pub struct HeldPartition(Held);

impl HeldPartition {
    /// The topic is there.
    pub async fn of(kafka: &Kafka, scene: &Scene) -> Self {
        let topic = &scene.order_topic;
        if let Some(transaction) = Transaction::begin(kafka, topic, PARTITION).await {
            return Self(Held::Transaction(transaction));
        }
        // 121 bytes that call themselves a batch of three records, and are none.
        let mut garbage = vec![0xa5; 121];
        garbage[..8].fill(0);
        garbage[8..12].copy_from_slice(&109_i32.to_be_bytes());
        garbage[16] = 2;
        garbage[23..27].copy_from_slice(&2_i32.to_be_bytes());
        let broker = kafka.broker().expect("an embedded broker");
        broker.plant(topic, PARTITION, 0, garbage).unwrap();
        Self(Held::Garbage)
    }

    /// The `number`th id whose order comes to lie there.
    pub fn order_id(&self, number: usize) -> String {
        let ids = (0..).map(|n: u32| format!("order-{n}"));
        let mut here = ids.filter(|id| partition_for_key(id.as_bytes(), PARTITIONS) == PARTITION);
        here.nth(number).expect("one of three")
    }

    /// Lets consumers read on.
    pub async fn release(self, scene: &Scene) {
        match self.0 {
            Held::Transaction(transaction) => transaction.abort().await,
            Held::Garbage => {
                let admin = scene.client().admin();
                let letters = format!("{}-dlt", scene.order_topic);
                let letters = NewTopic::new(letters, PARTITIONS, 1);
                admin.create_topics(&[letters]).await.unwrap();
                let producer = scene.producer();
                let skip = SkipRequest {
                    group: scene.group.clone(),
                    topic: scene.order_topic.clone(),
                    partition: PARTITION,
                    first: 0,
                    last: 2,
                    reason: "the test goes on".to_owned(),
                    beyond: false,
                };
                // Until the topic of the letters has leaders.
                eventually(SOON, || async {
                    admin.skip(&producer, "-dlt", &skip).await.ok()
                })
                .await;
            }
        }
    }
}
