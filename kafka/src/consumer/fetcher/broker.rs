//! The loop that fetches from one broker: when a request goes out, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Shared, Taken, answer};
use crate::cluster::Purpose;
use crate::error::Error;
use crate::records::walker::IsolationLevel;
use crate::topic_id::TopicId;
use crate::versions::newest_fetch;

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
    let mut polls: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
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
            Some(ended) = polls.next(), if !polls.is_empty() => {
                match ended.purpose {
                    Some(Purpose::Fetch) => main_until = None,
                    Some(_) => aside_busy = false,
                    None => {}
                }
                // On the side: the others need not wait for it.
                if let Some(in_air) = ended.out_of_range {
                    polls.push(look(in_air, node).boxed());
                }
            }
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

/// What came of one request.
struct Ended {
    /// What kind of a poll it was, if it was one.
    purpose: Option<Purpose>,
    /// What the broker says it does not hold, to be looked into.
    out_of_range: Option<InAir>,
}

/// Finds out what it means that the broker does not hold what it was asked for.
async fn look(mut in_air: InAir, node: i32) -> Ended {
    answer::out_of_range(&in_air.shared, node, &in_air.taken).await;
    in_air.taken.clear();
    Ended {
        purpose: None,
        out_of_range: None,
    }
}

/// One request, its answer passed on.
async fn poll(
    mut in_air: InAir,
    node: i32,
    purpose: Purpose,
    wait: Duration,
    room: usize,
) -> Ended {
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
            // What is answered by id is of these topics, and of none that was created since under the same name.
            let by_id = in_air.taken.iter().all(|taken| taken.topic_id.is_some());
            connection
                .call_up_to(newest_fetch(by_id), request, timeout)
                .await
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
    let out_of_range = match response {
        Ok(response) => answer::deliver(&shared, node, taken, response),
        Err(error) => {
            answer::fail_all(&shared, &taken, &error);
            Vec::new()
        }
    };
    Ended {
        purpose: Some(purpose),
        out_of_range: (!out_of_range.is_empty()).then(|| InAir {
            shared: shared.clone(),
            taken: out_of_range,
        }),
    }
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
                    .with_topic_id(TopicId::to_wire(taken.topic_id))
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

#[cfg(test)]
mod tests {
    use super::super::{FetchConfig, Fetcher};
    use super::*;
    use crate::client::ClientConfig;
    use crate::cluster::Cluster;

    #[tokio::test]
    async fn a_request_dropped_in_the_air_gives_its_partitions_back() {
        let cluster = Cluster::new(ClientConfig::new("127.0.0.1:1").unwrap());
        let (fetcher, _answers) = Fetcher::new(cluster, FetchConfig::default());
        fetcher.start(0, &"t".into(), None, 0, 10, -1);
        let take = || {
            let mut targets = fetcher.shared.targets.lock();
            let all = targets.take(1, |_, _| Some((1, 0)), |_| None, Instant::now());
            all.taken
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
}
