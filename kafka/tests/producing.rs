//! The producer against a broker: order, retries, lost acknowledgements.

#[path = "support/producer.rs"]
mod support;

use std::time::{Duration, Instant};

use kafka::{Compression, OutgoingRecord, ResponseError};
use kafka_protocol::messages::ApiKey;
use support::{
    PATIENCE, assert_log, client, enqueue_many, keyed, producer, read_all, topic, value,
};
use testkit::{Kafka, eventually};

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
async fn a_batch_given_up_while_it_may_be_written_does_not_stop_the_next() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = topic(&client, 1).await;
    let producer = producer(&client, |builder| {
        builder
            .delivery_timeout(Duration::from_secs(3))
            .request_timeout(Duration::from_millis(500))
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
