//! The loop that fetches from one broker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Chunk, Divergence, Fetched, Shared, Taken, What};
use crate::cluster::Purpose;
use crate::consumer::lineage::Lineage;
use crate::error::Error;
use crate::records::layout;
use crate::records::walker::IsolationLevel;

/// `FetchRequest.json`: a consumer is replica -1.
const CONSUMER: BrokerId = BrokerId(-1);
/// KIP-227: no session, all partitions in every request.
const SESSIONLESS: i32 = -1;
/// KIP-595: the version of Fetch from which on a leader compares the epoch that was read last with its
/// own log (Kafka 2.7).
const DIVERGING_EPOCHS: i16 = 12;

/// Runs until aborted.
pub(super) async fn run(node: i32, shared: Arc<Shared>) {
    let mut changes = shared.changes.subscribe();
    let mut views = shared.cluster.watch();
    let mut polls: FuturesUnordered<BoxFuture<'static, Purpose>> = FuturesUnordered::new();
    let (mut main_until, mut aside_busy) = (None, false);
    loop {
        changes.borrow_and_update();
        views.borrow_and_update();
        let room = shared.budget.room();
        let now = Instant::now();
        if let Some(room) = room
            && let Some((purpose, wait)) =
                next_poll(main_until, aside_busy, now, shared.config.max_wait)
        {
            let taken = shared.take(node);
            if !taken.is_empty() {
                match purpose {
                    Purpose::Fetch => main_until = Some(now + wait),
                    _ => aside_busy = true,
                }
                let in_air = InAir {
                    shared: shared.clone(),
                    taken,
                };
                polls.push(poll(in_air, node, purpose, wait, room).boxed());
                continue;
            }
        }
        let retry = shared.next_retry();
        tokio::select! {
            Some(purpose) = polls.next(), if !polls.is_empty() => match purpose {
                Purpose::Fetch => main_until = None,
                _ => aside_busy = false,
            },
            changed = changes.changed() => if changed.is_err() { return },
            changed = views.changed() => if changed.is_err() { return },
            () = shared.budget.wait_for_room(), if room.is_none() => {}
            () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
        }
    }
}

/// Which request may go out and how long the broker may wait with its answer: the main poll, or one
/// beside it, which ends with it, so that its partitions join the main poll when that comes around
/// again. A main poll that is about to come around, or late, is waited for: asking beside it without a
/// wait would ask again and again.
fn next_poll(
    main_until: Option<Instant>,
    aside_busy: bool,
    now: Instant,
    max_wait: Duration,
) -> Option<(Purpose, Duration)> {
    const ABOUT_TO_END: Duration = Duration::from_millis(20);
    let Some(until) = main_until else {
        return Some((Purpose::Fetch, max_wait));
    };
    let left = until.saturating_duration_since(now);
    (!aside_busy && left > ABOUT_TO_END).then_some((Purpose::FetchAside, left))
}

/// What a request asks for. Dropped before its end, as the requests to a broker are that leaves the
/// cluster, it gives the partitions back: whoever leads them now is asked then.
struct InAir {
    shared: Arc<Shared>,
    /// Empty once every partition has had its word.
    taken: Vec<Taken>,
}

impl Drop for InAir {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut targets = self.shared.targets.lock();
        for taken in &self.taken {
            targets.released(taken);
        }
        drop(targets);
        self.shared.changed();
    }
}

/// One request, its answer passed on.
async fn poll(
    mut in_air: InAir,
    node: i32,
    purpose: Purpose,
    wait: Duration,
    room: usize,
) -> Purpose {
    let shared = in_air.shared.clone();
    // A connection that stays silent past the poll's end is cut: `call` closes it.
    let timeout = wait + shared.cluster.config().request_timeout;
    let connection = shared
        .cluster
        .connection_of(&shared.connections, node, purpose);
    let response = match connection.await {
        Ok(connection) => {
            let diverging = connection.version::<FetchRequest>() >= Some(DIVERGING_EPOCHS);
            let request = request(&shared, wait, room, &in_air.taken, diverging);
            connection.call(request, timeout).await
        }
        Err(error) => Err(error),
    };
    let response = response.and_then(|response| {
        Error::check(ApiKey::Fetch, response.error_code, None, || {
            format!("broker {node}")
        })?;
        Ok(response)
    });
    let taken = std::mem::take(&mut in_air.taken);
    match response {
        Ok(response) => deliver(&shared, node, &taken, response),
        Err(error) => {
            // The leader may be another broker by now.
            shared.cluster.request_refresh();
            let failed = taken
                .iter()
                .filter_map(|taken| fail(&shared, taken, error.clone()))
                .collect();
            send(&shared, failed);
        }
    }
    purpose
}

