//! A record under a producer id of its own is there once, whoever sends it and however often.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use kafka::{
    Admin, Client, ClientConfig, Error, NewTopic, OffsetAt, OutgoingRecord, ProducerId,
    TopicPartition,
};
use kafka_protocol::messages::ApiKey;
use testkit::{Kafka, polled, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody with connections of its own.
fn somebody(kafka: &Kafka) -> Admin {
    let config = ClientConfig::new(kafka.bootstrap()).unwrap();
    Client::new(config).admin().with_timeout(PATIENCE)
}

async fn topic(kafka: &Kafka) -> String {
    let name = unique("once");
    let new = NewTopic::new(&name, 2, 1);
    somebody(kafka).create_topics(&[new]).await.unwrap();
    name
}

fn record<'a>(topic: &'a str, value: &'a [u8]) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: Some(1),
        key: Some(b"k"),
        value: Some(value),
        headers: &[(b"h", None)],
        timestamp: None,
    }
}

async fn write(admin: &Admin, id: ProducerId, topic: &str) -> i64 {
    let written = admin.write_once(id, &record(topic, b"v")).await.unwrap();
    assert_eq!((&*written.topic, written.partition), (topic, 1));
    written.offset
}

/// Where the partition ends.
async fn end(admin: &Admin, topic: &str) -> i64 {
    let of = TopicPartition::new(topic, 1);
    let ends = admin.offsets(std::slice::from_ref(&of), OffsetAt::Latest);
    ends.await.unwrap()[&of]
}

#[tokio::test]
async fn whoever_sends_a_record_under_its_id_is_told_the_same_place() {
    let kafka = Kafka::start().await;
    let topic = topic(&kafka).await;
    let admin = somebody(&kafka);
    let id = admin.new_producer_id().await.unwrap();
    let offset = write(&admin, id, &topic).await;
    // Told to somebody else as text.
    let known = ProducerId::parse(&id.to_string()).unwrap();
    assert_eq!(write(&somebody(&kafka), known, &topic).await, offset);
    assert_eq!(end(&admin, &topic).await, offset + 1);
    let stored = admin.read_record(&topic, 1, offset).await.unwrap().unwrap();
    assert_eq!(stored.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(stored.value.as_deref(), Some(&b"v"[..]));
    assert_eq!(
        stored.headers.iter().collect::<Vec<_>>(),
        [(&b"h"[..], None)]
    );

    // Another id is another record.
    let other = admin.new_producer_id().await.unwrap();
    assert_ne!(write(&admin, other, &topic).await, offset);
    assert_eq!(end(&admin, &topic).await, offset + 2);
}

#[tokio::test]
async fn many_at_the_same_moment_write_it_once() {
    let kafka = Kafka::start().await;
    let topic = topic(&kafka).await;
    let admins: Vec<_> = (0..8).map(|_| somebody(&kafka)).collect();
    for round in 0..20 {
        let id = admins[0].new_producer_id().await.unwrap();
        let writes = admins.iter().map(|admin| write(admin, id, &topic));
        let offsets: HashSet<i64> = join_all(writes).await.into_iter().collect();
        assert_eq!(offsets, HashSet::from([round]), "round {round}");
    }
    assert_eq!(end(&admins[0], &topic).await, 20);
}

#[tokio::test]
async fn what_was_given_up_at_any_point_is_written_once_by_the_next() {
    let kafka = Kafka::start().await;
    let topic = topic(&kafka).await;
    let last = somebody(&kafka);
    for polls in 0..500 {
        let id = last.new_producer_id().await.unwrap();
        let first = somebody(&kafka);
        let done = polled(polls, first.write_once(id, &record(&topic, b"v"))).await;
        let offset = write(&last, id, &topic).await;
        // What was given up lands now, or has landed, or never will: it is no other record.
        assert_eq!(write(&first, id, &topic).await, offset);
        if let Some(done) = done {
            assert_eq!(done.unwrap().offset, offset);
            assert_eq!(end(&last, &topic).await, offset + 1);
            assert_eq!(offset, polls as i64, "one record an id");
            return;
        }
    }
    panic!("not written within 500 polls");
}

#[tokio::test]
async fn a_lost_acknowledgement_is_asked_for_again() {
    let kafka = Kafka::own_broker().await;
    let topic = topic(&kafka).await;
    let admin = somebody(&kafka);
    let id = admin.new_producer_id().await.unwrap();
    let lost = kafka.faults().on(ApiKey::Produce).lose_acknowledgement();
    assert_eq!(write(&admin, id, &topic).await, 0);
    assert_eq!(lost.hits(), 1);
    assert_eq!(end(&admin, &topic).await, 1);
}

#[tokio::test]
async fn a_record_without_a_place_is_refused() {
    let kafka = Kafka::start().await;
    let topic = topic(&kafka).await;
    let admin = somebody(&kafka);
    let id = admin.new_producer_id().await.unwrap();
    let anywhere = OutgoingRecord {
        partition: None,
        ..record(&topic, b"v")
    };
    let error = admin.write_once(id, &anywhere).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error}");
    let missing = OutgoingRecord {
        partition: Some(7),
        ..record(&topic, b"v")
    };
    let error = admin.write_once(id, &missing).await.unwrap_err();
    assert!(matches!(error, Error::UnknownPartition { .. }), "{error}");
    let error = admin.write_once(id, &record("no-such-topic", b"v")).await;
    assert!(
        matches!(error, Err(Error::UnknownTopic { .. })),
        "{error:?}"
    );
}
