//! Which times of records are taken, and the time of the append in their place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use testkit::Kafka;
use testkit::raw::Connection;

use crate::common::{Batch, fetch, offset_at, produce_request, text};

const HOUR: i64 = 60 * 60 * 1000;

/// How far in the past, and in the future, a record's time may be, in milliseconds.
const BEFORE: &str = "message.timestamp.before.max.ms";
const AFTER: &str = "message.timestamp.after.max.ms";

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

async fn settings(connection: &mut Connection, topic: &str, names: &[&str]) -> Vec<String> {
    let keys = names.iter().map(|name| text(name)).collect();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configuration_keys(Some(keys));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response = connection.call(&request, 4).await;
    let configs = &response.results[0].configs;
    let value = |name: &&str| {
        let found = configs.iter().find(|config| config.name == text(name));
        found.unwrap().value.as_ref().unwrap().to_string()
    };
    names.iter().map(value).collect()
}

async fn send(connection: &mut Connection, topic: &str, batch: &[u8]) -> PartitionProduceResponse {
    let request = produce_request(topic, 0, batch, -1);
    let mut response = connection.call(&request, 9).await;
    response.responses.remove(0).partition_responses.remove(0)
}

/// Sends a batch until it is answered as `wanted`: Kafka answers a change of settings before the
/// partitions follow it.
async fn sent_until(
    kafka: &Kafka,
    topic: &str,
    batch: &[u8],
    wanted: impl Fn(&PartitionProduceResponse) -> bool,
) -> PartitionProduceResponse {
    let wanted = &wanted;
    testkit::eventually(Duration::from_secs(10), || async move {
        let mut connection = kafka.connect().await;
        let answer = send(&mut connection, topic, batch).await;
        wanted(&answer).then_some(answer)
    })
    .await
}

/// Attributes and greatest timestamp of the batch at `offset`; its checksum holds.
async fn stored(connection: &mut Connection, topic: &str, offset: i64) -> (i16, i64) {
    let mut request = fetch(topic, &[(0, offset)]);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let response = connection.call(&request, 11).await;
    let batch = response.responses[0].partitions[0].records.clone().unwrap();
    let size = 12 + i32::from_be_bytes(batch[8..12].try_into().unwrap()) as usize;
    let batch = &batch[..size];
    let crc = u32::from_be_bytes(batch[17..21].try_into().unwrap());
    assert_eq!(crc, crc32c::crc32c(&batch[21..]), "checksum");
    (
        i16::from_be_bytes(batch[21..23].try_into().unwrap()),
        i64::from_be_bytes(batch[35..43].try_into().unwrap()),
    )
}

#[tokio::test]
async fn records_from_more_than_an_hour_ahead_are_refused_and_named() {
    let kafka = Kafka::start().await;
    let topic = testkit::unique("ahead");
    let mut connection = kafka.connect().await;
    kafka
        .create_topic_with(&topic, 1, &[(AFTER, &HOUR.to_string())])
        .await;
    let ahead = Batch::of(&["a", "b"]).timestamp(now() + HOUR + 60_000);
    let refused = send(&mut connection, &topic, &ahead.bytes()).await;
    assert_eq!(refused.error_code, ResponseError::InvalidTimestamp.code());
    assert_eq!(refused.base_offset, -1);
    assert!(refused.error_message.is_some());
    let named: Vec<i32> = refused
        .record_errors
        .iter()
        .map(|record| record.batch_index)
        .collect();
    assert_eq!(named, [0, 1]);
    let reason = refused.record_errors[0].batch_index_error_message.clone();
    assert!(reason.unwrap().contains("out of range"));
    // A header that lies of its records' times is put right.
    let lying = Batch::of(&["a"]).timestamp(now()).newest(now() + 5 * HOUR);
    let taken = send(&mut connection, &topic, &lying.bytes()).await;
    assert_eq!((taken.error_code, taken.base_offset), (0, 0));
    let (attributes, newest) = stored(&mut connection, &topic, 0).await;
    assert_eq!(attributes, 0);
    assert!(newest <= now(), "{newest}");
    for timestamp in [now() + HOUR - 60_000, 0, -1] {
        let batch = Batch::of(&["a"]).timestamp(timestamp).bytes();
        let taken = send(&mut connection, &topic, &batch).await;
        assert_eq!(taken.error_code, 0, "{timestamp}");
        assert_eq!(taken.log_append_time_ms, -1);
    }
}

