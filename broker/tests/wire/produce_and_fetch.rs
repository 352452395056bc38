//! Records over the wire: what is taken, refused, repeated, waited for.

use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};
use testkit::raw::Connection;
use testkit::{Kafka, eventually, unique};
use uuid::Uuid;

use crate::common::{
    Batch, delete_topic, fetch, latest, produce, produce_request, produce_with, topic_name, values,
};

fn code(error: ResponseError) -> i16 {
    error.code()
}

/// Is hit when a fetch reaches the broker. Tests run on one thread, so that whoever awaits the hit
/// goes on only when the fetch waits.
fn fetch_arrives(kafka: &Kafka) -> broker::Fault {
    kafka
        .faults()
        .on(broker::ApiKey::Fetch)
        .delay_answer(Duration::ZERO)
}

#[tokio::test]
async fn a_repeated_batch_is_stored_once_and_answered_as_before() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let first = Batch::sequenced(7, 0, 0, &["a", "b"]).bytes();
    let second = Batch::sequenced(7, 0, 2, &["c"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 0, &first).await, (0, 0));
    assert_eq!(produce(&mut connection, "orders", 0, &second).await, (0, 2));
    assert_eq!(produce(&mut connection, "orders", 0, &first).await, (0, 0));
    let gap = Batch::sequenced(7, 0, 5, &["x"]).bytes();
    let out_of_order = code(ResponseError::OutOfOrderSequenceNumber);
    assert_eq!(
        produce(&mut connection, "orders", 0, &gap).await.0,
        out_of_order
    );
    let newer = Batch::sequenced(7, 1, 0, &["d"]).bytes();
    assert_eq!(produce(&mut connection, "orders", 0, &newer).await, (0, 3));
    let older = Batch::sequenced(7, 0, 3, &["x"]).bytes();
    let invalid_epoch = code(ResponseError::InvalidProducerEpoch);
    assert_eq!(
        produce(&mut connection, "orders", 0, &older).await.0,
        invalid_epoch
    );
    assert_eq!(latest(&mut connection, "orders", 0).await, 4);
}

#[tokio::test]
async fn what_is_no_good_batch_is_refused_by_name_and_not_stored() {
    let kafka = Kafka::own_broker_with(|config| config.max_message_bytes = 1000).await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let good = Batch::of(&["a"]).bytes();
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    let mut corrupt = good.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    let cases = [
        (corrupt, ResponseError::CorruptMessage),
        (good[..30].to_vec(), ResponseError::InvalidRecord),
        (Vec::new(), ResponseError::InvalidRecord),
        (
            [&good[..], &good[..]].concat(),
            ResponseError::InvalidRecord,
        ),
        (refused(|batch| batch[16] = 1), ResponseError::InvalidRecord),
        (
            Batch::of(&["x".repeat(2000).as_str()]).bytes(),
            ResponseError::MessageTooLarge,
        ),
        (
            Batch::of(&["a"]).attributes(0b10_0000).bytes(),
            ResponseError::InvalidRecord,
        ),
        (
            Batch::sequenced(7, 0, -1, &["a"]).bytes(),
            ResponseError::InvalidRecord,
        ),
    ];
    for (number, (batch, error)) in cases.into_iter().enumerate() {
        let (found, _) = produce(&mut connection, "orders", 0, &batch).await;
        assert_eq!(found, code(error), "case {number}");
    }
    let unknown = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(produce(&mut connection, "none", 0, &good).await.0, unknown);
    assert_eq!(
        produce(&mut connection, "orders", 9, &good).await.0,
        unknown
    );
    let (found, _) = produce_with(&mut connection, "orders", 0, &good, 7).await;
    assert_eq!(found, code(ResponseError::InvalidRequiredAcks));
    assert_eq!(latest(&mut connection, "orders", 0).await, 0);
}

#[tokio::test]
async fn without_acks_there_is_no_answer_and_a_failure_ends_the_connection() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    let request = produce_request("orders", 0, &batch, 0);
    connection.send(&request, 9).await.unwrap();
    connection.send(&request, 9).await.unwrap();
    // The next answer is to the next question.
    assert_eq!(latest(&mut connection, "orders", 0).await, 2);
    let request = produce_request("none", 0, &batch, 0);
    connection.send(&request, 9).await.unwrap();
    connection.ended().await;
}