/// `diverging`: the broker takes the epoch of what was read before, and says where its log differs.
fn request(
    shared: &Shared,
    wait: Duration,
    room: usize,
    taken: &[Taken],
    diverging: bool,
) -> FetchRequest {
    let room = i32::try_from(room).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for taken in taken {
        let partition = FetchPartition::default()
            .with_partition(taken.partition)
            .with_current_leader_epoch(taken.leader_epoch)
            .with_fetch_offset(taken.position)
            .with_last_fetched_epoch(if diverging { taken.last_epoch } else { -1 })
            .with_partition_max_bytes(shared.config.partition_max_bytes);
        match topics
            .iter_mut()
            .find(|topic| topic.topic.as_str() == &*taken.topic)
        {
            Some(topic) => topic.partitions.push(partition),
            None => topics.push(
                FetchTopic::default()
                    .with_topic(TopicName(StrBytes::from_string(taken.topic.to_string())))
                    .with_partitions(vec![partition]),
            ),
        }
    }
    FetchRequest::default()
        .with_replica_id(CONSUMER)
        .with_max_wait_ms(wait.as_millis().try_into().unwrap_or(i32::MAX))
        .with_min_bytes(shared.config.min_bytes)
        .with_max_bytes(shared.config.max_bytes.min(room))
        .with_isolation_level(match shared.config.isolation {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        })
        .with_session_epoch(SESSIONLESS)
        .with_topics(topics)
}

