//! What is asked of a group, and what it answers.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;

/// Names a request that waits for its answer.
pub(crate) type Token = u64;

#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for a newcomer.
    pub(crate) member_id: String,
    /// The id a newcomer gets.
    pub(crate) fresh_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// A newcomer is to come back with the id it was given (KIP-394).
    pub(crate) needs_known_id: bool,
    /// The client understands that it may lead without assigning (KIP-814).
    pub(crate) may_skip_assignment: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    pub(crate) member_id: String,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: String,
    /// Id, instance id and subscription of every member; for the leader only.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
    pub(crate) skip_assignment: bool,
}

impl Joined {
    pub(crate) fn failed(error: ResponseError, member_id: String) -> Self {
        Self {
            error: Some(error),
            member_id,
            generation: -1,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) assignment: Bytes,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Leave {
    /// Empty when an operator removes a static member by its instance id.
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Joined(Token, Joined),
    Synced(Token, Result<Synced, ResponseError>),
    /// What [`Group::stored`] says is to be written down.
    Changed,
}
