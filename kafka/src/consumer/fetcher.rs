//! Fetches partitions: one long poll per broker over all of its partitions that are asked for.
//!
//! ```text
//!  Fetcher::start/stop ──► Targets (what, from where; pure) ◄── take ── broker loop, one a leader
//!                             ▲ answered, failed                        │ main poll (≤ max_wait)
//!                             └──────────────────────────────────────── │ aside poll, for what came
//!  owner ◄── channel of answers ◄────────────────────────────────────── ┘ while main was waiting
//! ```
//!
//! The main poll of a broker waits up to `max_wait` for records. A partition that is started
//! meanwhile does not wait behind it: it is asked for at once on a second connection.
//!
//! What is fetched and not yet handled is bounded by [`Budget`]. Sessionless requests (KIP-227's
//! epoch -1): each lists all of its partitions, and a lost answer loses nothing.
//!
//! An error of a partition is passed on, waited out and tried again; nothing is ever stepped over.

mod answer;
mod broker;
mod budget;
pub(crate) mod headers;
mod targets;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub(crate) use self::budget::{Budget, Reservation};
pub(crate) use self::targets::Ticket;
use self::targets::{Place, Taken, TakenAll, Targets};
use super::lineage::Lineage;
use crate::backoff::{Jitter, Retries};
use crate::cluster::{Cluster, Pool};
use crate::error::Error;
use crate::records::walker::IsolationLevel;
use crate::topic_id::TopicId;

/// How to fetch.
#[derive(Clone, Debug)]
pub(crate) struct FetchConfig {
    pub(crate) isolation: IsolationLevel,
    /// How long a broker may wait for `min_bytes`.
    pub(crate) max_wait: Duration,
    pub(crate) min_bytes: i32,
    /// Of one answer; a first batch that is larger comes whole (KIP-74).
    pub(crate) max_bytes: i32,
    /// Of one partition in one answer.
    pub(crate) partition_max_bytes: i32,
    /// Fetched and not yet handed out, at most ([`Budget`]).
    pub(crate) buffer_bytes: usize,
}

impl Default for FetchConfig {
    /// The Java client's: `fetch.max.wait.ms`, `fetch.min.bytes`, `fetch.max.bytes`,
    /// `max.partition.fetch.bytes`; `buffer_bytes` is our own.
    fn default() -> Self {
        Self {
            isolation: IsolationLevel::ReadCommitted,
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 * 1024 * 1024,
            partition_max_bytes: 1024 * 1024,
            buffer_bytes: 4 * 1024 * 1024,
        }
    }
}

/// One partition of an answer.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) slot: usize,
    pub(crate) ticket: Ticket,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Records(Chunk),
    /// Nothing new: the log ends here.
    Empty {
        high_watermark: i64,
    },
    /// The log does not hold the position (any more, or yet), and its leader names the same topic as before. Fetching
    /// stops until `start`.
    OutOfRange {
        position: i64,
    },
    /// The log is not the one that was read up to the position. Fetching stops until `start`.
    Diverged(Divergence),
    /// The topic was deleted and created again, and has this id now: the position means nothing in
    /// it. Fetching stops until `start`.
    Recreated {
        position: i64,
        topic_id: Option<TopicId>,
    },
    /// It is tried again by itself.
    Failed {
        error: Error,
        times: u32,
    },
}

/// What a leader says whose log was cut back and written anew (KIP-320, KIP-595).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    /// What was asked for.
    pub(crate) position: i64,
    /// Of the record that was read before it.
    pub(crate) epoch: i32,
    /// The last epoch up to that one which the leader has.
    pub(crate) leader_epoch: i32,
    /// Where that one ends there.
    pub(crate) leader_end: i64,
}

impl Divergence {
    /// Whether it says that something before the position is another record at the leader.
    fn is_believable(&self) -> bool {
        self.epoch >= 0
            && (self.leader_epoch < self.epoch
                || self.leader_epoch == self.epoch && self.leader_end < self.position)
    }
}

/// Record batches of one partition, as they came.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) records: Bytes,
    /// The offset that was asked for.
    pub(crate) from: i64,
    /// Of the topic that they are of.
    pub(crate) topic_id: Option<TopicId>,
    /// The epochs of its whole batches.
    pub(crate) lineage: Lineage,
    /// Producer id and first offset of each aborted transaction in it.
    pub(crate) aborted: Vec<(i64, i64)>,
    pub(crate) high_watermark: i64,
    /// Its share of the budget.
    pub(crate) reservation: Reservation,
}

