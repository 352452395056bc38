//! What the producer's tests share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashMap;
use std::time::Duration;

use kafka::{
    Client, ClientConfig, ConsumerRecord, Delivery, NewTopic, OffsetAt, OutgoingRecord, Producer,
    ProducerBuilder, ReaderEvent, TopicPartition,
};
use testkit::{Kafka, unique};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn client(kafka: &Kafka) -> Client {
    let mut config = ClientConfig::new(kafka.bootstrap()).unwrap();
    config.request_timeout = Duration::from_secs(5);
    Client::new(config)
}

pub fn producer(
    client: &Client,
    change: impl FnOnce(ProducerBuilder) -> ProducerBuilder,
) -> Producer {
    change(client.producer().delivery_timeout(PATIENCE))
        .build()
        .unwrap()
}

pub async fn topic(client: &Client, partitions: i32) -> String {
    let name = unique("producing");
    client
        .admin()
        .create_topics(&[NewTopic::new(&name, partitions, 1)])
        .await
        .unwrap();
    name
}

pub fn keyed<'a>(topic: &'a str, key: &'a str, value: &'a str) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Default::default()
    }
}

pub fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

pub fn value(record: &ConsumerRecord) -> String {
    text(record.value.as_deref())
}

/// Everything in a topic, by partition.
pub async fn read_all(client: &Client, topic: &str) -> HashMap<i32, Vec<ConsumerRecord>> {
    let admin = client.admin();
    let described = admin.describe_topics(&[topic]).await.unwrap();
    let partitions: Vec<_> = (0..described[0].partitions.len() as i32)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let ends = admin.offsets(&partitions, OffsetAt::Latest).await.unwrap();
    let mut left: i64 = ends.values().sum();
    let mut read: HashMap<i32, Vec<ConsumerRecord>> = HashMap::new();
    let mut reader = client.reader().topics([topic]).build().unwrap();
    while left > 0 {
        let event = tokio::time::timeout(PATIENCE, reader.next_batch())
            .await
            .expect("records to read");
        let ReaderEvent::Records(records) = event else {
            panic!("{event:?}")
        };
        for record in records {
            left -= 1;
            read.entry(record.partition).or_default().push(record);
        }
    }
    read
}

/// Asserts that the topic holds exactly these deliveries, each at its offset, and keys in order.
pub async fn assert_log(client: &Client, topic: &str, sent: Vec<(String, String, Delivery)>) {
    let mut expected: HashMap<(i32, i64), (String, String)> = HashMap::new();
    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for (key, value, delivery) in sent {
        let metadata = tokio::time::timeout(PATIENCE * 2, delivery)
            .await
            .expect("a result")
            .unwrap();
        assert_eq!(&*metadata.topic, topic);
        order.entry(key.clone()).or_default().push(value.clone());
        let before = expected.insert((metadata.partition, metadata.offset), (key, value));
        assert_eq!(before, None, "two records at {metadata:?}");
    }
    let mut logged: HashMap<String, Vec<String>> = HashMap::new();
    let mut count = 0;
    for (partition, records) in read_all(client, topic).await {
        for record in records {
            let (key, value) = (text(record.key.as_deref()), value(&record));
            let there = expected.get(&(partition, record.offset));
            assert_eq!(
                there,
                Some(&(key.clone(), value.clone())),
                "at {partition}/{}",
                record.offset
            );
            logged.entry(key).or_default().push(value);
            count += 1;
        }
    }
    assert_eq!(count, expected.len(), "every record once");
    assert_eq!(logged, order, "the order of each key");
}

pub fn enqueue_many(
    producer: &Producer,
    topic: &str,
    numbers: std::ops::Range<u32>,
) -> Vec<(String, String, Delivery)> {
    let enqueue = |number: u32| {
        let (key, value) = (format!("key-{}", number % 23), number.to_string());
        let delivery = producer.enqueue(&keyed(topic, &key, &value)).unwrap();
        (key, value, delivery)
    };
    numbers.map(enqueue).collect()
}
