//! What a running consumer tells about itself.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::static_member::StaticMember;
use super::topic_partition::TopicPartition;

/// A consumer as it was a moment ago (at most a quarter of a second).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerStats {
    /// The group.
    pub group: Arc<str>,
    /// What it is doing.
    pub state: ConsumerState,
    /// The membership's phase, such as `joining` or `stable`; empty before it began.
    pub membership: &'static str,
    /// Empty while not a member.
    pub member_id: String,
    /// -1 while not a member.
    pub generation: i32,
    /// The static member id that another process has taken over, and that this one therefore goes on without.
    pub fenced: Option<StaticMember>,
    /// The group's strategy, once chosen.
    pub assignor: Option<String>,
    /// Generations joined since the start.
    pub rebalances: u64,
    /// Why this consumer is no working member of its group, while it is none: the group refuses it (with
    /// [`retry_refused`](super::ConsumerBuilder::retry_refused)), or its coordinator does not answer.
    pub group_problem: Option<String>,
    /// Which partitions of the subscribed topics no member of the group has, because a leader of another make gave
    /// them to nobody; looked at after each rebalance.
    pub unowned: Option<String>,
    /// The assigned partitions, in order.
    pub partitions: Vec<PartitionStats>,
    /// Counters by topic, in order; topics stay after their partitions went.
    pub topics: Vec<TopicStats>,
    /// Records in the handler's hands, dead letters under way included.
    pub in_flight: usize,
    /// Records that wait for a retry's time.
    pub waiting: usize,
    /// Records fetched and held behind their lanes, those that wait included.
    pub queued: usize,
    /// Bytes fetched and not yet handled.
    pub buffered_bytes: usize,
    /// What the handler has had longest.
    pub oldest_in_flight: Option<InFlightRecord>,
    /// Records that the handler has had longer than `max_processing_time`.
    pub stuck: usize,
    /// Commits stored, by request.
    pub commits: u64,
    /// Commits not stored, by request; they are made again.
    pub commit_failures: u64,
}

/// What a consumer is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConsumerState {
    /// Built, or joining for the first time.
    #[default]
    Starting,
    /// Member of its group, possibly without partitions.
    Running,
    /// The handler said *unavailable*, with this reason.
    Paused(String),
    /// Shutting down.
    Draining,
    /// `run` has returned.
    Stopped,
}

impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Running => f.write_str("running"),
            Self::Paused(reason) => write!(f, "paused: {reason}"),
            Self::Draining => f.write_str("draining"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// One assigned partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStats {
    /// Which.
    pub partition: TopicPartition,
    /// The group's commit as last stored: the next offset to handle.
    pub committed: Option<i64>,
    /// The next offset to be given to the handler; `None` until it is known.
    pub position: Option<i64>,
    /// The log's end as last heard of.
    pub high_watermark: Option<i64>,
    /// Records taken up and not done.
    pub unfinished: u64,
    /// The lowest offset of those: what holds the commit back.
    pub oldest_unfinished: Option<i64>,
    /// Dead letters not yet acknowledged.
    pub dead_letters_pending: usize,
    /// Why it does not go on, if it does not.
    pub problem: Option<String>,
    /// The batch that cannot be read and that it does not go past, if that is why.
    pub held: Option<HeldBatch>,
}

/// A batch that a consumer cannot read. It stays before it until the batch can be read, or until an operator
/// says that it is to be passed over ([`Admin::skip`](crate::Admin::skip)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBatch {
    /// The first offset that is held.
    pub first: i64,
    /// The batch's last offset, if its header can be believed.
    pub last: Option<i64>,
    /// Why it cannot be read.
    pub reason: String,
}

impl PartitionStats {
    /// How far the commit is behind the log's end, as `kafka-consumer-groups` counts it.
    pub fn lag(&self) -> Option<i64> {
        let next = self.committed.or(self.position)?;
        Some(self.high_watermark?.saturating_sub(next).max(0))
    }
}

/// Counters of one topic, since the consumer's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// The topic.
    pub topic: Arc<str>,
    /// How often each outcome came.
    pub outcomes: Outcomes,
}

/// How often each outcome came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// *done*
    pub done: u64,
    /// *reject*, unreadable records included.
    pub rejected: u64,
    /// *retry*, panics included.
    pub retried: u64,
    /// *retry* on the last attempt.
    pub exhausted: u64,
    /// *unavailable*
    pub unavailable: u64,
    /// Handlers that panicked.
    pub panicked: u64,
    /// Dead letters acknowledged.
    pub dead_lettered: u64,
    /// When the last one was acknowledged, by this machine's clock. A counter that is first seen when it
    /// is above zero does not tell that it has grown; a time does.
    pub last_dead_letter: Option<SystemTime>,
    /// Passed over at a start: done before, as the commit's metadata says.
    pub skipped: u64,
    /// Results dropped, because their partition went meanwhile.
    pub abandoned: u64,
}

/// A record in the handler's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightRecord {
    /// Where it lies.
    pub partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Since the handler got it.
    pub age: Duration,
}

/// Reads a consumer's statistics while it runs, and after. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ConsumerStatsHandle {
    latest: Arc<Mutex<Arc<ConsumerStats>>>,
}

impl ConsumerStatsHandle {
    pub(crate) fn new(group: Arc<str>) -> Self {
        let stats = ConsumerStats {
            group,
            generation: -1,
            ..Default::default()
        };
        Self {
            latest: Arc::new(Mutex::new(Arc::new(stats))),
        }
    }

    /// The latest figures; no I/O.
    pub fn snapshot(&self) -> Arc<ConsumerStats> {
        self.latest.lock().clone()
    }

    pub(crate) fn publish(&self, stats: ConsumerStats) {
        *self.latest.lock() = Arc::new(stats);
    }
}
