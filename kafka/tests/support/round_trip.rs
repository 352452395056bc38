//! One use of every path to a cluster: administration, producing, a group that commits.

use std::time::Duration;

use kafka::{
    Client, ConsumerRecord, Handler, NewTopic, OffsetAt, Outcome, OutgoingRecord, TopicPartition,
};
use testkit::unique;
use tokio::sync::{mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(60);

struct Telling(mpsc::UnboundedSender<i64>);

impl Handler for Telling {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let _ = self.0.send(record.offset);
        Outcome::Done
    }
}

pub fn record<'a>(topic: &'a str, value: &'a [u8]) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: None,
        key: Some(b"key"),
        value: Some(value),
        headers: &[],
        timestamp: None,
    }
}

/// Creates a topic, produces to it, consumes from it in a group that commits, and asks where it ends.
pub async fn round_trip(client: &Client) {
    let topic = unique("guarded");
    let admin = client.admin();
    admin
        .create_topics(&[NewTopic::new(&topic, 1, 1)])
        .await
        .unwrap();
    let producer = client.producer().build().unwrap();
    for _ in 0..10 {
        producer.send(&record(&topic, b"value")).await.unwrap();
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let group = unique("group");
    let consumer = client
        .consumer(&group)
        .topics([&topic])
        .discard_rejected()
        .build(Telling(tell))
        .unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(async {
        let _ = stopped.await;
    }));
    for expected in 0..10 {
        let offset = tokio::time::timeout(PATIENCE, told.recv()).await;
        assert_eq!(offset.expect("a record in time"), Some(expected));
    }
    drop(stop);
    running.await.unwrap().unwrap();
    let committed = admin.committed_offsets(&group).await.unwrap();
    assert_eq!(committed.len(), 1);
    let partition = TopicPartition::new(topic.as_str(), 0);
    let ends = admin
        .offsets(std::slice::from_ref(&partition), OffsetAt::Latest)
        .await;
    assert_eq!(ends.unwrap()[&partition], 10);
    producer.close(PATIENCE).await.unwrap();
}
