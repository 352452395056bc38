//! The producer and its topics: not there yet, with limits, with other partitions, created again.

#[path = "support/producer.rs"]
mod support;

use std::time::Duration;

use kafka::{Client, ClientConfig, NewTopic, OutgoingRecord, ProduceError, ResponseError};
use kafka_protocol::messages::ApiKey;
use support::{PATIENCE, assert_log, client, enqueue_many, keyed, producer, topic};
use testkit::{Kafka, eventually, unique};

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