#[tokio::test]
async fn what_was_sent_before_the_client_left_is_stored() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    for _ in 0..50 {
        let request = produce_request("orders", 0, &batch, 0);
        connection.send(&request, 9).await.unwrap();
    }
    connection.finish().await.unwrap();
    connection.ended().await;
    let mut connection = kafka.connect().await;
    assert_eq!(latest(&mut connection, "orders", 0).await, 50);
}

#[tokio::test]
async fn answers_of_one_connection_come_in_order() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    for n in 0..100 {
        let batch = Batch::of(&[&n.to_string()]).bytes();
        let request = produce_request("orders", 0, &batch, -1);
        connection.send(&request, 9).await.unwrap();
    }
    for n in 0..100 {
        let response = connection.receive::<ProduceRequest>(9).await.unwrap();
        let offset = response.responses[0].partition_responses[0].base_offset;
        assert_eq!(offset, n);
    }
}

#[tokio::test]
async fn a_fetch_at_the_end_waits_for_an_append_and_no_longer() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut reader = kafka.connect().await;
    let mut writer = kafka.connect().await;
    let start = Instant::now();
    let asked = fetch_arrives(&kafka);
    let waiting = tokio::spawn(async move {
        let request = fetch("orders", &[(0, 0), (1, 0)]).with_max_wait_ms(20_000);
        reader.call(&request, 11).await
    });
    asked.hit().await;
    let batch = Batch::of(&["a"]).bytes();
    produce(&mut writer, "orders", 1, &batch).await;
    let response = waiting.await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "woken, not timed out"
    );
    let partitions = &response.responses[0].partitions;
    assert_eq!(crate::common::values(&partitions[0]), [""; 0]);
    assert_eq!(crate::common::values(&partitions[1]), ["a"]);
}

#[tokio::test]
async fn a_fetch_answers_empty_when_its_time_is_up() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let start = Instant::now();
    let request = fetch("orders", &[(0, 0)]).with_max_wait_ms(100);
    let response = connection.call(&request, 11).await;
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(response.error_code, 0);
    assert_eq!(response.responses[0].partitions[0].error_code, 0);
}

#[tokio::test]
async fn a_fetch_waits_until_as_much_is_there_as_it_wants() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut reader = kafka.connect().await;
    let mut writer = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    let request = fetch("orders", &[(0, 0)])
        .with_max_wait_ms(20_000)
        .with_min_bytes(3 * batch.len() as i32);
    let start = Instant::now();
    let asked = fetch_arrives(&kafka);
    let waiting = tokio::spawn(async move { reader.call(&request, 11).await });
    asked.hit().await;
    for _ in 0..3 {
        produce(&mut writer, "orders", 0, &batch).await;
    }
    let response = waiting.await.unwrap();
    let partition = &response.responses[0].partitions[0];
    assert_eq!(crate::common::values(partition), ["a", "a", "a"]);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "woken, not timed out"
    );
}

#[tokio::test]
async fn limits_hold_but_for_the_first_batch() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    let large = "x".repeat(1000);
    for partition in 0..2 {
        for _ in 0..5 {
            let batch = Batch::of(&[&large]).bytes();
            produce(&mut connection, "orders", partition, &batch).await;
        }
    }
    let all = [(0, 0), (1, 0)];
    let counts = |response: &kafka_protocol::messages::FetchResponse| {
        let partitions = &response.responses[0].partitions;
        (
            crate::common::values(&partitions[0]).len(),
            crate::common::values(&partitions[1]).len(),
        )
    };
    let request = fetch("orders", &all).with_max_bytes(10);
    assert_eq!(counts(&connection.call(&request, 11).await), (1, 0));
    // The first that has something to give, not the first asked for.
    let request = fetch("orders", &[(0, 5), (1, 0)]).with_max_bytes(10);
    assert_eq!(counts(&connection.call(&request, 11).await), (0, 1));
    let request = fetch("orders", &all).with_max_bytes(6700);
    assert_eq!(counts(&connection.call(&request, 11).await), (5, 1));
    let mut request = fetch("orders", &all);
    for partition in &mut request.topics[0].partitions {
        partition.partition_max_bytes = 2500;
    }
    assert_eq!(counts(&connection.call(&request, 11).await), (2, 2));
    // Nothing fits, and waiting would not change that: answered at once.
    request.max_wait_ms = 20_000;
    request.min_bytes = 1;
    let start = Instant::now();
    connection.call(&request, 11).await;
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn an_offset_that_is_not_there_is_out_of_range() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    for offset in [-1, 2, 1000] {
        let request = fetch("orders", &[(0, offset)]).with_max_wait_ms(20_000);
        let response = connection.call(&request, 11).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, code(ResponseError::OffsetOutOfRange));
        assert_eq!(partition.high_watermark, 1);
    }
    let request = fetch("none", &[(0, 0)]).with_max_wait_ms(20_000);
    let response = connection.call(&request, 11).await;
    let unknown = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(response.responses[0].partitions[0].error_code, unknown);
}

