//! Apache Kafka of a test's own: nodes that are killed and come back keep what they acknowledged.

use std::time::Duration;

use kafka::{Client, ClientConfig, NewTopic, OffsetAt, OutgoingRecord, TopicPartition};
use testkit::apache::ApacheKafka;
use testkit::unique;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_serve_and_a_killed_one_comes_back() {
    let mut kafka = ApacheKafka::builder().nodes(3).start().await;
    let client = Client::new(ClientConfig::new(&kafka.bootstrap()).unwrap());
    let topic = unique("cluster");
    let admin = client.admin().with_timeout(Duration::from_secs(60));
    let wanted = NewTopic::new(&topic, 3, 3).config("min.insync.replicas", "2");
    admin.create_topics(&[wanted]).await.unwrap();
    let producer = client.producer().build().unwrap();
    let send = async |key: &str| {
        let record = OutgoingRecord {
            topic: &topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(b"value"),
            headers: &[],
            timestamp: None,
        };
        producer.send(&record).await.unwrap();
    };
    kafka.kill(1);
    for key in 0..20 {
        send(&format!("without the first: {key}")).await;
    }
    kafka.restart(1).await;
    kafka.kill(2);
    for key in 0..20 {
        send(&format!("without the second: {key}")).await;
    }
    kafka.restart(2).await;
    let partitions: Vec<_> = (0..3)
        .map(|partition| TopicPartition::new(topic.as_str(), partition))
        .collect();
    let ends = admin.offsets(&partitions, OffsetAt::Latest).await.unwrap();
    assert_eq!(ends.values().sum::<i64>(), 40);
}
