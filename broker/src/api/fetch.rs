//! Fetch: batches from an offset on; waits for more when there are too few.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use kafka_protocol::protocol::VersionRange;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;
use crate::log::Log;
use crate::partition::Partition;
use crate::topics::Topics;

/// From this version on a topic is asked for by its id (KIP-516): one that was deleted and created again is another.
const BY_ID: i16 = 13;

impl Api for FetchRequest {
    const SERVED: VersionRange = versions(4, BY_ID);

    fn name_topics(&mut self, topics: &Topics) {
        for topic in &mut self.topics {
            if let Some(found) = topics.by_id(topic.topic_id) {
                topic.topic = found.name.clone().into();
            }
        }
    }

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            for partition in &topic.partitions {
                visit(Subject::Partition(&topic.topic, partition.partition));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<FetchResponse> {
        // Sessions are never granted: every fetch names all of its partitions and is answered with
        // session id 0 (KIP-227).
        if self.session_id != 0 {
            let error = ResponseError::FetchSessionIdNotFound.code();
            return Reply::Answer(FetchResponse::default().with_error_code(error));
        }
        let wanted = resolve(&self, call);
        wait(&self, &wanted, call).await;
        Reply::Answer(FetchResponse::default().with_responses(read(&self, &wanted, call)))
    }
}

/// Where the log differs from the one that a client has read up to its fetch offset, whose last record
/// was of the epoch that it names (KIP-595); `None` where it does not, or the client names none.
fn divergence(
    asked: &FetchPartition,
    log: &Log,
    current: i32,
) -> Result<Option<EpochEndOffset>, ResponseError> {
    if asked.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let (epoch, end) = log
        .epoch_end(asked.last_fetched_epoch, current)
        .ok_or(ResponseError::OffsetOutOfRange)?;
    let differs = epoch < asked.last_fetched_epoch || end < asked.fetch_offset;
    Ok(differs.then(|| {
        EpochEndOffset::default()
            .with_epoch(epoch)
            .with_end_offset(end)
    }))
}

/// Each partition asked for, in the order of the request: where it is, or why not.
fn resolve(request: &FetchRequest, call: &Call) -> Vec<Result<Arc<Partition>, ResponseError>> {
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let found = match call.version {
            BY_ID.. => call.state.topics.by_id(topic.topic_id),
            _ => call.state.topics.get(&topic.topic),
        };
        for asked in &topic.partitions {
            let partition = match call.refusal(&topic.topic, asked.partition) {
                Some(error) => Err(error),
                None => found.as_ref().ok_or(no_topic(call)).and_then(|found| {
                    let partition = found.partition(asked.partition).cloned();
                    partition.ok_or(ResponseError::UnknownTopicOrPartition)
                }),
            };
            let fenced = check_epoch(asked.current_leader_epoch, call);
            wanted.push(partition.and_then(|partition| fenced.map(|()| partition)));
        }
    }
    wanted
}

/// What a topic is called that is not there.
fn no_topic(call: &Call) -> ResponseError {
    match call.version {
        BY_ID.. => ResponseError::UnknownTopicId,
        _ => ResponseError::UnknownTopicOrPartition,
    }
}

