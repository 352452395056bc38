//! What goes into a membership and what comes out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    SyncGroupRequest, SyncGroupResponse,
};

use crate::admin::GroupDescription;
use crate::consumer::group::{AssignedPartition, Committed};
use crate::consumer::group_error::GroupError;
use crate::consumer::membership::review::Reviewed;
use crate::consumer::static_member::StaticMember;
use crate::consumer::topic_partition::TopicPartition;
use crate::error::Error;

/// Names one call, so that an answer that nobody waits for any more is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tag(pub(super) u64);

/// Names one revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(super) u64);

/// Partition counts of topics that exist.
pub(crate) type TopicCounts = BTreeMap<Arc<str>, i32>;

#[derive(Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Tick,
    Coordinator(Tag, Result<i32, Error>),
    Joined(Tag, Result<JoinGroupResponse, Error>),
    Synced(Tag, Result<SyncGroupResponse, Error>),
    Heartbeat(Tag, Result<HeartbeatResponse, Error>),
    Offsets(Tag, Result<Vec<FetchedOffset>, Error>),
    /// Whatever LeaveGroup brought.
    LeaveAnswered(Tag),
    /// What [`Call::DescribeTopics`] asked for.
    Described(Tag, Result<TopicCounts, Error>),
    /// What [`Call::DescribeGroup`] asked for.
    GroupDescribed(Tag, Result<GroupDescription, Error>),
    /// What [`Call::Review`] asked for.
    Reviewed(Tag, Result<Reviewed, Error>),
    /// The cluster's topics, as far as they are known, have changed.
    TopicsChanged(TopicCounts),
    /// The consumer has let go of what it was told to.
    Revoked(Ticket),
    /// A commit was refused with this code, sent as this member in this generation.
    CommitRefused {
        code: ResponseError,
        member_id: String,
        generation: i32,
    },
    /// A commit found that the coordinator is elsewhere or away.
    CoordinatorGone {
        node: i32,
    },
    /// Leave, for this reason; what was owned is drained and committed.
    Leave(String),
}

/// An offset as OffsetFetch answers it.
#[derive(Clone, Debug)]
pub(crate) struct FetchedOffset {
    pub(crate) partition: TopicPartition,
    /// `None`: the group has none.
    pub(crate) committed: Option<Committed>,
    pub(crate) error: Option<ResponseError>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    FindCoordinator,
    /// May take as long as `patience`: the broker waits for the other members.
    Join {
        request: JoinGroupRequest,
        patience: Duration,
    },
    Sync {
        request: SyncGroupRequest,
        patience: Duration,
    },
    Heartbeat {
        request: HeartbeatRequest,
        patience: Duration,
    },
    /// The partitions' committed offsets.
    FetchOffsets(Vec<(Arc<str>, Vec<i32>)>),
    Leave {
        request: LeaveGroupRequest,
        patience: Duration,
    },
    /// The partition counts of these topics; a topic that does not exist is left out.
    DescribeTopics(Vec<Arc<str>>),
    /// The group's members and what each has.
    DescribeGroup,
    /// The partition counts of these topics, and what the whole group is assigned.
    Review(Vec<Arc<str>>),
}

#[derive(Debug)]
pub(crate) enum Action {
    /// Make this call to the coordinator.
    Send(Tag, Call),
    /// Nobody waits for this call any more, and its connection may be at fault: end both.
    Abandon(Tag),
    /// Ask for fresh metadata: a subscribed topic does not exist yet.
    RefreshTopics,
    Assigned {
        generation: i32,
        partitions: Vec<AssignedPartition>,
    },
    Revoke {
        ticket: Ticket,
        partitions: Vec<TopicPartition>,
        deadline: Instant,
    },
    Lost {
        partitions: Vec<TopicPartition>,
    },
    /// Another process has taken over this static member id.
    Fenced(StaticMember),
    /// The end, without and with an error.
    Left,
    Fatal(GroupError),
}
