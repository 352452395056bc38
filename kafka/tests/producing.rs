//! The producer against a broker: order, retries, lost acknowledgements, deadlines, memory.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kafka::{
    Client, ClientConfig, Compression, ConsumerRecord, Delivery, NewTopic, OffsetAt,
    OutgoingRecord, ProduceError, Producer, ProducerBuilder, ReaderEvent, ResponseError,
    TopicPartition,
};
use kafka_protocol::messages::ApiKey;
use testkit::{Kafka, eventually, unique};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(kafka: &Kafka) -> Client {
    let mut config = ClientConfig::new(kafka.bootstrap()).unwrap();
    config.request_timeout = Duration::from_secs(5);
    Client::new(config)
}

fn producer(client: &Client, change: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Producer {
    change(client.producer().delivery_timeout(PATIENCE))
        .build()
        .unwrap()
}

async fn topic(client: &Client, partitions: i32) -> String {
    let name = unique("producing");
    client
        .admin()
        .create_topics(&[NewTopic::new(&name, partitions, 1)])
        .await
        .unwrap();
    name
}

fn keyed<'a>(topic: &'a str, key: &'a str, value: &'a str) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..Default::default()
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

fn value(record: &ConsumerRecord) -> String {
    text(record.value.as_deref())
}

/// Everything in a topic, by partition.
async fn read_all(client: &Client, topic: &str) -> HashMap<i32, Vec<ConsumerRecord>> {
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
async fn assert_log(client: &Client, topic: &str, sent: Vec<(String, String, Delivery)>) {
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

fn enqueue_many(
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

#[tokio::test]
async fn records_get_their_offsets_in_order() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 3).await;
    let producer = producer(&client, |builder| builder);
    let sent = enqueue_many(&producer, &topic, 0..2000);
    assert_log(&client, &topic, sent).await;
    let stats = producer.stats();
    assert_eq!(
        (stats.acknowledged, stats.failed, stats.buffered_bytes),
        (2000, 0, 0)
    );
}

#[tokio::test]
async fn key_order_is_kept_through_every_kind_of_retry() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 3).await;
    let producer = producer(&client, |builder| {
        builder
            .max_batch_bytes(500)
            .max_in_flight_requests(5)
            .request_timeout(Duration::from_millis(300))
    });
    let faults = kafka.faults();
    let on = |skip| faults.on(ApiKey::Produce).topic(&topic).skip(skip);
    let set = [
        on(1).error(ResponseError::NotLeaderOrFollower),
        on(4).lose_acknowledgement(),
        on(7).partition(1).error(ResponseError::NotEnoughReplicas),
        on(9).drop_connection(),
        on(12).swallow(),
        on(15)
            .partition(0)
            .error_after(ResponseError::RequestTimedOut),
        on(18).swallow_answer(),
        on(21).error(ResponseError::UnknownTopicOrPartition),
    ];
    let sent = enqueue_many(&producer, &topic, 0..3000);
    assert_log(&client, &topic, sent).await;
    for fault in set {
        assert_eq!(fault.hits(), 1, "{fault:?}");
    }
    assert!(producer.stats().retried > 0);
    assert_eq!(producer.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn a_lost_acknowledgement_does_not_duplicate() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    producer.send(&keyed(&topic, "k", "before")).await.unwrap();
    let lost = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .times(2)
        .lose_acknowledgement();
    let written = producer.send(&keyed(&topic, "k", "once")).await.unwrap();
    assert_eq!(written.offset, 1);
    assert_eq!(lost.hits(), 2);
    let after = producer.send(&keyed(&topic, "k", "after")).await.unwrap();
    assert_eq!(after.offset, 2);
    let log: Vec<_> = read_all(&client, &topic).await[&0]
        .iter()
        .map(value)
        .collect();
    assert_eq!(log, ["before", "once", "after"]);
}

#[tokio::test]
async fn without_idempotence_a_lost_acknowledgement_duplicates() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder.idempotence(false));
    let lost = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .lose_acknowledgement();
    producer.send(&keyed(&topic, "k", "twice")).await.unwrap();
    assert_eq!(lost.hits(), 1);
    let log: Vec<_> = read_all(&client, &topic).await[&0]
        .iter()
        .map(value)
        .collect();
    assert_eq!(log, ["twice", "twice"]);
}

