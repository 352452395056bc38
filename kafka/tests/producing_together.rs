//! Several records in one call: in order, to several topics, all of them or none.

use std::time::Duration;

use kafka::{
    Client, ClientConfig, ConsumerRecord, EncodedRecord, HeaderTemplate, NewTopic, OutgoingRecord,
    ProduceError, Producer, ReaderEvent,
};
use kafka_protocol::messages::ApiKey;
use testkit::{Kafka, unique};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(kafka: &Kafka) -> Client {
    Client::new(ClientConfig::new(kafka.bootstrap()).unwrap())
}

async fn topic(client: &Client) -> String {
    let name = unique("together");
    let topic = NewTopic::new(&name, 1, 1);
    client.admin().create_topics(&[topic]).await.unwrap();
    name
}

fn record<'a>(topic: &'a str, value: &'a str) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        ..Default::default()
    }
}

/// The first `count` records of a topic of one partition.
async fn read(client: &Client, topic: &str, count: usize) -> Vec<ConsumerRecord> {
    let mut reader = client.reader().topics([topic]).build().unwrap();
    let mut read = Vec::new();
    while read.len() < count {
        let event = tokio::time::timeout(PATIENCE, reader.next_batch())
            .await
            .expect("records to read");
        let ReaderEvent::Records(records) = event else {
            panic!("{event:?}")
        };
        read.extend(records);
    }
    read
}

async fn values(client: &Client, topic: &str, count: usize) -> Vec<String> {
    let records = read(client, topic, count).await;
    let text = |record: &ConsumerRecord| record.value.as_deref().unwrap().to_vec();
    records
        .iter()
        .map(|record| String::from_utf8(text(record)).unwrap())
        .collect()
}

async fn offset(producer: &Producer, topic: &str) -> i64 {
    let last = producer.send(&record(topic, "last")).await.unwrap();
    last.offset
}

#[tokio::test]
async fn records_of_one_call_keep_their_order_in_topics_known_or_not() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let (known, unknown) = (topic(&client).await, topic(&client).await);
    let producer = client.producer().build().unwrap();
    producer.send(&record(&known, "0")).await.unwrap();
    for round in ["1", "2"] {
        let second = format!("{round}b");
        let sent = producer
            .enqueue_all(&[
                record(&known, round),
                record(&unknown, round),
                record(&known, &second),
            ])
            .unwrap();
        let [first, other, second] = sent;
        let (first, other, second) = (
            first.await.unwrap(),
            other.await.unwrap(),
            second.await.unwrap(),
        );
        assert_eq!((&*first.topic, &*other.topic), (&*known, &*unknown));
        assert_eq!(second.offset, first.offset + 1);
    }
    assert_eq!(
        values(&client, &known, 5).await,
        ["0", "1", "1b", "2", "2b"]
    );
    assert_eq!(values(&client, &unknown, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn headers_of_a_template_arrive_as_they_were_filled_in() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client).await;
    let producer = client.producer().build().unwrap();
    let pairs: [(&[u8], Option<&[u8]>); 3] = [
        (b"version", Some(b"1")),
        (b"id", Some(b"0000")),
        (b"n", None),
    ];
    let template = HeaderTemplate::new(pairs, ["id"]).unwrap();
    let mut scratch = [Vec::new(), Vec::new()];
    let [one, two] = scratch.each_mut();
    let record = |headers| EncodedRecord {
        topic: &topic,
        partition: None,
        key: None,
        value: None,
        headers,
        timestamp: None,
    };
    // The topic is not known yet: the record waits with its headers.
    let sent = producer
        .enqueue_all(&[
            record(template.fill([b"abcd"], one)),
            record(template.fill([b"efgh"], two)),
        ])
        .unwrap();
    for delivery in sent {
        delivery.await.unwrap();
    }
    let read = read(&client, &topic, 2).await;
    for (record, id) in read.iter().zip([b"abcd", b"efgh"]) {
        let headers: Vec<_> = record.headers.iter().collect();
        let mut expected = pairs;
        expected[1].1 = Some(id);
        assert_eq!(headers, expected);
    }
}

#[tokio::test]
async fn where_one_cannot_be_sent_none_is() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client).await;
    let producer = client
        .producer()
        .buffer_memory(10_000)
        .max_request_size(4_000)
        .build()
        .unwrap();
    producer.send(&record(&topic, "first")).await.unwrap();
    let nowhere = OutgoingRecord {
        partition: Some(1),
        ..record(&topic, "nowhere")
    };
    let error = producer.enqueue_all(&[record(&topic, "a"), nowhere]);
    assert!(matches!(
        error,
        Err(ProduceError::UnknownPartition { partition: 1, .. })
    ));
    let large = "x".repeat(4_000);
    let error = producer.enqueue_all(&[record(&topic, "a"), record(&topic, &large)]);
    assert!(matches!(error, Err(ProduceError::RecordTooLarge { .. })));
    // Each of them would fit, but never all at a time.
    let third = "x".repeat(3_500);
    let error = producer.enqueue_all(&[record(&topic, &third); 3]);
    assert!(matches!(
        error,
        Err(ProduceError::RecordTooLarge { limit: 10_000, .. })
    ));
    assert_eq!(producer.stats().buffered_bytes, 0);
    assert_eq!(offset(&producer, &topic).await, 1, "nothing in between");
}

#[tokio::test]
async fn all_wait_for_room_together() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client).await;
    let producer = client
        .producer()
        .buffer_memory(10_000)
        .request_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    producer.send(&record(&topic, "first")).await.unwrap();
    let silent = kafka.faults().on(ApiKey::Produce).topic(&topic).swallow();
    let third = "x".repeat(3_000);
    let held = producer.enqueue_all(&[record(&topic, &third); 2]).unwrap();
    let full = producer.enqueue_all(&[record(&topic, &third); 2]);
    assert!(matches!(
        full,
        Err(ProduceError::BufferFull { limit: 10_000, .. })
    ));
    let waited = producer
        .enqueue_all_waiting(&[
            record(&topic, "a"),
            record(&topic, &third),
            record(&topic, &third),
        ])
        .await
        .unwrap();
    assert_eq!(silent.hits(), 1, "room came only with the answer");
    let mut offsets = Vec::new();
    for delivery in held.into_iter().chain(waited) {
        offsets.push(delivery.await.unwrap().offset);
    }
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
}
