//! One record, written once however often and by however many it is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures::future::FutureExt as _;
use kafka_protocol::messages::{
    ApiKey, ProduceRequest,
    produce_request::{PartitionProduceData, TopicProduceData},
};

use super::{Admin, millis, offsets::leader_of, topic_name};
use crate::{
    consumer::TopicPartition,
    error::{ConfigError, Error},
    producer::{OutgoingRecord, ProducerId, RecordMetadata, new_producer_id},
    records::{
        Compression,
        encoder::{BatchBuilder, ProducerStamp, RecordParts, restamp},
    },
};

/// `acks=all`: a new leader must know the record, too, to recognise it when it comes again.
const ALL_REPLICAS: i16 = -1;

impl Admin {
    /// A producer id that nobody else has, for one record to be written by
    /// [`write_once`](Self::write_once). It may be kept and told to others; unused, it never expires.
    ///
    /// # Errors
    /// This client may not write idempotently, or no answer in time.
    pub async fn new_producer_id(&self) -> Result<ProducerId, Error> {
        self.retrying("asking for a producer id", || {
            new_producer_id(&self.cluster, self.timeout).boxed()
        })
        .await
    }

    /// Writes a record under a producer id of its own, and tells where it lies.
    ///
    /// Whoever sends it with the same id to the same partition, one after another or at the same moment,
    /// after a failure or in spite of one, is told the same place: the broker takes the batch that an id
    /// begins with once (KIP-98), a request that arrives late included. It remembers that for
    /// `producer.id.expiration.ms` (a day by default) after the record was written. So an id is for one
    /// record and one partition; sent with another record, it is told the place of the first.
    ///
    /// # Errors
    /// The record names no partition; [`Error::UnknownTopic`], [`Error::UnknownPartition`]; the broker
    /// refuses the record; or no acknowledgement in time, when it may be written all the same, and sending
    /// it again with the same id is safe.
    pub async fn write_once(
        &self,
        id: ProducerId,
        record: &OutgoingRecord<'_>,
    ) -> Result<RecordMetadata, Error> {
        let Some(partition) = record.partition else {
            let problem = "must be named: an id counts in one partition";
            return Err(ConfigError::new("partition", problem).into());
        };
        let of = TopicPartition::new(record.topic, partition);
        let timestamp = record.timestamp.unwrap_or_else(now_millis);
        let batch = batch(id, record, timestamp);
        let what = format!("writing a record to {of}");
        let offset = self
            .retrying(&what, || self.produce_one(&of, batch.clone()).boxed())
            .await?;
        Ok(RecordMetadata {
            topic: of.topic,
            partition,
            offset,
            timestamp,
        })
    }

    async fn produce_one(&self, of: &TopicPartition, batch: Bytes) -> Result<i64, Error> {
        let view = self.existing(std::slice::from_ref(&of.topic)).await?;
        let (leader, _) = leader_of(&view, of)?;
        let request = ProduceRequest::default()
            .with_acks(ALL_REPLICAS)
            // Slow replicas are answered with an error, rather than with a closed connection.
            .with_timeout_ms(millis(self.timeout.mul_f32(0.75)))
            .with_topic_data(vec![
                TopicProduceData::default()
                    .with_name(topic_name(&of.topic))
                    .with_partition_data(vec![
                        PartitionProduceData::default()
                            .with_index(of.partition)
                            .with_records(Some(batch)),
                    ]),
            ]);
        let response = self.to(leader).await?.call(request, self.timeout).await?;
        let mut answers = response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partition_responses);
        let malformed = |reason: &str| Error::Malformed {
            address: format!("with id {leader}").into(),
            api: ApiKey::Produce,
            reason: format!("{of} {reason}").into(),
        };
        let answer = answers
            .find(|answer| answer.index == of.partition)
            .ok_or_else(|| malformed("is not answered"))?;
        let message = answer.error_message.as_deref();
        Error::check(ApiKey::Produce, answer.error_code, message, || {
            of.to_string()
        })?;
        if answer.base_offset < 0 {
            return Err(malformed("has taken a record without saying where it lies"));
        }
        Ok(answer.base_offset)
    }
}

/// A batch of one record, the first of its producer.
fn batch(id: ProducerId, record: &OutgoingRecord<'_>, timestamp: i64) -> Bytes {
    let parts = RecordParts {
        timestamp,
        key: record.key,
        value: record.value,
        headers: record.headers.into(),
    };
    let mut builder = BatchBuilder::new(BytesMut::new());
    builder.append(&parts, parts.payload_size());
    let stamp = ProducerStamp {
        producer_id: id.id,
        epoch: id.epoch,
        base_sequence: 0,
    };
    restamp(builder.close(Compression::None, BytesMut::new).batch, stamp)
}

fn now_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
