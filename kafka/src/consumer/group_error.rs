//! What ends a membership for good.

use std::sync::Arc;

/// Why a consumer cannot be, or stay, a member of its group. Everything else is retried.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// The other members have no assignment strategy in common with this one.
    #[error(
        "group {group}: its members share no assignment strategy with this consumer, which offers {offered}; \
         set KAFKA_ASSIGNMENT_STRATEGY to one that the others use (a list such as range,roundrobin is possible)"
    )]
    NoCommonAssignor {
        /// The group.
        group: Arc<str>,
        /// What this consumer offers, comma-separated.
        offered: String,
    },
    /// Another consumer has joined with the same static member id.
    #[error(
        "group {group}: another consumer took over the static member id {instance}; \
         give each instance its own KAFKA_GROUP_INSTANCE_ID"
    )]
    FencedInstance {
        /// The group.
        group: Arc<str>,
        /// The id both use.
        instance: String,
    },
    /// The broker does not take the session timeout.
    #[error(
        "group {group}: the broker refuses a session timeout of {session_timeout_ms} ms; \
         it must lie within its group.min.session.timeout.ms and group.max.session.timeout.ms"
    )]
    InvalidSessionTimeout {
        /// The group.
        group: Arc<str>,
        /// What was asked for, in milliseconds.
        session_timeout_ms: i32,
    },
    /// A refusal that no retry changes, such as a missing permission.
    #[error("group {group}: {doing} was refused: {reason}")]
    Refused {
        /// The group.
        group: Arc<str>,
        /// What was being done.
        doing: &'static str,
        /// The broker's error.
        reason: String,
    },
}