#[tokio::test]
async fn a_deleted_topic_ends_a_waiting_fetch() {
    for (version, gone) in [
        (12, ResponseError::UnknownTopicOrPartition),
        (13, ResponseError::UnknownTopicId),
    ] {
        let kafka = Kafka::own_broker().await;
        kafka.create_topic("orders", 1).await;
        let mut connection = kafka.connect().await;
        let mut request = fetch("orders", &[(0, 0)]).with_max_wait_ms(60_000);
        request.topics[0].topic_id = id_of(&mut connection, "orders").await;
        let mut reader = kafka.connect().await;
        let arrives = fetch_arrives(&kafka);
        let waiting = tokio::spawn(async move { reader.call(&request, version).await });
        arrives.hit().await;
        delete_topic(&mut connection, "orders").await;
        let response = tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("woken")
            .unwrap();
        assert_eq!(response.responses[0].partitions[0].error_code, code(gone));
    }
}

async fn id_of(connection: &mut Connection, topic: &str) -> Uuid {
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    connection.call(&request, 12).await.topics[0].topic_id
}

/// A fetch that has the topic by its id alone.
fn fetch_by_id(id: Uuid, from: &[(i32, i64)]) -> FetchRequest {
    let mut request = fetch("", from);
    request.topics[0].topic_id = id;
    request
}

#[tokio::test]
async fn a_fetch_by_id_is_of_that_topic_and_of_none_that_has_its_name_since() {
    let kafka = Kafka::start().await;
    let topic = unique("orders");
    kafka.create_topic(&topic, 1).await;
    let mut connection = kafka.connect().await;
    let old = id_of(&mut connection, &topic).await;
    produce(&mut connection, &topic, 0, &Batch::of(&["old"]).bytes()).await;
    let answer = connection.call(&fetch_by_id(old, &[(0, 0)]), 13).await;
    assert_eq!(answer.responses[0].topic_id, old);
    assert_eq!(values(&answer.responses[0].partitions[0]), ["old"]);

    delete_topic(&mut connection, &topic).await;
    let unknown = code(ResponseError::UnknownTopicId);
    eventually(Duration::from_secs(20), async || {
        let mut connection = kafka.connect().await;
        let answer = connection.call(&fetch_by_id(old, &[(0, 0)]), 13).await;
        (answer.responses[0].partitions[0].error_code == unknown).then_some(())
    })
    .await;

    kafka.create_topic(&topic, 1).await;
    let new = id_of(&mut connection, &topic).await;
    assert_ne!(new, old);
    produce(
        &mut connection,
        &topic,
        0,
        &Batch::of(&["new", "newer"]).bytes(),
    )
    .await;
    let answer = connection.call(&fetch_by_id(old, &[(0, 1)]), 13).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, unknown);
    let answer = connection.call(&fetch_by_id(new, &[(0, 0)]), 13).await;
    assert_eq!(values(&answer.responses[0].partitions[0]), ["new", "newer"]);
    let answer = connection.call(&fetch_by_id(new, &[(1, 0)]), 13).await;
    let no_partition = code(ResponseError::UnknownTopicOrPartition);
    assert_eq!(answer.responses[0].partitions[0].error_code, no_partition);
}

#[tokio::test]
async fn a_planted_batch_comes_back_as_it_was_planted() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 1).await;
    let mut broken = Batch::of(&["a"]).bytes();
    *broken.last_mut().unwrap() ^= 1;
    let broker = kafka.broker().unwrap();
    let gap = broker.plant("orders", 0, 5, broken.clone()).unwrap();
    assert_eq!(gap, 5);
    let mut connection = kafka.connect().await;
    let response = connection.call(&fetch("orders", &[(0, 0)]), 11).await;
    let records = response.responses[0].partitions[0].records.clone();
    let records = records.unwrap();
    assert_eq!(records[..8], 5i64.to_be_bytes());
    assert_eq!(records[16..], broken[16..]);
    assert!(broker.plant("orders", 0, 0, &b"short"[..]).is_err());
}
