//! What bounds a producer: deadlines, memory, `flush` and `close`, its settings.

#[path = "support/producer.rs"]
mod support;

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kafka::{Client, ClientConfig, NewTopic, ProduceError, ResponseError};
use kafka_protocol::messages::ApiKey;
use support::{
    PATIENCE, assert_log, client, enqueue_many, keyed, producer, read_all, topic, value,
};
use testkit::{Kafka, eventually, unique};

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

#[tokio::test]
async fn what_nobody_waited_for_and_was_refused_flush_and_close_say_once() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = refusing(&client).await;
    let producer = producer(&client, |builder| builder);
    let large = large();
    let refused = async |count: u64| {
        drop(producer.enqueue(&keyed(&topic, "k", &large)).unwrap());
        eventually(PATIENCE, || async {
            (producer.stats().failed == count).then_some(())
        })
        .await;
    };
    let is_refusal = |result: Result<(), ProduceError>| {
        let error = result.expect_err("a record was refused");
        assert!(error.to_string().contains(&topic), "{error}");
    };
    refused(1).await;
    is_refusal(producer.flush().await);
    producer.flush().await.unwrap();
    // Who was told needs no second word.
    producer
        .send(&keyed(&topic, "k", &large))
        .await
        .unwrap_err();
    producer.send(&keyed(&topic, "k", "small")).await.unwrap();
    producer.flush().await.unwrap();
    refused(3).await;
    is_refusal(producer.close(PATIENCE).await);
}

/// A topic that refuses a record of [`large`].
async fn refusing(client: &Client) -> String {
    let topic = unique("refusing");
    let small = NewTopic::new(&topic, 1, 1).config("max.message.bytes", "200");
    client.admin().create_topics(&[small]).await.unwrap();
    topic
}

fn large() -> String {
    "x".repeat(1000)
}

#[tokio::test]
async fn what_a_flush_has_told_is_not_told_again_when_its_delivery_is_dropped() {
    let kafka = Kafka::start().await;
    let client = client(&kafka);
    let topic = refusing(&client).await;
    let producer = producer(&client, |builder| builder);
    // The first waits for the topic's partitions when flush begins, the others for their batch.
    for _ in 0..2 {
        let kept = producer.enqueue(&keyed(&topic, "k", &large())).unwrap();
        producer.flush().await.unwrap_err();
        drop(kept);
        producer.flush().await.unwrap();
    }
    // Two of one batch, which is refused as a whole: one is dropped before that, the other after it was told.
    let large = large();
    let records = [keyed(&topic, "k", &large), keyed(&topic, "k", &large)];
    let [early, late] = producer.enqueue_all(&records).unwrap();
    drop(early);
    eventually(PATIENCE, || async {
        (producer.stats().failed == 4).then_some(())
    })
    .await;
    producer.flush().await.unwrap_err();
    drop(late);
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn a_flush_that_is_dropped_half_way_hides_no_failure() {
    let kafka = Kafka::own_broker().await;
    let client = client(&kafka);
    let topic = refusing(&client).await;
    let producer = producer(&client, |builder| builder);
    drop(producer.enqueue(&keyed(&topic, "k", &large())).unwrap());
    eventually(PATIENCE, || async {
        (producer.stats().failed == 1).then_some(())
    })
    .await;
    let held = kafka.faults().on(ApiKey::Produce).always();
    let held = held.error(ResponseError::NotEnoughReplicas);
    let kept = producer.enqueue(&keyed(&topic, "k", "small")).unwrap();
    held.hit().await;
    assert!(producer.flush().now_or_never().is_none());
    held.clear();
    kept.await.unwrap();
    producer.flush().await.unwrap_err();
    producer.flush().await.unwrap();
}