#[tokio::test]
async fn a_silent_connection_is_given_up_and_the_batch_sent_again() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| {
        builder.request_timeout(Duration::from_millis(200))
    });
    let silent = kafka.faults().on(ApiKey::Produce).topic(&topic).swallow();
    let started = Instant::now();
    let written = producer.send(&keyed(&topic, "k", "v")).await.unwrap();
    assert_eq!((written.offset, silent.hits()), (0, 1));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_moved_leader_is_looked_up_again() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    let lookups = kafka
        .faults()
        .on(ApiKey::Metadata)
        .topic(&topic)
        .always()
        .delay(Duration::ZERO);
    let moved = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .error(ResponseError::NotLeaderOrFollower);
    producer.send(&keyed(&topic, "k", "2")).await.unwrap();
    assert_eq!(moved.hits(), 1);
    tokio::time::timeout(PATIENCE, lookups.hit())
        .await
        .expect("a lookup");
    assert_eq!(producer.stats().retried, 1);
}

#[tokio::test]
async fn a_broker_that_comes_back_within_the_deadline_loses_nothing() {
    let mut kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 3).await;
    let producer = producer(&client, |builder| builder);
    let mut sent = enqueue_many(&producer, &topic, 0..100);
    producer.flush().await.unwrap();
    kafka.kill_broker().await;
    sent.extend(enqueue_many(&producer, &topic, 100..200));
    // Tried at least once in vain.
    tokio::time::timeout(Duration::from_millis(300), producer.flush())
        .await
        .unwrap_err();
    kafka.start_broker().await;
    assert_log(&client, &topic, sent).await;
}

