//! After a static member took up its old place, without a rebalance: whether the assignment that it was given still fits.
//!
//! The coordinator hands the old assignment out whatever has changed meanwhile (KIP-345, KIP-814): a restart with another
//! subscription, or partitions that were added while the leader was away, would go unread until the next rebalance. So the
//! member asks once what the whole group has, and joins again if a partition belongs to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::{Call, Membership, Phase, Tag, TopicCounts};
use crate::consumer::topic_partition::TopicPartition;
use crate::error::Error;

/// What is to be asked, and when.
#[derive(Debug)]
pub(super) struct Review {
    /// As leader the group's, else the member's own.
    topics: Vec<Arc<str>>,
    call: Option<Tag>,
    retry_at: Instant,
    failures: u32,
    /// It was given back topics that it no longer reads.
    foreign: bool,
}

/// What the whole group was assigned, and the partition counts of the topics that exist.
#[derive(Debug)]
pub(crate) struct Reviewed {
    pub(crate) counts: TopicCounts,
    pub(crate) assigned: BTreeSet<TopicPartition>,
}

impl Review {
    pub(super) fn new(topics: Vec<Arc<str>>, now: Instant) -> Self {
        Self {
            topics,
            call: None,
            retry_at: now,
            failures: 0,
            foreign: false,
        }
    }
}

impl Membership {
    pub(super) fn review_wakes_at(&self) -> Option<Instant> {
        let review = self.review.as_ref()?;
        (matches!(self.phase, Phase::Stable) && review.call.is_none()).then_some(review.retry_at)
    }

    pub(super) fn review_if_due(&mut self, now: Instant) {
        if self.review_wakes_at().is_none_or(|at| now < at) {
            return;
        }
        let Some(topics) = self.review.as_ref().map(|review| review.topics.clone()) else {
            return;
        };
        let tag = self.send(Call::Review(topics));
        if let Some(review) = &mut self.review {
            review.call = Some(tag);
        }
    }

    /// Begins or drops what concerns one coordinator: the answer to a call to the old one counts for nothing.
    pub(super) fn forget_review_call(&mut self) {
        if let Some(review) = &mut self.review {
            review.call = None;
        }
    }

    pub(super) fn reviewed(&mut self, tag: Tag, answer: Result<Reviewed, Error>, now: Instant) {
        if self.review.as_ref().and_then(|review| review.call) != Some(tag) {
            return;
        }
        let Some(mut review) = self.review.take() else {
            return;
        };
        match answer {
            Err(error) if error.is_retriable() => {
                tracing::debug!(group = %self.config.group, %error, "asking again what the group is assigned");
                review.failures += 1;
                review.call = None;
                review.retry_at = now + self.backoff(review.failures);
                self.review = Some(review);
            }
            Err(error) => {
                tracing::debug!(group = %self.config.group, %error, "the group's assignment cannot be looked at");
                self.join_again("its old assignment could not be looked at", now);
            }
            Ok(found) => {
                for topic in &review.topics {
                    match found.counts.get(topic) {
                        Some(count) => self.topics.insert(topic.clone(), *count),
                        None => self.topics.remove(topic),
                    };
                }
                if self.leader {
                    self.watch(&review.topics);
                }
                if !covers(&review.topics, &found) || review.foreign {
                    tracing::info!(
                        group = %self.config.group,
                        "the assignment from before the restart leaves partitions out: joining again"
                    );
                    self.join_again("its old assignment does not fit any more", now);
                }
            }
        }
    }

    /// Looks at what the coordinator gave back, before what this member does not read is left out of it.
    pub(super) fn note_foreign_topics(&mut self, assignment: &[TopicPartition]) {
        let topics = &self.config.topics;
        if let Some(review) = &mut self.review {
            review.foreign = assignment.iter().any(|of| !topics.contains(&of.topic));
        }
    }
}

fn covers(topics: &[Arc<str>], found: &Reviewed) -> bool {
    let mut assigned: BTreeMap<&str, i32> = BTreeMap::new();
    for partition in &found.assigned {
        let count = found.counts.get(&partition.topic).copied().unwrap_or(0);
        if (0..count).contains(&partition.partition) {
            *assigned.entry(&partition.topic).or_default() += 1;
        }
    }
    topics.iter().all(|topic| {
        let count = found.counts.get(topic).copied().unwrap_or(0);
        assigned.get(&**topic).copied().unwrap_or(0) == count
    })
}
