//! One record, by its place.

use bytes::Bytes;
use futures::future::FutureExt as _;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, BrokerId, FetchRequest,
        fetch_request::{FetchPartition, FetchTopic},
    },
};

use super::{Admin, offsets::leader_of, topic_name};
use crate::{
    consumer::{ConsumerRecord, TopicPartition},
    error::Error,
    records::{
        BatchError, BatchProblem,
        walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walked, Walker},
    },
    topic_id::TopicId,
    versions::newest_fetch,
};

/// Asked for at most; the broker sends the first batch whole whatever its size (KIP-74).
const MAX_BYTES: i32 = 1024 * 1024;
/// How long the broker waits if there is no record at that offset yet, in milliseconds. It does not wait: metadata and
/// offsets are asked for on the same connection, and a broker answers a connection's requests in turn.
const MAX_WAIT_MS: i32 = 0;

/// What a partition holds from an offset on.
pub(crate) struct FetchedAt {
    records: Bytes,
    pub(crate) topic_id: Option<TopicId>,
    /// Where the partition ends.
    pub(crate) end: i64,
}

impl FetchedAt {
    /// Its records, those of aborted or open transactions as well.
    pub(crate) fn walk(self, of: &TopicPartition, offset: i64) -> Walker {
        let options = WalkOptions {
            topic: of.topic.clone(),
            partition: of.partition,
            fetch_offset: offset,
            isolation: IsolationLevel::ReadUncommitted,
            aborted: Vec::new(),
            max_decompressed: MAX_DECOMPRESSED,
        };
        Walker::new(self.records, options)
    }
}

impl Admin {
    /// The record at an offset, of an aborted or open transaction as well. `None` if there is none: not
    /// written yet, deleted by retention or compaction, or a transaction's marker.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::UnknownPartition`], a damaged batch, or no answer in time.
    pub async fn read_record(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<ConsumerRecord>, Error> {
        let of = TopicPartition::new(topic, partition);
        let what = format!("reading the record at {of} offset {offset}");
        self.retrying(&what, || self.fetch_one(&of, offset).boxed())
            .await
    }

    /// The batch at an offset, if it is one that no consumer can read; `None` if it can be read, or nothing
    /// lies there.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::UnknownPartition`], or no answer in time.
    pub async fn unreadable_batch(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<BatchError>, Error> {
        let found = self.unreadable_at(topic, partition, offset).await?;
        Ok(found.map(|(batch, _)| batch))
    }

    /// The same, and where the partition ends.
    pub(crate) async fn unreadable_at(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<(BatchError, i64)>, Error> {
        let of = TopicPartition::new(topic, partition);
        let what = format!("reading the batch at {of} offset {offset}");
        let fetched = self
            .retrying(&what, || self.fetch_at(&of, offset).boxed())
            .await?;
        let Some(fetched) = fetched else {
            return Ok(None);
        };
        let end = fetched.end;
        // A batch is read to its end: what is wrong may be behind good records.
        for walked in fetched.walk(&of, offset) {
            match walked {
                Ok(walked) if walked.offset() > offset => return Ok(None),
                Ok(_) => {}
                Err(mut error) => {
                    // A damaged header may say anything; nothing ends behind the log.
                    error.last = error.last.filter(|last| *last < end);
                    return Ok((error.offset <= offset).then_some((error, end)));
                }
            }
        }
        Ok(None)
    }

    /// The id of a topic; `None` where it does not exist or the broker knows no ids.
    pub(crate) async fn topic_id(&self, topic: &str) -> Result<Option<TopicId>, Error> {
        let view = self.cluster.fetch_topics(&[topic.into()]).await?;
        Ok(view.topic_id(topic))
    }

    /// Whole batches from the one with `offset` on; `None` where the log does not hold the offset.
    pub(crate) async fn fetch_at(
        &self,
        of: &TopicPartition,
        offset: i64,
    ) -> Result<Option<FetchedAt>, Error> {
        let view = self.existing(std::slice::from_ref(&of.topic)).await?;
        let (leader, epoch) = leader_of(&view, of)?;
        let topic_id = view.topic_id(&of.topic);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(MAX_WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(MAX_BYTES)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(topic_name(&of.topic))
                    .with_topic_id(TopicId::to_wire(topic_id))
                    .with_partitions(vec![
                        FetchPartition::default()
                            .with_partition(of.partition)
                            .with_current_leader_epoch(epoch)
                            .with_fetch_offset(offset)
                            .with_partition_max_bytes(MAX_BYTES),
                    ]),
            ]);
        let newest = newest_fetch(topic_id.is_some());
        let broker = self.to(leader).await?;
        let response = broker.call_up_to(newest, request, self.timeout).await?;
        Error::check(ApiKey::Fetch, response.error_code, None, || of.to_string())?;
        let mut answers = response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions);
        let answer = answers
            .find(|answer| answer.partition_index == of.partition)
            .ok_or_else(|| Error::Malformed {
                address: format!("with id {leader}").into(),
                api: ApiKey::Fetch,
                reason: format!("{of} is not answered").into(),
            })?;
        if ResponseError::try_from_code(answer.error_code) == Some(ResponseError::OffsetOutOfRange)
        {
            return Ok(None);
        }
        Error::check(ApiKey::Fetch, answer.error_code, None, || of.to_string())?;
        Ok(Some(FetchedAt {
            topic_id,
            records: answer.records.unwrap_or_default(),
            end: answer.high_watermark,
        }))
    }

    async fn fetch_one(
        &self,
        of: &TopicPartition,
        offset: i64,
    ) -> Result<Option<ConsumerRecord>, Error> {
        let Some(fetched) = self.fetch_at(of, offset).await? else {
            return Ok(None);
        };
        let topic_id = fetched.topic_id;
        // The first record at or behind the offset is the one, or there is none.
        match fetched.walk(of, offset).next() {
            None => Ok(None),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(walked)) if walked.offset() != offset => Ok(None),
            Some(Ok(Walked::Record(record))) => Ok(Some(ConsumerRecord::new(
                of.topic.clone(),
                topic_id,
                of.partition,
                record,
            ))),
            Some(Ok(Walked::Unreadable { reason, .. })) => Err(Error::Batch(BatchError {
                topic: of.topic.clone(),
                partition: of.partition,
                offset,
                last: Some(offset),
                problem: BatchProblem::Malformed(format!("the record is broken: {reason}")),
            })),
        }
    }
}