#[tokio::test]
async fn a_deadline_that_passes_unsent_says_what_was_in_the_way() {
    let mut kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let deadline = Duration::from_millis(600);
    let producer = producer(&client, |builder| builder.delivery_timeout(deadline));
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    kafka.kill_broker().await;
    let started = Instant::now();
    let error = producer.send(&keyed(&topic, "k", "2")).await.unwrap_err();
    let elapsed = started.elapsed();
    assert!(elapsed >= deadline && elapsed < deadline * 3, "{elapsed:?}");
    assert!(
        matches!(
            error,
            ProduceError::Timeout {
                partition: Some(0),
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.may_be_written(), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("{topic}-0 was not acknowledged within")),
        "{error}"
    );
    assert!(error.to_string().contains("the last failure: "), "{error}");
    kafka.start_broker().await;
    let retry = || async { producer.send(&keyed(&topic, "k", "3")).await.ok() };
    let written = eventually(PATIENCE, retry).await;
    assert_eq!(written.offset, 1);
    assert_eq!(producer.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn each_deadline_passes_in_time_while_the_broker_stays_away() {
    let mut kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let deadline = Duration::from_millis(300);
    let producer = producer(&client, |builder| builder.delivery_timeout(deadline));
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    kafka.kill_broker().await;
    for number in ["2", "3", "4"] {
        let record = keyed(&topic, "k", number);
        let sent = tokio::time::timeout(PATIENCE, producer.send(&record)).await;
        let error = sent.expect("an answer by the deadline").unwrap_err();
        assert!(!error.may_be_written(), "{error}");
    }
}

#[tokio::test]
async fn a_batch_given_up_while_it_may_be_written_does_not_stop_the_next() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| {
        builder
            .delivery_timeout(Duration::from_millis(500))
            .request_timeout(Duration::from_millis(100))
    });
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    let silent = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .always()
        .swallow();
    let error = producer
        .send(&keyed(&topic, "k", "lost"))
        .await
        .unwrap_err();
    assert!(error.may_be_written(), "{error}");
    assert!(silent.hits() >= 2);
    silent.clear();
    for (number, offset) in [("2", 1), ("3", 2)] {
        let send = || async { producer.send(&keyed(&topic, "k", number)).await.ok() };
        assert_eq!(eventually(PATIENCE, send).await.offset, offset);
    }
    let log: Vec<_> = read_all(&client, &topic).await[&0]
        .iter()
        .map(value)
        .collect();
    assert_eq!(log, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_forgotten_sequence_starts_anew_without_duplicates() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    let mut expected = Vec::new();
    for (number, code) in [
        ResponseError::OutOfOrderSequenceNumber,
        ResponseError::UnknownProducerId,
        ResponseError::InvalidProducerEpoch,
    ]
    .into_iter()
    .enumerate()
    {
        let refused = kafka
            .faults()
            .on(ApiKey::Produce)
            .topic(&topic)
            .skip(1)
            .error(code);
        for part in ["a", "b", "c"] {
            let value = format!("{number}{part}");
            producer.send(&keyed(&topic, "k", &value)).await.unwrap();
            expected.push(value);
        }
        assert_eq!(refused.hits(), 1);
    }
    let log: Vec<_> = read_all(&client, &topic).await[&0]
        .iter()
        .map(value)
        .collect();
    assert_eq!(log, expected);
}

#[tokio::test]
async fn a_full_buffer_refuses_at_once_and_send_waits_for_room() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| {
        builder
            .buffer_memory(10_000)
            .request_timeout(Duration::from_millis(300))
    });
    producer.send(&keyed(&topic, "k", "first")).await.unwrap();
    let silent = kafka.faults().on(ApiKey::Produce).topic(&topic).swallow();
    let payload = "x".repeat(900);
    let mut deliveries = Vec::new();
    let error = loop {
        match producer.enqueue(&keyed(&topic, "k", &payload)) {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
    };
    assert_eq!(deliveries.len(), 10);
    assert!(
        matches!(error, ProduceError::BufferFull { limit: 10_000, .. }),
        "{error}"
    );
    assert!(producer.stats().buffered_bytes > 9000);
    let written = producer.send(&keyed(&topic, "k", &payload)).await.unwrap();
    assert_eq!((written.offset, silent.hits()), (11, 1));
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let huge = "x".repeat(10_001);
    let error = producer.send(&keyed(&topic, "k", &huge)).await.unwrap_err();
    assert!(
        matches!(error, ProduceError::RecordTooLarge { limit: 10_000, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn dropped_deliveries_and_handles_are_delivered_all_the_same() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    drop(producer.enqueue(&keyed(&topic, "k", "1")).unwrap());
    {
        // Polled once, which enqueues it, and dropped.
        let record = keyed(&topic, "k", "2");
        let send = producer.send(&record);
        tokio::pin!(send);
        assert!(futures::poll!(send).is_pending());
    }
    // Never polled: not sent.
    drop(producer.send(&keyed(&topic, "k", "never")));
    let last = producer.enqueue(&keyed(&topic, "k", "3")).unwrap();
    drop(producer);
    assert_eq!(last.await.unwrap().offset, 2);
    let log: Vec<_> = read_all(&client, &topic).await[&0]
        .iter()
        .map(value)
        .collect();
    assert_eq!(log, ["1", "2", "3"]);
}

#[tokio::test]
async fn flush_ends_lingering_and_waits_for_everything() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 2).await;
    let linger = Duration::from_secs(60);
    let producer = producer(&client, |builder| {
        builder.linger(linger).delivery_timeout(linger * 2)
    });
    let mut deliveries = enqueue_many(&producer, &topic, 0..50);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut deliveries[0].2).await;
    assert!(early.is_err(), "it lingers");
    producer.flush().await.unwrap();
    assert_eq!(producer.stats().acknowledged, 50);
    for (_, _, delivery) in deliveries {
        assert!(
            futures::FutureExt::now_or_never(delivery)
                .expect("done")
                .is_ok()
        );
    }
}

#[tokio::test]
async fn close_delivers_what_is_there_and_refuses_what_comes() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 2).await;
    let producer = producer(&client, |builder| builder);
    let sent = enqueue_many(&producer, &topic, 0..100);
    producer.close(PATIENCE).await.unwrap();
    let error = producer.enqueue(&keyed(&topic, "k", "late")).err().unwrap();
    assert!(matches!(error, ProduceError::Closed { .. }), "{error}");
    assert_log(&client, &topic, sent).await;
}

#[tokio::test]
async fn close_gives_up_in_time_and_counts_what_it_left() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .always()
        .swallow();
    let deliveries: Vec<_> = enqueue_many(&producer, &topic, 0..7);
    let unknown = unique("not-there");
    let waiting = producer.enqueue(&keyed(&unknown, "k", "v")).unwrap();
    let error = producer
        .close(Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProduceError::CloseTimeout { records: 8, .. }),
        "{error}"
    );
    for (_, _, delivery) in deliveries {
        assert!(matches!(delivery.await, Err(ProduceError::Closed { .. })));
    }
    assert!(matches!(waiting.await, Err(ProduceError::Closed { .. })));
}

