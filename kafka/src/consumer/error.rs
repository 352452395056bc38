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
    /// The log was cut back (an unclean leader election, a disk that lost its end) and written anew: what was
    /// read up to the position is not what it holds, and the reset policy is `none`.
    #[error(
        "group {group}: the log of {partition} was truncated: what was read up to offset {offset} of leader epoch \
         {epoch} differs from what it holds from offset {diverged} on, and the reset policy is none; commit that \
         offset (kafka-consumer-groups --reset-offsets) or set KAFKA_AUTO_OFFSET_RESET to earliest or latest"
    )]
    Truncated {
        /// The group.
        group: Arc<str>,
        /// The partition.
        partition: TopicPartition,
        /// The position.
        offset: i64,
        /// The leader epoch of the record before the position.
        epoch: i32,
        /// The first offset known to differ.
        diverged: i64,
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
