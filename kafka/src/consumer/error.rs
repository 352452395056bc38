//! What ends a consumer.

use std::sync::Arc;

use super::group_error::GroupError;
use super::topic_partition::TopicPartition;

/// Why a consumer stopped by itself. Everything else (brokers away, moved leaders, rebalances,
/// unreadable batches) is retried, and shows in the log and in [`ConsumerStats`](super::ConsumerStats).
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The membership of the group is over.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The group has no commit for a partition, and the reset policy is `none`.
    #[error(
        "group {group} has no committed offset for {partition} and the reset policy is none; \
         commit one (kafka-consumer-groups --reset-offsets) or set KAFKA_AUTO_OFFSET_RESET to earliest or latest"
    )]
    NoOffset {
        /// The group.
        group: Arc<str>,
        /// The partition.
        partition: TopicPartition,
    },
    /// The log no longer holds, or does not yet hold, the position, and the reset policy is `none`.
    #[error(
        "group {group}: {partition} holds no offset {offset} (deleted by retention, or the log was truncated) \
         and the reset policy is none; commit another one or set KAFKA_AUTO_OFFSET_RESET to earliest or latest"
    )]
    OutOfRange {
        /// The group.
        group: Arc<str>,
        /// The partition.
        partition: TopicPartition,
        /// The position that was asked for.
        offset: i64,
    },
}
