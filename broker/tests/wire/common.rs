//! Requests as the tests of this folder need them.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    DeleteTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use testkit::raw::Connection;

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    text(name).into()
}

/// A record batch, built by hand so that fields can be wrong.
#[derive(Clone)]
pub struct Batch {
    values: Vec<String>,
    producer: (i64, i16, i32),
    attributes: i16,
    timestamp: i64,
    newest: Option<i64>,
    key: Option<String>,
}

impl Batch {
    pub fn of(values: &[&str]) -> Self {
        Self {
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            producer: (-1, -1, -1),
            attributes: 0,
            timestamp: 1_700_000_000_000,
            newest: None,
            key: None,
        }
    }

    /// Of an idempotent producer.
    pub fn sequenced(producer_id: i64, epoch: i16, sequence: i32, values: &[&str]) -> Self {
        Self {
            producer: (producer_id, epoch, sequence),
            ..Self::of(values)
        }
    }

    pub fn attributes(self, attributes: i16) -> Self {
        Self { attributes, ..self }
    }

    pub fn timestamp(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }

    /// What the header says of its newest record, whatever that is.
    pub fn newest(self, newest: i64) -> Self {
        Self {
            newest: Some(newest),
            ..self
        }
    }

    /// Each record has this key.
    pub fn key(self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut tail = Vec::new();
        let count = self.values.len() as i32;
        tail.extend(self.attributes.to_be_bytes());
        tail.extend((count - 1).to_be_bytes());
        tail.extend(self.timestamp.to_be_bytes());
        tail.extend(self.newest.unwrap_or(self.timestamp).to_be_bytes());
        tail.extend(self.producer.0.to_be_bytes());
        tail.extend(self.producer.1.to_be_bytes());
        tail.extend(self.producer.2.to_be_bytes());
        tail.extend(count.to_be_bytes());
        for (delta, value) in self.values.iter().enumerate() {
            let mut record = vec![0, 0];
            varint(&mut record, delta as i64);
            match &self.key {
                Some(key) => {
                    varint(&mut record, key.len() as i64);
                    record.extend(key.as_bytes());
                }
                None => varint(&mut record, -1),
            }
            varint(&mut record, value.len() as i64);
            record.extend(value.as_bytes());
            varint(&mut record, 0);
            varint(&mut tail, record.len() as i64);
            tail.extend(record);
        }
        let mut batch = 0i64.to_be_bytes().to_vec();
        batch.extend((9 + tail.len() as i32).to_be_bytes());
        batch.extend((-1i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c::crc32c(&tail).to_be_bytes());
        batch.extend(tail);
        batch
    }
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn read_varint(bytes: &mut &[u8]) -> i64 {
    let mut value = 0u64;
    for at in 0.. {
        let byte = bytes[at];
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            break;
        }
    }
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Values of all records in a partition of an answer, uncompressed ones.
pub fn values(partition: &PartitionData) -> Vec<String> {
    let records = partition.records.clone().unwrap_or_default();
    let mut rest = &records[..];
    let mut values = Vec::new();
    while !rest.is_empty() {
        let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let count = u32::from_be_bytes(rest[57..61].try_into().unwrap());
        let mut batch = &rest[61..size];
        for _ in 0..count {
            let length = read_varint(&mut batch) as usize;
            let mut record = &batch[1..length];
            batch = &batch[length..];
            read_varint(&mut record);
            read_varint(&mut record);
            let key = read_varint(&mut record);
            record = &record[key.max(0) as usize..];
            let value = read_varint(&mut record) as usize;
            values.push(String::from_utf8(record[..value].to_vec()).unwrap());
        }
        rest = &rest[size..];
    }
    values
}

pub fn produce_request(topic: &str, partition: i32, batch: &[u8], acks: i16) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(Bytes::copy_from_slice(batch)));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![data]);
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic])
}

/// Error code and base offset.
pub async fn produce_with(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batch: &[u8],
    acks: i16,
) -> (i16, i64) {
    let request = produce_request(topic, partition, batch, acks);
    let response = connection.call(&request, 9).await;
    let answer = &response.responses[0].partition_responses[0];
    (answer.error_code, answer.base_offset)
}

pub async fn produce(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    batch: &[u8],
) -> (i16, i64) {
    produce_with(connection, topic, partition, batch, -1).await
}

/// A fetch of (partition, offset)s of one topic that does not wait.
pub fn fetch(topic: &str, from: &[(i32, i64)]) -> FetchRequest {
    let partitions = from
        .iter()
        .map(|(partition, offset)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20)
        })
        .collect();
    let topic = FetchTopic::default()
        .with_topic(topic_name(topic))
        .with_partitions(partitions);
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic])
}

/// Everything in a partition.
pub async fn read_all(connection: &mut Connection, topic: &str, partition: i32) -> Vec<String> {
    let response = connection.call(&fetch(topic, &[(partition, 0)]), 11).await;
    let data = &response.responses[0].partitions[0];
    assert_eq!(data.error_code, 0);
    values(data)
}

/// Offset for a timestamp, or one of the special ones.
pub async fn offset_at(
    connection: &mut Connection,
    topic: &str,
    partition: i32,
    timestamp: i64,
) -> i64 {
    let asked = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![asked]);
    let request = ListOffsetsRequest::default().with_topics(vec![topic]);
    let response = connection.call(&request, 7).await;
    let answer = &response.topics[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    answer.offset
}

pub async fn latest(connection: &mut Connection, topic: &str, partition: i32) -> i64 {
    offset_at(connection, topic, partition, -1).await
}

pub async fn delete_topic(connection: &mut Connection, topic: &str) {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(vec![topic_name(topic)])
        .with_timeout_ms(20_000);
    let response = connection.call(&request, 5).await;
    assert_eq!(response.responses[0].error_code, 0);
}