#[tokio::test]
async fn how_far_a_time_may_be_off_is_set_for_a_topic() {
    let kafka = Kafka::start().await;
    let topic = testkit::unique("bounds");
    let mut connection = kafka.connect().await;
    kafka
        .create_topic_with(&topic, 1, &[(BEFORE, "60000")])
        .await;
    let set_here = settings(&mut connection, &topic, &[BEFORE, AFTER]).await;
    // KIP-1030: an hour ahead by default from Kafka 4.0 on. Kafka 3 has no bound.
    let unbounded = kafka.broker().is_none() && set_here[1] == i64::MAX.to_string();
    if !unbounded {
        assert_eq!(set_here, ["60000", "3600000"]);
    }
    let invalid = ResponseError::InvalidTimestamp.code();
    let mut code = async |timestamp| {
        let batch = Batch::of(&["a"]).timestamp(timestamp).bytes();
        send(&mut connection, &topic, &batch).await.error_code
    };
    assert_eq!(code(now() - HOUR).await, invalid);
    assert_eq!(code(now() - 30_000).await, 0);
    let two_hours_ahead = if unbounded { 0 } else { invalid };
    assert_eq!(code(now() + 2 * HOUR).await, two_hours_ahead);
    let three_hours = (3 * HOUR).to_string();
    kafka.set_topic(&topic, AFTER, &three_hours).await;
    let batch = &Batch::of(&["a"]).timestamp(now() + 2 * HOUR).bytes();
    sent_until(&kafka, &topic, batch, |answer| answer.error_code == 0).await;
}

#[tokio::test]
async fn the_append_time_takes_the_place_of_the_producers_time() {
    let kafka = Kafka::start().await;
    let topic = testkit::unique("append");
    let mut connection = kafka.connect().await;
    let kind = "message.timestamp.type";
    kafka
        .create_topic_with(&topic, 1, &[(kind, "LogAppendTime")])
        .await;
    assert_eq!(
        settings(&mut connection, &topic, &[kind]).await,
        ["LogAppendTime"]
    );
    let start = now();
    // Any time will do, since it does not count.
    let ahead = Batch::sequenced(7, 0, 0, &["a", "b"]).timestamp(now() + 5 * HOUR);
    let taken = send(&mut connection, &topic, &ahead.bytes()).await;
    assert_eq!((taken.error_code, taken.base_offset), (0, 0));
    let appended = taken.log_append_time_ms;
    assert!((start..=now()).contains(&appended), "{appended}");
    assert_eq!(stored(&mut connection, &topic, 0).await, (8, appended));
    let again = send(&mut connection, &topic, &ahead.bytes()).await;
    assert_eq!((again.error_code, again.base_offset), (0, 0));
    assert_eq!(again.log_append_time_ms, appended);

    // Of a time and at the newest time: the first record that has it.
    for (timestamp, offset) in [(0, 0), (appended, 0), (appended + HOUR, -1), (-3, 0)] {
        let found = offset_at(&mut connection, &topic, 0, timestamp).await;
        assert_eq!(found, offset, "at {timestamp}");
    }
    // Only the broker may say so.
    let claimed = Batch::of(&["a"]).attributes(8).timestamp(now());
    let refused = send(&mut connection, &topic, &claimed.bytes()).await;
    assert_eq!(refused.error_code, ResponseError::InvalidTimestamp.code());
    kafka.set_topic(&topic, kind, "CreateTime").await;
    let old = &Batch::of(&["a"]).timestamp(1000).bytes();
    let taken = sent_until(&kafka, &topic, old, |answer| {
        answer.log_append_time_ms == -1
    })
    .await;
    assert_eq!(taken.error_code, 0);
    let found = stored(&mut connection, &topic, taken.base_offset).await;
    assert_eq!(found, (0, 1000));
}