#[tokio::test]
async fn records_wait_in_order_for_a_topic_that_is_created_later() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let name = unique("later");
    let producer = producer(&client, |builder| builder);
    let mut sent = enqueue_many(&producer, &name, 0..50);
    // The cluster has been asked, and has no such topic.
    client.ready().await.unwrap();
    client
        .admin()
        .create_topics(&[NewTopic::new(&name, 4, 1)])
        .await
        .unwrap();
    sent.extend(enqueue_many(&producer, &name, 50..100));
    assert_log(&client, &name, sent).await;
}

#[tokio::test]
async fn a_topic_that_never_comes_is_named() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let name = unique("never");
    let producer = producer(&client, |builder| {
        builder.delivery_timeout(Duration::from_millis(300))
    });
    let error = producer.send(&keyed(&name, "k", "v")).await.unwrap_err();
    assert!(
        matches!(
            error,
            ProduceError::Timeout {
                partition: None,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains(&name), "{error}");
    assert_eq!(producer.stats().buffered_bytes, 0);
    // Asking for it has not created it.
    assert!(
        client
            .admin()
            .describe_topics(&[&name])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn every_codec_carries_records_as_they_are() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let big = "0123456789".repeat(90_000);
    let mut expected = Vec::new();
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let producer = producer(&client, |builder| builder.compression(compression));
        let headers: [(&[u8], Option<&[u8]>); 4] = [
            (b"a", Some(b"1")),
            (b"null", None),
            (b"a", Some(b"2")),
            (b"\xfe", Some(b"")),
        ];
        for value in [Some(big.as_bytes()), Some(b"small"), None] {
            let record = OutgoingRecord {
                topic: &topic,
                value,
                headers: &headers,
                timestamp: Some(1_700_000_000_123),
                ..Default::default()
            };
            let written = producer.send(&record).await.unwrap();
            assert_eq!(written.timestamp, 1_700_000_000_123);
            expected.push(value.map(<[u8]>::to_vec));
        }
    }
    let log = read_all(&client, &topic).await.remove(&0).unwrap();
    assert_eq!(log.len(), expected.len());
    for (record, expected) in log.iter().zip(expected) {
        assert_eq!(record.value.as_deref(), expected.as_deref());
        assert_eq!(
            (record.key.as_deref(), record.timestamp),
            (None, 1_700_000_000_123)
        );
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(headers.len(), 4);
        assert_eq!(headers[1], (&b"null"[..], None));
        assert_eq!(headers[3], (&b"\xfe"[..], Some(&b""[..])));
        assert_eq!(record.headers.get("a"), Some(&b"2"[..]));
    }
}

#[tokio::test]
async fn batches_that_the_topic_finds_too_large_are_split() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    let refused = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .times(3)
        .error(ResponseError::MessageTooLarge);
    let sent = enqueue_many(&producer, &topic, 0..100);
    assert_log(&client, &topic, sent).await;
    assert_eq!(refused.hits(), 3);
}

#[tokio::test]
async fn a_limit_of_the_topic_is_kept_to_or_named() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let name = unique("limited");
    let limited = NewTopic::new(&name, 1, 1).config("max.message.bytes", "5000");
    client.admin().create_topics(&[limited]).await.unwrap();
    let producer = producer(&client, |builder| builder);
    let text = "x".repeat(1000);
    let deliveries: Vec<_> = (0..20)
        .map(|_| producer.enqueue(&keyed(&name, "k", &text)).unwrap())
        .collect();
    for (offset, delivery) in deliveries.into_iter().enumerate() {
        assert_eq!(delivery.await.unwrap().offset, offset as i64);
    }
    let error = producer
        .send(&keyed(&name, "k", &"x".repeat(6000)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProduceError::TooLargeForTopic { size: 6000.., .. }),
        "{error}"
    );
    let after = producer.send(&keyed(&name, "k", "small")).await.unwrap();
    assert_eq!(after.offset, 20);
}