/// Starts and stops the fetching of partitions. Dropped: all fetching ends.
pub(crate) struct Fetcher {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

struct Shared {
    cluster: Arc<Cluster>,
    /// Not shared with the client's other consumers: a broker answers a connection's requests one
    /// after another, and each long poll would hold up the next consumer's.
    connections: Pool,
    config: FetchConfig,
    targets: Mutex<Targets>,
    /// Counts what may give a waiting loop something to do.
    changes: watch::Sender<u64>,
    budget: Arc<Budget>,
    answers: mpsc::UnboundedSender<Vec<Fetched>>,
    jitter: Mutex<Jitter>,
}

impl Fetcher {
    /// Starts without partitions. The channel has no bound of its own: the budget is its bound.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        config: FetchConfig,
    ) -> (Self, mpsc::UnboundedReceiver<Vec<Fetched>>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            connections: cluster.own_pool(),
            cluster,
            budget: Budget::new(config.buffer_bytes),
            config,
            targets: Mutex::default(),
            changes: watch::Sender::new(0),
            answers,
            jitter: Mutex::new(Jitter::new()),
        });
        let supervisor = tokio::spawn(supervise(shared.clone())).abort_handle();
        (Self { shared, supervisor }, receiver)
    }

    /// Fetches a partition from `position` on, under the caller's number for it; what was fetched
    /// under that number before, and its answers still on their way, are dropped. `epoch` is that of
    /// what was read before the position (-1 = not known), `topic_id` that of the topic which the
    /// position is of (`None`: the one that there is now).
    pub(crate) fn start(
        &self,
        slot: usize,
        topic: &Arc<str>,
        topic_id: Option<TopicId>,
        partition: i32,
        position: i64,
        epoch: i32,
    ) -> Ticket {
        let place = Place {
            topic_id: topic_id.or_else(|| self.shared.topic_id(topic)),
            topic: topic.clone(),
            partition,
        };
        let mut targets = self.shared.targets.lock();
        let ticket = targets.start(slot, place, position, epoch);
        drop(targets);
        self.shared.changed();
        ticket
    }

    /// No longer fetches a partition. Its answers still on their way carry its old ticket.
    pub(crate) fn stop(&self, slot: usize) {
        self.shared.targets.lock().stop(slot);
    }

    /// Bytes fetched and not yet handled.
    pub(crate) fn buffered(&self) -> usize {
        self.shared.budget.used()
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Shared {
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn take(&self, node: i32) -> Vec<Taken> {
        let view = self.cluster.view();
        let leader_of = |topic: &str, partition| view.leader(topic, partition);
        let id_of = |topic: &str| view.topic_id(topic);
        let mut targets = self.targets.lock();
        let TakenAll { taken, recreated } = targets.take(node, leader_of, id_of, Instant::now());
        drop(targets);
        if !recreated.is_empty() {
            answer::recreated(self, &recreated);
        }
        taken
    }

    fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.cluster.view().topic_id(topic)
    }

    fn next_retry(&self) -> Option<Instant> {
        self.targets.lock().next_retry(Instant::now())
    }
}

/// Ends the task when dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a loop running for each broker that leads one of the partitions, and asks for metadata
/// while a leader is unknown.
async fn supervise(shared: Arc<Shared>) {
    let mut loops: HashMap<i32, AbortOnDrop> = HashMap::new();
    let mut changes = shared.changes.subscribe();
    let mut views = shared.cluster.watch();
    let mut retries = Retries::new(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        changes.borrow_and_update();
        let view = views.borrow_and_update().clone();
        let (nodes, missing) = {
            let leader_of = |topic: &str, partition| view.leader(topic, partition);
            shared.targets.lock().leaders(leader_of)
        };
        // A broker that left the cluster leads nothing; its loop would wait for ever.
        loops.retain(|node, _| view.brokers.contains_key(node));
        for node in nodes {
            loops.entry(node).or_insert_with(|| {
                AbortOnDrop(tokio::spawn(broker::run(node, shared.clone())).abort_handle())
            });
        }
        if missing.is_empty() {
            retries.reset();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = views.changed() => if changed.is_err() { return },
            }
        } else {
            if retries.failures() > 0 {
                shared.cluster.request_refresh();
            } else if let Err(error) = shared.cluster.ensure_topics(&missing).await {
                tracing::warn!(%error, topics = ?missing, "cannot find the leaders of partitions to fetch");
            }
            let wait = retries.next_delay();
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = views.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
