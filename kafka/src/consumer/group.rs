//! What passes between a group's membership and the consumer that handles its records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::assignor::Assignor;
use super::group_error::GroupError;
use super::static_member::StaticMember;
use super::topic_partition::TopicPartition;

/// How a consumer takes part in its group.
#[derive(Clone, Debug)]
pub(crate) struct GroupConfig {
    pub(crate) group: Arc<str>,
    pub(crate) topics: Vec<Arc<str>>,
    /// Preferred first.
    pub(crate) assignors: Vec<Assignor>,
    /// Static membership (KIP-345).
    pub(crate) static_member: Option<StaticMember>,
    /// Without a heartbeat for so long the broker gives the partitions away; counted here as well.
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    /// How long the others wait for this member in a rebalance, and the bound on answering `GroupEvent::Revoke`.
    pub(crate) rebalance_timeout: Duration,
    /// How long after the group has refused this member it tries to join again; `None`: that is the end.
    pub(crate) refused_pause: Option<Duration>,
}

/// What a commit holds for a partition: the next offset to handle, not the last handled one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// Epoch of the record before `offset`; -1 = not known.
    pub(crate) leader_epoch: i32,
    /// What lies done beyond `offset`, as the tracker writes it; empty = nothing.
    pub(crate) metadata: String,
}

/// One span of owning a partition. A partition revoked and given back has a new claim, so what was started under
/// the old one can be told apart and is never committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim(pub(crate) u64);

/// Where a newly assigned partition starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// From the group's commit.
    Committed(Committed),
    /// From its first record whatever the reset policy: the group has commits on the topic, so this partition
    /// appeared later (or its commit expired), and skipping would lose records.
    First,
    /// The group is new to the topic: by the reset policy.
    Policy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignedPartition {
    pub(crate) partition: TopicPartition,
    pub(crate) claim: Claim,
    pub(crate) start: Start,
}

/// What the membership tells the consumer, in order.
#[derive(Debug)]
pub(crate) enum GroupEvent {
    /// These partitions are added to what is owned. Where `start` is no commit, the start position found is to be
    /// committed at once.
    Assigned {
        generation: i32,
        partitions: Vec<AssignedPartition>,
    },
    /// Stop these: take no new records, let running handlers end (bounded), commit, then answer `done`. After
    /// `deadline` they count as lost.
    Revoke {
        partitions: Vec<TopicPartition>,
        deadline: Instant,
        done: oneshot::Sender<()>,
    },
    /// These belong to somebody else already: drop them and never commit them.
    Lost { partitions: Vec<TopicPartition> },
    /// The membership is over; no event follows.
    Fatal(GroupError),
}

/// One partition's offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) partition: TopicPartition,
    pub(crate) claim: Claim,
    pub(crate) committed: Committed,
}

/// What became of one partition's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitResult {
    /// Stored. `without_metadata`: the broker's limit on it is lower than ours, the offset alone was taken.
    Stored { without_metadata: bool },
    /// Not now (a rebalance, a coordinator that cannot be reached): still owned, commit again later.
    NotYet(String),
    /// The coordinator knows no such partition: its topic was deleted, or was made a moment ago. Still owned.
    UnknownPartition(String),
    /// No longer ours; the result is dropped.
    Dropped,
    /// Refused for this partition, as the message says; still owned.
    Refused(String),
}

/// A snapshot of the membership for statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupState {
    /// `finding coordinator`, `joining`, `syncing`, `stable`, `revoking`, `leaving`, `left`, `failed`.
    pub(crate) phase: &'static str,
    /// Empty while not a member.
    pub(crate) member_id: String,
    /// -1 while not a member.
    pub(crate) generation: i32,
    /// The broker that coordinates the group.
    pub(crate) coordinator: Option<i32>,
    /// The strategy that the group has chosen.
    pub(crate) assignor: Option<String>,
    pub(crate) leader: bool,
    pub(crate) assignment: Vec<TopicPartition>,
    /// Generations joined since the start.
    pub(crate) rebalances: u64,
    /// Why this is no working member of the group, until it is.
    pub(crate) problem: Option<String>,
    /// Which partitions of its topics nobody in the group has, and by whose fault.
    pub(crate) unowned: Option<String>,
    /// The static member id that another process has taken over.
    pub(crate) fenced: Option<StaticMember>,
    pub(crate) last_heartbeat: Option<Instant>,
}

/// A membership that is being kept up by tasks of its own.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) events: mpsc::UnboundedReceiver<GroupEvent>,
    pub(crate) handle: GroupHandle,
}

/// Commits and leaves; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct GroupHandle {
    commits: mpsc::UnboundedSender<CommitRequest>,
    leave: mpsc::UnboundedSender<LeaveRequest>,
    state: tokio::sync::watch::Receiver<Arc<GroupState>>,
}

/// Commits waiting for their turn, and whom to tell.
#[derive(Debug)]
pub(crate) struct CommitRequest {
    pub(crate) commits: Vec<Commit>,
    pub(crate) done: oneshot::Sender<Vec<(TopicPartition, CommitResult)>>,
}

/// A wish to leave, and whom to tell.
#[derive(Debug)]
pub(crate) struct LeaveRequest {
    pub(crate) reason: String,
    pub(crate) done: oneshot::Sender<()>,
}

impl GroupHandle {
    pub(super) fn new(
        commits: mpsc::UnboundedSender<CommitRequest>,
        leave: mpsc::UnboundedSender<LeaveRequest>,
        state: tokio::sync::watch::Receiver<Arc<GroupState>>,
    ) -> Self {
        Self {
            commits,
            leave,
            state,
        }
    }

    /// Commits, one request of the group in flight at a time; what waits is merged, the newest offset of a partition
    /// counts. One result for each partition asked for. Dropping the future does not take the commit back.
    pub(crate) async fn commit(&self, commits: Vec<Commit>) -> Vec<(TopicPartition, CommitResult)> {
        let partitions: Vec<_> = commits
            .iter()
            .map(|commit| commit.partition.clone())
            .collect();
        let (done, result) = oneshot::channel();
        if self.commits.send(CommitRequest { commits, done }).is_ok()
            && let Ok(results) = result.await
        {
            return results;
        }
        // The membership is over.
        partitions
            .into_iter()
            .map(|partition| (partition, CommitResult::Dropped))
            .collect()
    }

    /// Leaves the group, so that others get the partitions at once; the caller has drained and committed before.
    /// A static member leaves, too. Returns when the broker has answered or could not be reached within the request timeout. No events follow.
    pub(crate) async fn leave(&self, reason: &str) {
        let (done, left) = oneshot::channel();
        let reason = reason.to_owned();
        if self.leave.send(LeaveRequest { reason, done }).is_ok() {
            let _ = left.await;
        }
    }

    /// Changes of what [`GroupHandle::state`] says.
    pub(crate) fn watch(&self) -> tokio::sync::watch::Receiver<Arc<GroupState>> {
        self.state.clone()
    }

    /// What the membership looks like now; no I/O.
    pub(crate) fn state(&self) -> Arc<GroupState> {
        self.state.borrow().clone()
    }
}