#[tokio::test]
async fn records_without_a_key_spread_and_partitions_can_be_named() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 3).await;
    let producer = producer(&client, |builder| builder);
    let mut used = [0; 3];
    for _ in 0..60 {
        let record = OutgoingRecord {
            topic: &topic,
            value: Some(b"v"),
            ..Default::default()
        };
        used[producer.send(&record).await.unwrap().partition as usize] += 1;
    }
    assert!(used.iter().all(|count| *count > 0), "{used:?}");
    for partition in 0..3 {
        let record = OutgoingRecord {
            topic: &topic,
            partition: Some(partition),
            key: Some(b"the same"),
            ..Default::default()
        };
        assert_eq!(producer.send(&record).await.unwrap().partition, partition);
    }
    for partition in [-1, 3] {
        let record = OutgoingRecord {
            topic: &topic,
            partition: Some(partition),
            ..Default::default()
        };
        let error = producer.enqueue(&record).err().unwrap();
        assert!(
            matches!(error, ProduceError::UnknownPartition { count: 3, .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn partitions_added_later_are_used() {
    let kafka = Kafka::start().await;
    let mut config = ClientConfig::new(kafka.bootstrap()).unwrap();
    config.metadata_max_age = Duration::from_millis(200);
    let client = Client::new(config);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    producer.send(&keyed(&topic, "k", "v")).await.unwrap();
    client.admin().create_partitions(&topic, 4).await.unwrap();
    let record = OutgoingRecord {
        topic: &topic,
        partition: Some(3),
        ..Default::default()
    };
    let written = eventually(PATIENCE, || async { producer.send(&record).await.ok() }).await;
    assert_eq!((written.partition, written.offset), (3, 0));
}

#[tokio::test]
async fn a_topic_that_is_created_again_goes_on_from_its_start() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let admin = client.admin();
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    for number in 0..3 {
        let written = producer.send(&keyed(&topic, "k", "before")).await.unwrap();
        assert_eq!(written.offset, number);
    }
    admin.delete_topics(&[&topic]).await.unwrap();
    let gone = || async {
        let there = admin.describe_topics(&[&topic]).await.unwrap();
        there.is_empty().then_some(())
    };
    eventually(PATIENCE, gone).await;
    let waits = producer.enqueue(&keyed(&topic, "k", "0")).unwrap();
    admin
        .create_topics(&[NewTopic::new(&topic, 1, 1)])
        .await
        .unwrap();
    assert_eq!(waits.await.unwrap().offset, 0);
    let next = producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    assert_eq!(next.offset, 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| builder);
    producer.send(&keyed(&topic, "k", "1")).await.unwrap();
    let refused = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&topic)
        .error(ResponseError::TopicAuthorizationFailed);
    let error = producer.send(&keyed(&topic, "k", "no")).await.unwrap_err();
    assert_eq!(refused.hits(), 1);
    assert!(
        error.to_string().contains("TOPIC_AUTHORIZATION_FAILED"),
        "{error}"
    );
    assert_eq!(
        producer
            .send(&keyed(&topic, "k", "2"))
            .await
            .unwrap()
            .offset,
        1
    );
    assert_eq!((producer.stats().failed, producer.stats().retried), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_share_a_producer() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = topic(&client, 6).await;
    let producer = producer(&client, |builder| {
        builder.buffer_memory(20_000).max_in_flight_requests(2)
    });
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let (producer, topic) = (producer.clone(), topic.clone());
            tokio::spawn(async move {
                let key = format!("task-{task}");
                let mut last = -1;
                for number in 0..100 {
                    let written = producer
                        .send(&keyed(&topic, &key, &number.to_string()))
                        .await
                        .unwrap();
                    assert!(written.offset > last);
                    last = written.offset;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let log = read_all(&client, &topic).await;
    assert_eq!(log.values().map(Vec::len).sum::<usize>(), 5000);
    assert_eq!(producer.stats().buffered_bytes, 0);
}

#[tokio::test]
async fn settings_without_sense_are_refused() {
    let client = Client::new(ClientConfig::new("127.0.0.1:1").unwrap());
    for (builder, setting) in [
        (client.producer().buffer_memory(0), "buffer_memory"),
        (client.producer().max_batch_bytes(10), "max_batch_bytes"),
        (
            client.producer().max_in_flight_requests(0),
            "max_in_flight_requests",
        ),
        (
            client.producer().delivery_timeout(Duration::ZERO),
            "delivery_timeout",
        ),
    ] {
        assert_eq!(builder.build().err().unwrap().setting, setting);
    }
}
