//! Consumer groups: membership, assignment, commits and key-ordered handling of records.
//!
//! A [`Consumer`] is built by [`Client::consumer`](crate::Client::consumer), given a [`Handler`],
//! and [run](Consumer::run). Reading paths:
//!
//! - a record's way: `fetcher` → `runner` (`hand_out`, `start`, `settle`) → `lanes`, `flights` →
//!   `tracker` → commit; or `dead_letter`;
//! - a partition's way: `group` (`GroupEvent`) → `runner/assignment` → `positions` → `fetcher`;
//!   the application's say in it: [`PartitionListener`], `runner/listening`;
//! - pure parts, tested as models: `lanes`, `lineage`, `tracker`, `assignor`, `protocol`.

use std::future::Future;
use std::sync::Arc;

pub(crate) mod assignor;
mod builder;
pub(crate) mod committer;
pub(crate) mod coordinator;
pub mod dead_letter;
mod error;
pub(crate) mod fetcher;
pub(crate) mod flights;
pub(crate) mod group;
pub(crate) mod group_error;
mod handler;
pub(crate) mod lanes;
pub(crate) mod lineage;
mod listener;
pub(crate) mod membership;
pub(crate) mod positions;
pub(crate) mod protocol;
mod record;
mod runner;
pub(crate) mod skip;
pub(crate) mod standing;
mod static_member;
mod stats;
pub(crate) mod topic_partition;
pub(crate) mod tracker;

pub use self::assignor::{Assignor, UnknownAssignor};
use self::builder::Settings;
pub use self::builder::{AutoOffsetReset, ConsumerBuilder, RetryPolicy};
pub use self::dead_letter::DeadLetters;
pub use self::error::ConsumerError;
pub use self::group_error::GroupError;
pub use self::handler::{Handler, Outcome};
pub use self::lanes::Lane;
pub use self::listener::{NewPartition, PartitionListener, StartAt};
pub use self::record::ConsumerRecord;
pub use self::runner::Report;
pub use self::skip::{SkipError, SkipRequest};
pub use self::static_member::StaticMember;
pub use self::stats::{
    ConsumerState, ConsumerStats, ConsumerStatsHandle, HeldBatch, InFlightRecord, Outcomes,
    PartitionStats, TopicStats,
};
pub use self::topic_partition::TopicPartition;
use crate::client::Client;
use crate::cluster::Cluster;

/// A member of a consumer group that gives its records to a handler.
pub struct Consumer<H> {
    cluster: Arc<Cluster>,
    settings: Settings,
    handler: H,
    stats: ConsumerStatsHandle,
}

impl Client {
    /// A consumer that is a member of `group`.
    pub fn consumer(&self, group: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.cluster().clone(), group)
    }
}

impl<H: Handler> Consumer<H> {
    fn new(
        cluster: Arc<Cluster>,
        settings: Settings,
        handler: H,
        stats: ConsumerStatsHandle,
    ) -> Self {
        Self {
            cluster,
            settings,
            handler,
            stats,
        }
    }

    /// What the consumer tells about itself, while it runs and after.
    pub fn stats(&self) -> ConsumerStatsHandle {
        self.stats.clone()
    }

    /// Joins the group and handles records until `shutdown` completes. Then: no more is fetched;
    /// what is in flight may end, at most `shutdown_drain`; retries that wait are given up, and
    /// stay uncommitted; what is done is committed; the group is left. The report says what was
    /// left over.
    ///
    /// # Errors
    /// A membership that is over (fenced, refused, no common strategy), or no offset to start from
    /// with the reset policy `none`. Brokers that are away are no error: they are waited for.
    ///
    /// # Cancellation
    /// Dropped, it ends at once: handlers are dropped half-way, and what is done since the last
    /// commit is delivered again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Report, ConsumerError> {
        // The client may have known the topics for a while: partitions added since are to be seen now.
        self.cluster.request_refresh();
        let group = coordinator::join(self.cluster.clone(), self.settings.group.clone());
        runner::run(
            self.cluster,
            self.settings,
            self.handler,
            self.stats,
            group,
            shutdown,
        )
        .await
    }
}
