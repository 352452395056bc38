//! Produce: batches checked, stored, acknowledged.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, NO_TRANSACTIONS, Reply, versions};
use crate::clock::now_ms;
use crate::faults::Subject;
use crate::log::AppendError;
use crate::log::batch::{BatchHeader, LENGTH_END, MAGIC_AT, checksum_holds};
use crate::log::producers::SequenceError;
use crate::partition::Partition;
use crate::records::{Fault, survey};
use crate::state::State;
use crate::topics::{NO_TIME, Times, Topic};

/// Records are looked at on the threads that serve clients up to this size in the clear, in bytes,
/// and elsewhere up to [`MOST_IN_THE_CLEAR`]: decompressing more would hold up other clients.
const AT_ONCE: u64 = 4 << 20;
/// Largest batch in the clear, in bytes. Kafka has no limit here, so that a small request can keep
/// it busy for minutes.
const MOST_IN_THE_CLEAR: u64 = 256 << 20;
/// Number of the newest compression.
const ZSTD: i16 = 4;
/// Refused records named in one answer at most.
const MOST_NAMED: usize = 1000;

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
                        NO_TRANSACTIONS,
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
    log_append_time: i64,
    log_start_offset: i64,
}

struct Refused {
    error: ResponseError,
    reason: Option<String>,
    /// Records at fault: their number in the batch and why.
    records: Vec<(i32, Option<String>)>,
}

impl Refused {
    fn because(error: ResponseError, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::from(error)
        }
    }
}

impl From<ResponseError> for Refused {
    fn from(error: ResponseError) -> Self {
        Self {
            error,
            reason: None,
            records: Vec::new(),
        }
    }
}

async fn store(
    call: &Call,
    topic: Option<&Arc<Topic>>,
    data: PartitionProduceData,
) -> Result<Stored, Refused> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = topic
        .partition(data.index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let limit = topic
        .settings
        .max_message_bytes(&call.state.topics.defaults());
    let mut batch = data.records.unwrap_or_default();
    let header = check(&mut batch, limit, call.version)?;
    let wanted = Wanted {
        times: topic.settings.times(),
        keys: topic.settings.compacts(),
    };
    let header = match check_records(&batch, &header, wanted, now_ms(), AT_ONCE) {
        Ok(header) => header,
        Err(Unfit::Refused(refused)) => return Err(refused),
        Err(Unfit::TooLarge) => {
            let batch = batch.clone();
            let checked = tokio::task::spawn_blocking(move || {
                check_records(&batch, &header, wanted, now_ms(), MOST_IN_THE_CLEAR)
            });
            match checked
                .await
                .map_err(|_| ResponseError::UnknownServerError)?
            {
                Ok(header) => header,
                Err(Unfit::Refused(refused)) => return Err(refused),
                Err(Unfit::TooLarge) => {
                    return Err(Refused::because(
                        ResponseError::MessageTooLarge,
                        Fault::TooLarge(MOST_IN_THE_CLEAR).to_string(),
                    ));
                }
            }
        }
    };
    let durable = call.state.topics.defaults().log.durable || topic.settings.flushes();
    if !durable {
        return append(&call.state, partition, &batch, &header);
    }
    // Waiting for the device would hold up every client of this thread.
    let (state, partition) = (call.state.clone(), partition.clone());
    tokio::task::spawn_blocking(move || append(&state, &partition, &batch, &header))
        .await
        .map_err(|_| ResponseError::UnknownServerError)?
}