/// Compares the epoch that a client believes in (-1: none) with the broker's (KIP-320).
pub(super) fn check_epoch(believed: i32, call: &Call) -> Result<(), ResponseError> {
    let current = call.state.topics.leader_epoch();
    match believed {
        ..0 => Ok(()),
        _ if believed < current => Err(ResponseError::FencedLeaderEpoch),
        _ if believed > current => Err(ResponseError::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

fn asked(request: &FetchRequest) -> impl Iterator<Item = &FetchPartition> {
    request.topics.iter().flat_map(|topic| &topic.partitions)
}

/// Returns when enough is there, something is wrong, time is up or nobody waits any more.
async fn wait(
    request: &FetchRequest,
    wanted: &[Result<Arc<Partition>, ResponseError>],
    call: &Call,
) {
    let epoch = call.state.topics.leader_epoch();
    let min_bytes = u64::try_from(request.min_bytes).unwrap_or(0);
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    if min_bytes == 0 || max_wait.is_zero() || is_ready(request, wanted, min_bytes, epoch) {
        return;
    }
    let deadline = Instant::now() + max_wait;
    let more = Arc::new(Notify::new());
    let _watches: Vec<_> = wanted
        .iter()
        .flatten()
        .map(|partition| partition.watch(&more))
        .collect();
    // Again, because an append may have come before the watch did.
    while !is_ready(request, wanted, min_bytes, epoch) {
        tokio::select! {
            () = more.notified() => {}
            () = tokio::time::sleep_until(deadline) => return,
            () = call.gone.cancelled() => return,
        }
    }
}

fn is_ready(
    request: &FetchRequest,
    wanted: &[Result<Arc<Partition>, ResponseError>],
    min_bytes: u64,
    epoch: i32,
) -> bool {
    let mut bytes = 0;
    for (asked, partition) in asked(request).zip(wanted) {
        let Ok(partition) = partition else {
            return true;
        };
        let log = partition.log();
        if !matches!(divergence(asked, &log, epoch), Ok(None)) {
            return true;
        }
        let readable = log.start_offset()..=log.end_offset();
        if partition.is_deleted() || !readable.contains(&asked.fetch_offset) {
            return true;
        }
        bytes += log
            .bytes_from(asked.fetch_offset)
            .min(u64::try_from(asked.partition_max_bytes).unwrap_or(0));
        if bytes >= min_bytes {
            return true;
        }
    }
    false
}

fn read(
    request: &FetchRequest,
    wanted: &[Result<Arc<Partition>, ResponseError>],
    call: &Call,
) -> Vec<FetchableTopicResponse> {
    let limit = usize::try_from(request.max_bytes).unwrap_or(0);
    let mut left = limit.min(call.state.config.max_fetch_bytes);
    let mut first = true;
    let mut buffer = BytesMut::new();
    let mut wanted = wanted.iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (asked, partition) in topic.partitions.iter().zip(&mut wanted) {
            let mut data = match partition {
                Ok(partition) => read_partition(asked, partition, left, first, call, &mut buffer),
                Err(error) => failed(asked.partition, *error),
            };
            if let Some(error) = call.disguise(&topic.topic, asked.partition) {
                data = failed(asked.partition, error);
            }
            let bytes = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(bytes);
            first &= bytes == 0;
            partitions.push(data);
        }
        topics.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    topics
}

fn read_partition(
    asked: &FetchPartition,
    partition: &Partition,
    left: usize,
    first: bool,
    call: &Call,
    buffer: &mut BytesMut,
) -> PartitionData {
    let (plan, start_offset, end_offset, divergence) = {
        let mut log = partition.log();
        if partition.is_deleted() {
            return failed(asked.partition, no_topic(call));
        }
        let epoch = call.state.topics.leader_epoch();
        let divergence = match divergence(asked, &log, epoch) {
            Ok(divergence) => divergence,
            Err(error) => return failed(asked.partition, error),
        };
        let plan = log.plan_read(asked.fetch_offset);
        (plan, log.start_offset(), log.end_offset(), divergence)
    };
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(end_offset)
        .with_last_stable_offset(end_offset)
        .with_log_start_offset(start_offset)
        .with_aborted_transactions(None)
        .with_preferred_read_replica((-1).into())
        .with_records(Some(Bytes::new()));
    if let Some(divergence) = divergence {
        return data.with_diverging_epoch(divergence);
    }
    let max_bytes = left.min(usize::try_from(asked.partition_max_bytes).unwrap_or(0));
    let chunk = match plan {
        Ok(Ok(Some(plan))) => plan.read(max_bytes, first, buffer),
        Ok(Ok(None)) => return data,
        Ok(Err(_)) => {
            return data.with_error_code(code(Some(ResponseError::OffsetOutOfRange)));
        }
        Err(error) => Err(error),
    };
    match chunk {
        Ok(None) => data,
        Ok(Some(chunk)) => {
            partition
                .log()
                .remember(chunk.next_offset, chunk.segment, chunk.next_position);
            data.with_records(Some(chunk.bytes))
        }
        Err(error) => {
            tracing::error!(
                topic = %partition.topic, partition = partition.index,
                offset = asked.fetch_offset, %error, "cannot read the log"
            );
            data.with_error_code(ResponseError::KafkaStorageError.code())
        }
    }
}

fn failed(index: i32, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
        .with_preferred_read_replica((-1).into())
        .with_records(Some(Bytes::new()))
}
