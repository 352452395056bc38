//! What a broker's answer to a Fetch request means for each partition.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, FetchResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::headers::read_headers;
use super::{Chunk, Divergence, Fetched, Shared, Taken, What};
use crate::error::Error;
use crate::topic_id::TopicId;

/// What an answer calls a topic: its id, or its name before version 13.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Id(TopicId),
    Name(StrBytes),
}

/// Passes on a broker's answer for each partition of the request. Returns the partitions whose offset the broker calls
/// out of range: see [`out_of_range`].
pub(super) fn deliver(
    shared: &Shared,
    node: i32,
    taken: Vec<Taken>,
    response: FetchResponse,
) -> Vec<Taken> {
    let mut answers: HashMap<(Key, i32), PartitionData> = HashMap::new();
    for topic in response.responses {
        let key = match TopicId::from_u128(topic.topic_id.as_u128()) {
            Some(id) => Key::Id(id),
            None => Key::Name(topic.topic.0),
        };
        for partition in topic.partitions {
            answers.insert((key.clone(), partition.partition_index), partition);
        }
    }
    let mut fetched = Vec::with_capacity(taken.len());
    let mut out_of_range = Vec::new();
    let mut refresh = false;
    for taken in taken {
        let by_id = taken.topic_id.map(|id| (Key::Id(id), taken.partition));
        let answer = by_id.and_then(|key| answers.remove(&key)).or_else(|| {
            let name = StrBytes::from_string(taken.topic.to_string());
            answers.remove(&(Key::Name(name), taken.partition))
        });
        let one = match answer {
            Some(data) if says_out_of_range(&taken, &data) => {
                if shared.targets.lock().parked(&taken) {
                    out_of_range.push(taken);
                }
                continue;
            }
            Some(data) => partition(shared, node, &taken, data, &mut refresh),
            None => {
                let reason = format!("the answer leaves out {}-{}", taken.topic, taken.partition);
                fail(shared, &taken, malformed(node, reason))
            }
        };
        fetched.extend(one);
    }
    if refresh {
        shared.cluster.request_refresh();
    }
    send(shared, fetched);
    out_of_range
}

/// A broker's log does not hold what it was asked for. That may be the log of another topic: the name was deleted and
/// created again since the metadata were asked for, and the leader knows of that first. So the leader is asked for the
/// topic's id before the position is given up. Where it does not answer or does not know the topic, or where brokers name
/// different ids, the partition is fetched again later.
pub(super) async fn out_of_range(shared: &Shared, node: i32, taken: &[Taken]) {
    let names: BTreeSet<Arc<str>> = taken.iter().map(|taken| taken.topic.clone()).collect();
    let names = Vec::from_iter(names);
    let seen = match shared.cluster.refresh_from(node, &names).await {
        Ok(seen) => seen,
        Err(error) => return fail_all(shared, taken, &error),
    };
    let mut fetched = Vec::with_capacity(taken.len());
    for taken in taken {
        let position = taken.position;
        let believed = shared.topic_id(&taken.topic);
        let problem = if !seen.topics.contains_key(&taken.topic) {
            Some(ResponseError::UnknownTopicOrPartition)
        } else if shared.cluster.is_disputed(&taken.topic)
            || TopicId::differ(seen.topic_id(&taken.topic), believed)
        {
            Some(ResponseError::InconsistentTopicId)
        } else {
            None
        };
        if let Some(code) = problem {
            shared.cluster.request_refresh();
            let error = Error::response(
                ApiKey::Metadata,
                code,
                format!(
                    "{}-{}, whose offset {position} is out of range",
                    taken.topic, taken.partition
                ),
            );
            fetched.extend(fail(shared, taken, error));
        } else if shared.targets.lock().parked(taken) {
            let what = if TopicId::differ(taken.topic_id, believed) {
                What::Recreated {
                    position,
                    topic_id: believed,
                }
            } else {
                What::OutOfRange { position }
            };
            fetched.push(Fetched {
                slot: taken.slot,
                ticket: taken.ticket,
                what,
            });
        }
    }
    send(shared, fetched);
}

/// Whether the log does not hold the position; or holds none of what was read up to it, because the topic was deleted
/// and created again: a leader loses nothing of the epoch that it leads with.
fn says_out_of_range(taken: &Taken, data: &PartitionData) -> bool {
    match ResponseError::try_from_code(data.error_code) {
        Some(code) => code == ResponseError::OffsetOutOfRange,
        None => {
            let Some(divergence) = divergence(taken, data) else {
                return false;
            };
            divergence.is_believable()
                && divergence.leader_epoch == divergence.epoch
                && divergence.leader_epoch == taken.leader_epoch
        }
    }
}

/// What the leader says of where its log differs, if it does.
fn divergence(taken: &Taken, data: &PartitionData) -> Option<Divergence> {
    (data.diverging_epoch.end_offset >= 0).then_some(Divergence {
        position: taken.position,
        epoch: taken.last_epoch,
        leader_epoch: data.diverging_epoch.epoch,
        leader_end: data.diverging_epoch.end_offset,
    })
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
        // Nobody needs records of a topic that is gone; and an answer that names the topic, not its id, may be of the
        // one that was created since.
        None if TopicId::differ(taken.topic_id, shared.topic_id(&taken.topic)) => {
            if !shared.targets.lock().parked(taken) {
                return None;
            }
            What::Recreated {
                position: taken.position,
                topic_id: shared.topic_id(&taken.topic),
            }
        }
        None if let Some(divergence) = divergence(taken, &data) => {
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
            What::Diverged(divergence)
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

#[cfg(test)]
mod tests {
    use super::super::{FetchConfig, Fetcher, Place};
    use super::*;
    use crate::cluster::Scripted;

    #[tokio::test]
    async fn while_brokers_name_different_topics_no_position_is_given_up() {
        let (old, new) = (TopicId::from_u128(7), TopicId::from_u128(8));
        let cluster = Scripted::new(7).await;
        let (fetcher, mut answers) = Fetcher::new(cluster.cluster.clone(), FetchConfig::default());
        let shared = &fetcher.shared;
        let place = Place {
            topic: "t".into(),
            topic_id: old,
            partition: 0,
        };
        shared.targets.lock().start(0, place, 5, -1);
        let taken = shared.take(1);
        // The one that answered knows of a newer topic, the other one does not.
        cluster.names(2, 8);
        out_of_range(shared, 2, &taken).await;
        let mut next = async || answers.recv().await.unwrap().remove(0).what;
        match next().await {
            What::Failed { error, times: 1 } => {
                let text = error.to_string();
                assert!(text.contains("t-0") && text.contains("offset 5"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        cluster.names(1, 8);
        let recreated = async {
            loop {
                match next().await {
                    What::Failed { .. } => {}
                    other => return other,
                }
            }
        };
        let recreated = tokio::time::timeout(std::time::Duration::from_secs(10), recreated).await;
        match recreated.expect("they agree") {
            What::Recreated {
                position: 5,
                topic_id,
            } => assert_eq!(topic_id, new),
            other => panic!("{other:?}"),
        }
    }
}