fn append(
    state: &State,
    partition: &Partition,
    batch: &Bytes,
    header: &BatchHeader,
) -> Result<Stored, Refused> {
    let (stored, closed) = {
        let mut log = partition.log();
        if partition.is_deleted() {
            return Err(ResponseError::UnknownTopicOrPartition.into());
        }
        let appended = log
            .append(batch, header, state.topics.leader_epoch(), now_ms())
            .map_err(|error| refuse(&error, &partition.topic, partition.index))?;
        let stored = Stored {
            base_offset: appended.base_offset,
            log_append_time: appended.append_time.unwrap_or(-1),
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

/// Size of the batch at the front, `None` if it is not all there; Java's `ByteBufferLogInputStream`.
fn front(bytes: &[u8]) -> Result<Option<usize>, Refused> {
    let Some(length) = bytes.get(8..LENGTH_END) else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
    // The overhead of the oldest format's records.
    let length = usize::try_from(length).ok().filter(|length| *length >= 14);
    let Some(length) = length else {
        return Err(Refused::because(
            ResponseError::CorruptMessage,
            "the batch's length is less than a batch has",
        ));
    };
    let Some(magic) = bytes.get(MAGIC_AT) else {
        return Ok(None);
    };
    if *magic > 2 {
        return Err(Refused::because(
            ResponseError::CorruptMessage,
            format!("there is no message format {magic}"),
        ));
    }
    let size = LENGTH_END + length;
    Ok((size <= bytes.len()).then_some(size))
}

/// Java's `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords` and
/// `LogValidator.validateBatch`. Cuts off what is too short to be another batch.
fn check(batch: &mut Bytes, limit: usize, version: i16) -> Result<BatchHeader, Refused> {
    let invalid = |reason: &str| Refused::because(ResponseError::InvalidRecord, reason);
    let size = front(batch)?.ok_or_else(|| invalid("no whole record batch"))?;
    if batch[MAGIC_AT] != 2 {
        return Err(invalid("only message format 2 is taken"));
    }
    if front(&batch[size..])?.is_some() {
        return Err(invalid("more than one record batch for a partition"));
    }
    batch.truncate(size);
    let header = BatchHeader::parse(batch).ok_or(ResponseError::CorruptMessage)?;
    if header.compression() == ZSTD && version < 7 {
        return Err(Refused::because(
            ResponseError::UnsupportedCompressionType,
            "zstd needs version 7 of Produce",
        ));
    }
    if header.base_offset != 0 {
        return Err(invalid("the batch's base offset is not 0"));
    }
    if header.size > limit {
        return Err(Refused::because(
            ResponseError::MessageTooLarge,
            format!("a batch of {} bytes; the limit is {limit}", header.size),
        ));
    }
    if !checksum_holds(batch, &header) {
        return Err(Refused::because(
            ResponseError::CorruptMessage,
            "the batch's checksum is wrong",
        ));
    }
    if header.count < 1 || header.last_offset_delta != header.count - 1 {
        return Err(invalid("the batch's offsets contradict its record count"));
    }
    if header.is_control() || header.is_transactional() {
        return Err(invalid("control and transactional batches are not taken"));
    }
    if header.compression() > ZSTD {
        // Java fails on the unknown number.
        return Err(Refused::because(
            ResponseError::UnknownServerError,
            format!("there is no compression {}", header.compression()),
        ));
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(invalid("a producer id without epoch and sequence"));
    }
    Ok(header)
}

/// What a topic wants of each record.
#[derive(Clone, Copy)]
struct Wanted {
    times: Times,
    /// Each record has a key, as compaction needs it.
    keys: bool,
}

/// Why a batch with a valid header is not taken.
enum Unfit {
    Refused(Refused),
    /// More in the clear than was to be looked at.
    TooLarge,
}

/// Java's `LogValidator` on the records of a batch; the header as it is to be stored.
fn check_records(
    batch: &Bytes,
    header: &BatchHeader,
    wanted: Wanted,
    now: i64,
    most: u64,
) -> Result<BatchHeader, Unfit> {
    let times = wanted.times;
    let mut newest = NO_TIME;
    let mut refused = Vec::new();
    let mut keyless = Vec::new();
    let surveyed = survey(batch, header, most, |index, seen| {
        let time = seen.time;
        newest = newest.max(time);
        if wanted.keys && !seen.has_key {
            if keyless.len() < MOST_NAMED {
                let reason = format!("record {index} has no key (cleanup.policy=compact)");
                keyless.push((index, Some(reason)));
            }
            return;
        }
        let reason = if times.append_time || time == NO_TIME {
            if !header.has_append_time() {
                return;
            }
            "the batch claims the time of its append, which only the broker knows".to_owned()
        } else if times.take(time, now) {
            return;
        } else {
            let earliest = now.wrapping_sub(times.before_max);
            let latest = now.wrapping_add(times.after_max);
            format!(
                "timestamp {time} of record {index} is out of range: the topic takes {earliest} \
                 to {latest} (message.timestamp.before.max.ms, message.timestamp.after.max.ms)"
            )
        };
        if refused.len() < MOST_NAMED {
            refused.push((index, Some(reason)));
        }
    });
    match surveyed {
        Err(Fault::TooLarge(_)) => return Err(Unfit::TooLarge),
        Err(fault) => {
            let error = match fault {
                // What Java's decompressors throw has no code of its own.
                Fault::Compression => ResponseError::UnknownServerError,
                _ => ResponseError::InvalidRecord,
            };
            return Err(Unfit::Refused(Refused::because(error, fault.to_string())));
        }
        Ok(()) => {}
    }
    if !refused.is_empty() {
        return Err(Unfit::Refused(Refused {
            error: ResponseError::InvalidTimestamp,
            reason: Some("records have a time that the topic does not take".to_owned()),
            records: refused,
        }));
    }
    if !keyless.is_empty() {
        return Err(Unfit::Refused(Refused {
            error: ResponseError::InvalidRecord,
            reason: Some(
                "each record of a topic with cleanup.policy=compact needs a key".to_owned(),
            ),
            records: keyless,
        }));
    }
    Ok(header.with_create_time(newest))
}

fn respond(call: &Call, index: i32, stored: Result<Stored, Refused>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match stored {
        Ok(stored) => response
            .with_base_offset(stored.base_offset)
            .with_log_append_time_ms(stored.log_append_time)
            .with_log_start_offset(stored.log_start_offset),
        Err(refused) => {
            let records = refused.records.into_iter().map(|(number, reason)| {
                BatchIndexAndErrorMessage::default()
                    .with_batch_index(number)
                    .with_batch_index_error_message(reason.map(StrBytes::from_string))
            });
            let response = response
                .with_error_code(refused.error.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
                .with_record_errors(records.collect())
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
