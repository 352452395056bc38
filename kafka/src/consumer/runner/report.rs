//! What the runner tells while it runs, and when it has ended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::stats::{ConsumerState, ConsumerStats, InFlightRecord, PartitionStats};
use super::super::topic_partition::TopicPartition;
use super::core::Core;

/// How a consumer ended, and what it left. Everything left is delivered again to whoever gets the
/// partition next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that were queued or waited for a retry, and were not waited for.
    pub given_up: usize,
    /// Records that the handler still had when the drain was over.
    pub abandoned: Vec<InFlightRecord>,
    /// Dead letters that were not acknowledged in time.
    pub dead_letters: usize,
    /// Partitions whose last offsets could not be committed.
    pub uncommitted: Vec<TopicPartition>,
}

impl Report {
    /// Whether all that was begun ended and was committed.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return f.write_str("nothing left");
        }
        write!(
            f,
            "{} records given up while queued or waiting for a retry",
            self.given_up
        )?;
        for record in &self.abandoned {
            write!(
                f,
                "; {} offset {} still in the handler's hands after {} ms",
                record.partition,
                record.offset,
                record.age.as_millis()
            )?;
        }
        if self.dead_letters > 0 {
            write!(f, "; {} dead letters not acknowledged", self.dead_letters)?;
        }
        for partition in &self.uncommitted {
            write!(f, "; {partition} not committed")?;
        }
        Ok(())
    }
}

/// A record in the handler's hands, by its place among the flights.
#[derive(Clone)]
pub(super) struct Airborne {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) report_at: Instant,
}

impl Airborne {
    pub(super) fn record(&self, age: Duration) -> InFlightRecord {
        InFlightRecord {
            partition: TopicPartition::new(self.topic.clone(), self.partition),
            offset: self.offset,
            age,
        }
    }
}

impl Core {
    /// Fills in everything but what the flights know.
    pub(super) fn snapshot(&self) -> ConsumerStats {
        let group = self.group.state();
        let mut partitions: Vec<PartitionStats> = self
            .slots
            .iter()
            .flatten()
            .map(|slot| PartitionStats {
                partition: slot.name.clone(),
                committed: slot.committed,
                position: slot.tracker.as_ref().map(|tracker| tracker.position()),
                high_watermark: slot.high_watermark,
                unfinished: slot
                    .tracker
                    .as_ref()
                    .map_or(0, |tracker| tracker.unfinished()),
                oldest_unfinished: slot
                    .tracker
                    .as_ref()
                    .and_then(|tracker| tracker.oldest_unfinished()),
                dead_letters_pending: slot.dead_letters,
                problem: slot.problem(),
                held: slot.held.clone(),
            })
            .collect();
        partitions.sort_by(|a, b| a.partition.cmp(&b.partition));
        let mut topics = self.topics.clone();
        topics.sort_by(|a, b| a.topic.cmp(&b.topic));
        let state = match (&self.draining, &self.paused, self.joined) {
            (Some(_), _, _) => ConsumerState::Draining,
            (None, Some(reason), _) => ConsumerState::Paused(reason.clone()),
            (None, None, true) => ConsumerState::Running,
            (None, None, false) => ConsumerState::Starting,
        };
        ConsumerStats {
            group: self.settings.group.group.clone(),
            state,
            membership: group.phase,
            member_id: group.member_id.clone(),
            generation: group.generation,
            fenced: group.fenced.clone(),
            assignor: group.assignor.clone(),
            rebalances: group.rebalances,
            group_problem: group.problem.clone(),
            unowned: group.unowned.clone(),
            partitions,
            topics,
            in_flight: self.lanes.in_flight(),
            waiting: self.lanes.waiting(),
            queued: self.lanes.parked(),
            buffered_bytes: self.fetcher.buffered(),
            oldest_in_flight: None,
            stuck: 0,
            commits: self.commit.stored,
            commit_failures: self.commit.failures,
        }
    }
}
