//! What a broker's answer to a Fetch request means for each partition.

use std::collections::HashMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::headers::read_headers;
use super::{Chunk, Divergence, Fetched, Shared, Taken, What};
use crate::error::Error;
use crate::topic_id::TopicId;

/// Passes on what a broker answered to one request, for each partition that it was asked for.
pub(super) fn deliver(shared: &Shared, node: i32, taken: &[Taken], response: FetchResponse) {
    let mut answers: HashMap<(StrBytes, i32), PartitionData> = HashMap::new();
    for topic in response.responses {
        for partition in topic.partitions {
            answers.insert(
                (topic.topic.0.clone(), partition.partition_index),
                partition,
            );
        }
    }
    let mut fetched = Vec::with_capacity(taken.len());
    let mut refresh = false;
    for taken in taken {
        let key = (
            StrBytes::from_string(taken.topic.to_string()),
            taken.partition,
        );
        let one = match answers.remove(&key) {
            Some(data) => partition(shared, node, taken, data, &mut refresh),
            None => {
                let reason = format!("the answer leaves out {}-{}", taken.topic, taken.partition);
                fail(shared, taken, malformed(node, reason))
            }
        };
        fetched.extend(one);
    }
    if refresh {
        shared.cluster.request_refresh();
    }
    send(shared, fetched);
}

/// The metadata say that these are of topics which were deleted and created again.
pub(super) fn recreated(shared: &Shared, recreated: &[Taken]) {
    let fetched = recreated.iter().map(|taken| Fetched {
        slot: taken.slot,
        ticket: taken.ticket,
        what: What::Recreated {
            position: taken.position,
            topic_id: shared.topic_id(&taken.topic),
        },
    });
    send(shared, fetched.collect());
}

/// A request without an answer: every partition of it failed.
pub(super) fn fail_all(shared: &Shared, taken: &[Taken], error: &Error) {
    // The leader may be another broker by now.
    shared.cluster.request_refresh();
    let failed = taken
        .iter()
        .filter_map(|taken| fail(shared, taken, error.clone()))
        .collect();
    send(shared, failed);
}

fn malformed(node: i32, reason: String) -> Error {
    Error::Malformed {
        address: format!("with id {node}").into(),
        api: ApiKey::Fetch,
        reason: reason.into(),
    }
}

/// What one partition's answer means; `None` if nobody waits for it any more.
fn partition(
    shared: &Shared,
    node: i32,
    taken: &Taken,
    data: PartitionData,
    refresh: &mut bool,
) -> Option<Fetched> {
    let what = match ResponseError::try_from_code(data.error_code) {
        None if data.diverging_epoch.end_offset >= 0 => {
            let divergence = Divergence {
                position: taken.position,
                epoch: taken.last_epoch,
                leader_epoch: data.diverging_epoch.epoch,
                leader_end: data.diverging_epoch.end_offset,
            };
            if !divergence.is_believable() {
                let reason = format!(
                    "{}-{}, read up to offset {} of epoch {}, is said to differ from epoch {} that ends at offset {}",
                    taken.topic,
                    taken.partition,
                    taken.position,
                    taken.last_epoch,
                    divergence.leader_epoch,
                    divergence.leader_end
                );
                return fail(shared, taken, malformed(node, reason));
            }
            if !shared.targets.lock().parked(taken) {
                return None;
            }
            if is_another_log(shared, taken, &divergence) {
                What::OutOfRange {
                    position: taken.position,
                }
            } else {
                What::Diverged(divergence)
            }
        }
        // The answer names the topic, not its id: it may be of the one that was created since.
        None if TopicId::differ(taken.topic_id, shared.topic_id(&taken.topic)) => {
            if !shared.targets.lock().parked(taken) {
                return None;
            }
            What::Recreated {
                position: taken.position,
                topic_id: shared.topic_id(&taken.topic),
            }
        }
        None => {
            let records = data.records.unwrap_or_default();
            let (ahead, lineage) = read_headers(&records);
            if let Some(next) = ahead.filter(|next| *next <= taken.position) {
                let reason = format!(
                    "asked for {}-{} from offset {} on, it answers what ends before {next}",
                    taken.topic, taken.partition, taken.position
                );
                return fail(shared, taken, malformed(node, reason));
            }
            let next = ahead.unwrap_or(taken.position);
            if !shared.targets.lock().answered(
                taken,
                next,
                lineage.before(next),
                !records.is_empty(),
            ) {
                return None;
            }
            if records.is_empty() {
                What::Empty {
                    high_watermark: data.high_watermark,
                }
            } else {
                let aborted = data.aborted_transactions.unwrap_or_default();
                What::Records(Chunk {
                    reservation: shared.budget.reserve(records.len()),
                    records,
                    from: taken.position,
                    topic_id: taken.topic_id,
                    lineage,
                    aborted: aborted
                        .iter()
                        .map(|aborted| (*aborted.producer_id, aborted.first_offset))
                        .collect(),
                    high_watermark: data.high_watermark,
                })
            }
        }
        Some(ResponseError::OffsetOutOfRange) => {
            if !shared.targets.lock().parked(taken) {
                return None;
            }
            What::OutOfRange {
                position: taken.position,
            }
        }
        Some(code) => {
            *refresh |= moved(code);
            let error = Error::response(
                ApiKey::Fetch,
                code,
                format!("{}-{}", taken.topic, taken.partition),
            );
            return fail(shared, taken, error);
        }
    };
    Some(Fetched {
        slot: taken.slot,
        ticket: taken.ticket,
        what,
    })
}

/// Whether the topic was deleted and created again: nothing of the log is what was read. A leader loses
/// nothing of the epoch that it leads with, and a topic keeps its id.
fn is_another_log(shared: &Shared, taken: &Taken, divergence: &Divergence) -> bool {
    let same_leader = divergence.leader_epoch == divergence.epoch
        && divergence.leader_epoch == taken.leader_epoch;
    same_leader || TopicId::differ(taken.topic_id, shared.topic_id(&taken.topic))
}

/// Whether newer metadata may name another leader.
fn moved(code: ResponseError) -> bool {
    matches!(
        code,
        ResponseError::NotLeaderOrFollower
            | ResponseError::LeaderNotAvailable
            | ResponseError::FencedLeaderEpoch
            | ResponseError::UnknownLeaderEpoch
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::UnknownTopicId
            | ResponseError::InconsistentTopicId
            | ResponseError::ReplicaNotAvailable
            | ResponseError::KafkaStorageError
            | ResponseError::OffsetNotAvailable
    )
}

fn fail(shared: &Shared, taken: &Taken, error: Error) -> Option<Fetched> {
    let random = shared.jitter.lock().next();
    let times = shared
        .targets
        .lock()
        .failed(taken, Instant::now(), random)?;
    Some(Fetched {
        slot: taken.slot,
        ticket: taken.ticket,
        what: What::Failed { error, times },
    })
}

fn send(shared: &Shared, fetched: Vec<Fetched>) {
    if !fetched.is_empty() {
        // Without an owner the fetcher is being dropped.
        let _ = shared.answers.send(fetched);
    }
}
