//! Ours and rskafka on the same topic: what one writes the other reads.

use std::{collections::BTreeMap, time::Duration};

use chrono::DateTime;
use kafka::{Client, ClientConfig, NewTopic, OutgoingRecord};
use rskafka::{
    client::{
        ClientBuilder,
        partition::{Compression, PartitionClient, UnknownTopicHandling},
    },
    record::Record,
};
use testkit::{Kafka, unique};

async fn both(kafka: &Kafka) -> (Client, PartitionClient, String) {
    let client = Client::new(ClientConfig::new(kafka.bootstrap()).unwrap());
    let topic = unique("interop");
    client
        .admin()
        .create_topics(&[NewTopic::new(&topic, 1, 1)])
        .await
        .unwrap();
    let servers = kafka.bootstrap().split(',').map(str::to_owned).collect();
    let theirs = ClientBuilder::new(servers).build().await.unwrap();
    let partition = theirs
        .partition_client(&topic, 0, UnknownTopicHandling::Retry)
        .await
        .unwrap();
    (client, partition, topic)
}

#[tokio::test]
async fn rskafka_reads_what_we_write() {
    let kafka = Kafka::start().await;
    let (client, theirs, topic) = both(&kafka).await;
    let producer = client.producer().build().unwrap();
    for number in 0..3_i64 {
        let value = format!("value {number}");
        let record = OutgoingRecord {
            topic: &topic,
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[(b"name", Some(b"content"))],
            timestamp: Some(1_700_000_000_000 + number),
            ..Default::default()
        };
        producer.send(&record).await.unwrap();
    }
    let (records, _) = theirs.fetch_records(0, 1..1_000_000, 5_000).await.unwrap();
    assert_eq!(records.len(), 3);
    let last = &records[2];
    assert_eq!(last.offset, 2);
    assert_eq!(last.record.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(last.record.value.as_deref(), Some(&b"value 2"[..]));
    assert_eq!(last.record.headers["name"], b"content");
    assert_eq!(last.record.timestamp.timestamp_millis(), 1_700_000_000_002);
}

#[tokio::test]
async fn we_read_what_rskafka_writes() {
    let kafka = Kafka::start().await;
    let (client, theirs, topic) = both(&kafka).await;
    let record = Record {
        key: None,
        value: Some(b"theirs".to_vec()),
        headers: BTreeMap::from([("name".to_owned(), b"content".to_vec())]),
        timestamp: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
    };
    let offsets = theirs
        .produce(vec![record.clone(), record], Compression::NoCompression)
        .await
        .unwrap();
    let admin = client.admin().with_timeout(Duration::from_secs(10));
    let read = admin
        .read_record(&topic, 0, offsets[1])
        .await
        .unwrap()
        .expect("a record");
    assert_eq!((read.offset, read.timestamp), (1, 1_700_000_000_123));
    assert_eq!(
        (read.key.as_deref(), read.value.as_deref()),
        (None, Some(&b"theirs"[..]))
    );
    assert_eq!(read.headers.get_str("name"), Some("content"));
}
