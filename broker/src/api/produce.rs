//! Produce: batches checked, stored, acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::clock::now_ms;
use crate::config::Fsync;
use crate::faults::Subject;
use crate::log::AppendError;
use crate::log::batch::{BatchHeader, checksum_holds};
use crate::log::producers::SequenceError;
use crate::state::State;
use crate::topics::Topic;

impl Api for ProduceRequest {
    // Version 12 differs for transactions only, 13 names topics by id.
    const SERVED: VersionRange = versions(3, 11);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topic_data {
            for partition in &topic.partition_data {
                visit(Subject::Partition(&topic.name, partition.index));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<ProduceResponse> {
        let acks = self.acks;
        let mut failed = false;
        let mut responses = Vec::with_capacity(self.topic_data.len());
        for topic in self.topic_data {
            let found = call.state.topics.get(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for data in topic.partition_data {
                let index = data.index;
                let stored = match call.refusal(&topic.name, index) {
                    Some(error) => Err(error.into()),
                    None if !(-1..=1).contains(&acks) => {
                        Err(ResponseError::InvalidRequiredAcks.into())
                    }
                    None if self.transactional_id.is_some() => Err(Refused::because(
                        ResponseError::InvalidRequest,
                        "this broker has no transactions",
                    )),
                    None => store(call, found.as_ref(), data).await,
                };
                let stored = match call.disguise(&topic.name, index) {
                    Some(error) => Err(error.into()),
                    None => stored,
                };
                failed |= stored.is_err();
                partitions.push(respond(call, index, stored));
            }
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name)
                    .with_partition_responses(partitions),
            );
        }
        match (acks, failed) {
            (0, false) => Reply::Nothing,
            (0, true) => Reply::Close,
            _ => Reply::Answer(ProduceResponse::default().with_responses(responses)),
        }
    }
}

struct Stored {
    base_offset: i64,
    log_start_offset: i64,
}

struct Refused {
    error: ResponseError,
    reason: Option<String>,
}

impl Refused {
    fn because(error: ResponseError, reason: impl Into<String>) -> Self {
        Self {
            error,
            reason: Some(reason.into()),
        }
    }
}

impl From<ResponseError> for Refused {
    fn from(error: ResponseError) -> Self {
        Self {
            error,
            reason: None,
        }
    }
}

async fn store(
    call: &Call,
    topic: Option<&Arc<Topic>>,
    data: PartitionProduceData,
) -> Result<Stored, Refused> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if call.state.config.fsync != Fsync::Always {
        return append(&call.state, topic, data);
    }
    // Waiting for the device would hold up every client of this thread.
    let (state, topic) = (call.state.clone(), topic.clone());
    tokio::task::spawn_blocking(move || append(&state, &topic, data))
        .await
        .map_err(|_| ResponseError::UnknownServerError)?
}

fn append(state: &State, topic: &Topic, data: PartitionProduceData) -> Result<Stored, Refused> {
    let partition = topic
        .partition(data.index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let limit = topic.settings.max_message_bytes(&state.topics.defaults());
    let batch = data.records.unwrap_or_default();
    let header = check(&batch, limit)?;
    let (stored, closed) = {
        let mut log = partition.log();
        if partition.is_deleted() {
            return Err(ResponseError::UnknownTopicOrPartition.into());
        }
        let appended = log
            .append(&batch, &header, state.topics.leader_epoch(), now_ms())
            .map_err(|error| refuse(&error, &partition.topic, partition.index))?;
        let stored = Stored {
            base_offset: appended.base_offset,
            log_start_offset: log.start_offset(),
        };
        (stored, log.take_checkpoints())
    };
    partition.wake();
    for checkpoint in closed {
        let disk = state.disk.clone();
        tokio::task::spawn_blocking(move || checkpoint.write(&disk));
    }
    Ok(stored)
}

fn refuse(error: &AppendError, topic: &str, partition: i32) -> Refused {
    let code = match error {
        AppendError::Sequence(SequenceError::OutOfOrder { .. }) => {
            ResponseError::OutOfOrderSequenceNumber
        }
        AppendError::Sequence(SequenceError::OldEpoch { .. }) => {
            ResponseError::InvalidProducerEpoch
        }
        AppendError::Storage(_) => {
            tracing::error!(topic, partition, %error, "records refused");
            ResponseError::KafkaStorageError
        }
    };
    Refused::because(code, error.to_string())
}

/// Java's `ProduceRequest.validateRecords` and `LogValidator.validateBatch`.
fn check(batch: &Bytes, limit: usize) -> Result<BatchHeader, Refused> {
    let invalid = |reason: &str| Refused::because(ResponseError::InvalidRecord, reason);
    if batch.is_empty() {
        return Err(invalid("no record batch"));
    }
    let header = BatchHeader::parse(batch)
        .filter(|header| header.size <= batch.len())
        .ok_or(ResponseError::CorruptMessage)?;
    if header.magic != 2 {
        return Err(invalid("only message format 2 is taken"));
    }
    if header.size < batch.len() {
        return Err(invalid("more than one record batch for a partition"));
    }
    if header.size > limit {
        return Err(Refused::because(
            ResponseError::MessageTooLarge,
            format!("a batch of {} bytes; the limit is {limit}", header.size),
        ));
    }
    if !checksum_holds(batch, &header) {
        return Err(ResponseError::CorruptMessage.into());
    }
    if header.count < 1 || header.last_offset_delta != header.count - 1 {
        return Err(invalid("the batch's offsets contradict its record count"));
    }
    if header.is_control() || header.is_transactional() {
        return Err(invalid("control and transactional batches are not taken"));
    }
    if header.compression() > 4 {
        return Err(ResponseError::UnsupportedCompressionType.into());
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(invalid("a producer id without epoch and sequence"));
    }
    Ok(header)
}

fn respond(call: &Call, index: i32, stored: Result<Stored, Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match stored {
        Ok(stored) => response
            .with_base_offset(stored.base_offset)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(stored.log_start_offset),
        Err(refused) => {
            let response = response
                .with_error_code(refused.error.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
                .with_error_message(refused.reason.map(StrBytes::from_string));
            if refused.error == ResponseError::NotLeaderOrFollower {
                let leader = LeaderIdAndEpoch::default()
                    .with_leader_id(call.state.config.node_id.into())
                    .with_leader_epoch(call.state.topics.leader_epoch());
                response.with_current_leader(leader)
            } else {
                response
            }
        }
    }
}
