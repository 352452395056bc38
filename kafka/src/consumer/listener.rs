//! Partitions that come and go, as the application hears of it.

use std::fmt;
use std::future::{Future, ready};
use std::ops::Deref;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::topic_partition::TopicPartition;
use crate::topic_id::TopicId;

/// A partition that this consumer has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartition {
    pub partition: TopicPartition,
    /// The id of its topic, to be kept with the offsets that are kept of it: if the one that is known is another, the
    /// topic was deleted and created again, and the offset means nothing ([`StartAt::First`]). `None` from a broker
    /// before Kafka 2.8.
    pub topic_id: Option<TopicId>,
    /// The group's commit: all below it is handled, and what of it was rejected lies in the dead-letter topic. `None`:
    /// there is none.
    pub committed: Option<i64>,
}

/// Where a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the group's commit, passing over what was done beyond it; without one by
    /// [`AutoOffsetReset`](super::AutoOffsetReset).
    Commit,
    /// At its first record, whatever the group has committed and the reset policy says: the topic was deleted and created
    /// again since the application last read it, so none of its records has been read.
    First,
    /// At this offset, whatever the group has committed. One that the log does not hold (any more) goes by
    /// [`AutoOffsetReset`](super::AutoOffsetReset). It becomes the group's commit.
    Offset {
        offset: i64,
        /// [`ConsumerRecord::leader_epoch`](super::ConsumerRecord::leader_epoch) of the record that was handled before
        /// it. By this a log that was cut back meanwhile is noticed (KIP-320), and read on from where it differs. `None`:
        /// not known.
        leader_epoch: Option<i32>,
    },
}

/// For applications that keep what they made of a partition's records together with the offset of the next one, in
/// one transaction: so that each record counts once, whatever crashes when. It is told when partitions come, so that it
/// says where they start; and before they go, so that it stores what it has. Java has it as `ConsumerRebalanceListener`
/// with `seek`, franz-go as `AdjustFetchOffsetsFn` with `OnPartitionsRevoked` and `OnPartitionsLost`.
///
/// Of each partition, in this order: [`assigned`](Self::assigned) until it answers `Ok`; its records go to the handler;
/// [`revoked`](Self::revoked) or [`lost`](Self::lost), once. Where it goes before `assigned` has answered, that call is
/// dropped and nothing more is said of it.
///
/// A handler that says *done* before the application has stored the record lets the group's commit run ahead of the
/// store. That is harmless as long as `assigned` starts at the stored offset or before; it should start at the commit
/// where that is lower, as a rejected record behind it may not have reached the dead-letter topic yet.
///
/// Only the application's store can tell that a member that stood still too long is not the owner any more: what it
/// writes must be conditional on nobody else having claimed the partition there since.
pub trait PartitionListener: Send + Sync + 'static {
    /// The partition is this consumer's; nothing is fetched of it before the answer. An error is the partition's problem
    /// in the statistics, and the call is made again with back-off (100 ms to 1 s) and with the topic's id as fresh metadata
    /// has it. Calls for several partitions overlap.
    ///
    /// # Cancellation
    /// Dropped when the partition goes meanwhile, or the consumer.
    fn assigned(
        &self,
        partition: &NewPartition,
    ) -> impl Future<Output = Result<StartAt, String>> + Send;

    /// These go to another member, or the consumer is shutting down: no record of theirs is with the handler any more,
    /// but for those that outlast the drain, whose results are dropped. Their last commit, and whoever gets them next,
    /// wait for the answer. Default: nothing.
    ///
    /// # Cancellation
    /// Dropped when the group does not wait any longer (`rebalance_timeout`), or at shutdown after `shutdown_drain`.
    fn revoked(&self, partitions: &[TopicPartition]) -> impl Future<Output = ()> + Send {
        let _ = partitions;
        ready(())
    }

    /// These are another member's already: what is not stored of them is read again by it. Default: nothing.
    fn lost(&self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }
}

/// [`PartitionListener`] behind a pointer.
pub(crate) trait AnyListener: Send + Sync {
    fn assigned<'a>(
        &'a self,
        partition: &'a NewPartition,
    ) -> BoxFuture<'a, Result<StartAt, String>>;
    fn revoked<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, ()>;
    fn lost(&self, partitions: &[TopicPartition]);
}

impl<L: PartitionListener> AnyListener for L {
    fn assigned<'a>(
        &'a self,
        partition: &'a NewPartition,
    ) -> BoxFuture<'a, Result<StartAt, String>> {
        PartitionListener::assigned(self, partition).boxed()
    }

    fn revoked<'a>(&'a self, partitions: &'a [TopicPartition]) -> BoxFuture<'a, ()> {
        PartitionListener::revoked(self, partitions).boxed()
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        PartitionListener::lost(self, partitions);
    }
}

#[derive(Clone)]
pub(crate) struct Listener(pub(crate) Arc<dyn AnyListener>);

impl Deref for Listener {
    type Target = dyn AnyListener;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