fn deliver(shared: &Shared, node: i32, taken: &[Taken], response: FetchResponse) {
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
    let ids = [taken.topic_id, shared.topic_id(&taken.topic)];
    // 0: not known.
    same_leader || (!ids.contains(&0) && ids[0] != ids[1])
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

/// The offset after the last whole batch and the batches' epochs, by headers alone. `None` without
/// one, or where a header contradicts itself: the walker will say what is wrong.
pub(crate) fn read_headers(records: &Bytes) -> (Option<i64>, Lineage) {
    let mut lineage = Lineage::default();
    let next = headers(records, |epoch, from, to| lineage.read(epoch, from, to));
    (next, lineage)
}

/// Shows each whole batch's epoch, first offset and the one behind it.
fn headers(records: &Bytes, mut show: impl FnMut(i32, i64, i64)) -> Option<i64> {
    let mut rest = &records[..];
    let mut next: Option<i64> = None;
    while rest.len() >= layout::RECORDS {
        let base = i64::from_be_bytes(rest[layout::BASE_OFFSET..][..8].try_into().ok()?);
        let length = i32::from_be_bytes(rest[layout::BATCH_LENGTH..][..4].try_into().ok()?);
        let delta = i32::from_be_bytes(rest[layout::LAST_OFFSET_DELTA..][..4].try_into().ok()?);
        let size = usize::try_from(length)
            .ok()?
            .checked_add(layout::LENGTH_OVERHEAD)?;
        if rest[layout::MAGIC] != 2 || size < layout::RECORDS || delta < 0 {
            return next;
        }
        if rest.len() < size {
            break;
        }
        let end = base.checked_add(i64::from(delta))?.checked_add(1)?;
        if next.is_none_or(|next| next <= base) {
            let epoch = &rest[layout::LEADER_EPOCH..][..4];
            show(i32::from_be_bytes(epoch.try_into().ok()?), base, end);
        }
        next = next.max(Some(end));
        rest = &rest[size..];
    }
    next
}

#[cfg(test)]
mod tests {
    use super::super::{FetchConfig, Fetcher};
    use super::*;
    use crate::client::ClientConfig;
    use crate::cluster::Cluster;

    fn next_offset(records: &Bytes) -> Option<i64> {
        read_headers(records).0
    }

    /// The header of an empty batch with this base offset and last offset delta, and `body` bytes.
    fn batch(base: i64, delta: i32, body: usize) -> Vec<u8> {
        let mut batch = vec![0; layout::RECORDS + body];
        let length = (batch.len() - layout::LENGTH_OVERHEAD) as i32;
        batch[layout::BASE_OFFSET..][..8].copy_from_slice(&base.to_be_bytes());
        batch[layout::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
        batch[layout::MAGIC] = 2;
        batch[layout::LAST_OFFSET_DELTA..][..4].copy_from_slice(&delta.to_be_bytes());
        batch
    }

    #[tokio::test]
    async fn a_request_dropped_in_the_air_gives_its_partitions_back() {
        let cluster = Cluster::new(ClientConfig::new("127.0.0.1:1").unwrap());
        let (fetcher, _answers) = Fetcher::new(cluster, FetchConfig::default());
        fetcher.start(0, &"t".into(), 0, 10, -1);
        let take = || {
            let mut targets = fetcher.shared.targets.lock();
            targets.take(1, |_, _| Some((1, 0)), Instant::now())
        };
        let in_air = InAir {
            shared: fetcher.shared.clone(),
            taken: take(),
        };
        let request = poll(in_air, 1, Purpose::Fetch, Duration::ZERO, 1);
        assert!(take().is_empty(), "it is in the air");
        drop(request);
        assert_eq!(take().len(), 1, "for whoever leads it now");
    }

    #[test]
    fn nothing_goes_beside_a_main_poll_that_ought_to_have_ended() {
        let (now, wait) = (Instant::now(), Duration::from_millis(500));
        let next = |main_until, busy| next_poll(main_until, busy, now, wait);
        assert_eq!(next(None, true), Some((Purpose::Fetch, wait)));
        let left = Duration::from_millis(300);
        assert_eq!(
            next(Some(now + left), false),
            Some((Purpose::FetchAside, left))
        );
        assert_eq!(next(Some(now + left), true), None);
        assert_eq!(next(Some(now + Duration::from_millis(1)), false), None);
        assert_eq!(next(Some(now), false), None);
    }

    #[test]
    fn the_next_offset_follows_the_last_whole_batch() {
        let mut records = batch(10, 4, 100);
        assert_eq!(next_offset(&records.clone().into()), Some(15));
        records.extend(batch(20, 0, 0));
        assert_eq!(next_offset(&records.clone().into()), Some(21));
        records.extend(&batch(21, 5, 50)[..80]);
        assert_eq!(
            next_offset(&records.into()),
            Some(21),
            "the last one is cut off"
        );
        assert_eq!(next_offset(&Bytes::new()), None);
        assert_eq!(
            next_offset(&batch(5, 0, 10)[..65].to_vec().into()),
            None,
            "nothing whole"
        );
    }

    #[test]
    fn each_batch_is_of_its_epoch() {
        let epoch = |mut batch: Vec<u8>, epoch: i32| {
            batch[layout::LEADER_EPOCH..][..4].copy_from_slice(&epoch.to_be_bytes());
            batch
        };
        let records = [
            epoch(batch(10, 4, 0), 2),
            epoch(batch(15, 0, 0), 2),
            epoch(batch(16, 3, 0), 5),
        ];
        let (next, lineage) = read_headers(&records.concat().into());
        assert_eq!(next, Some(20));
        let found = [10, 11, 16, 17, 20, 21].map(|position| lineage.before(position));
        assert_eq!(found, [-1, 2, 2, 5, 5, -1]);
    }

    #[test]
    fn a_divergence_that_leads_nowhere_is_not_believed() {
        let of = |leader_epoch, leader_end| Divergence {
            position: 10,
            epoch: 3,
            leader_epoch,
            leader_end,
        };
        assert!(of(3, 9).is_believable() && of(2, 50).is_believable());
        assert!(!of(3, 10).is_believable() && !of(4, 5).is_believable());
        let unasked = Divergence {
            epoch: -1,
            ..of(-1, 5)
        };
        assert!(!unasked.is_believable());
    }

    #[test]
    fn a_batch_out_of_order_does_not_take_it_back() {
        let records = [batch(10, 4, 0), batch(3, 0, 0)].concat();
        assert_eq!(next_offset(&records.into()), Some(15));
    }

    #[test]
    fn a_header_that_contradicts_itself_ends_it() {
        for (at, byte) in [
            (layout::MAGIC, 1),
            (layout::BATCH_LENGTH, 0xff),
            (layout::LAST_OFFSET_DELTA, 0x80),
        ] {
            let mut records = batch(10, 4, 0);
            let mut broken = batch(15, 0, 0);
            broken[at] = byte;
            records.extend(broken);
            assert!(
                next_offset(&records.into()).is_none_or(|next| next == 15),
                "byte {at}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            next_offset(&bytes.into());
        }
    }
}
