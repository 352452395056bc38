//! What a member owns: following an assignment, letting go, and where a new partition starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError;

use super::{Action, Call, FetchedOffset, Membership, Owned, Tag, Ticket};
use crate::consumer::group::{AssignedPartition, Claim, Start};
use crate::consumer::topic_partition::TopicPartition;
use crate::consumer::tracker::metadata::CommitMetadata;
use crate::error::Error;

/// Assigned partitions whose committed offsets are not known yet: owned, but not given to the consumer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    partitions: BTreeSet<TopicPartition>,
    call: Option<Tag>,
    retry_at: Option<Instant>,
    failures: u32,
}

impl Pending {
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.partitions.is_empty() || self.call.is_some() {
            None
        } else {
            self.retry_at
        }
    }

    pub(super) fn forget_call(&mut self) {
        self.call = None;
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Partitions that the consumer is letting go of. They stay owned until it has.
#[derive(Debug)]
pub(super) struct Revocation {
    ticket: Ticket,
    partitions: Vec<TopicPartition>,
    pub(super) deadline: Instant,
}

impl Membership {
    /// Follows a new assignment: what is new starts once its committed offsets are known; what is gone is let go of,
    /// and then the group is joined again, so that its new owner gets it (KIP-429).
    pub(super) fn follow(&mut self, assignment: Vec<TopicPartition>, now: Instant) {
        let assignment: BTreeSet<_> = assignment.into_iter().collect();
        let gone: Vec<_> = self
            .owned
            .keys()
            .filter(|owned| !assignment.contains(owned))
            .cloned()
            .collect();
        let mut added = Vec::new();
        for partition in assignment {
            if !self.owned.contains_key(&partition) {
                let claim = Claim(self.next_claim);
                self.next_claim += 1;
                self.owned.insert(
                    partition.clone(),
                    Owned {
                        claim,
                        given: false,
                        new_in: None,
                    },
                );
                added.push(partition);
            }
        }
        tracing::info!(
            group = %self.config.group, member = %self.member_id, generation = self.generation,
            leader = self.leader, partitions = self.owned.len() - gone.len(), added = added.len(), revoked = gone.len(),
            "has an assignment"
        );
        if !gone.is_empty() {
            self.revoke(gone, now);
            if self.revocation.is_none() {
                self.join_again("revoked partitions are free", now);
            }
        }
        if added.is_empty() {
            self.actions.push(Action::Assigned {
                generation: self.generation,
                partitions: Vec::new(),
            });
        } else {
            self.pending.partitions.extend(added);
            self.pending.retry_at = Some(now);
            // The answer to an earlier call may lack the new ones.
            self.pending.call = None;
        }
    }

    /// Tells the consumer to let go. What it does not know of yet is simply dropped.
    pub(super) fn revoke(&mut self, partitions: Vec<TopicPartition>, now: Instant) {
        let (given, silent): (Vec<_>, Vec<_>) = partitions
            .into_iter()
            .partition(|partition| self.owned.get(partition).is_some_and(|owned| owned.given));
        self.disown(&silent);
        if given.is_empty() {
            return;
        }
        let ticket = Ticket(self.next_tag);
        self.next_tag += 1;
        // The others wait for the rebalance timeout, from when the broker began to count: a heartbeat ago at most.
        let timeout = self.config.rebalance_timeout;
        let margin = (2 * self.config.heartbeat_interval).min(timeout / 2);
        let deadline = now + (timeout - margin);
        self.actions.push(Action::Revoke {
            ticket,
            partitions: given.clone(),
            deadline,
        });
        self.revocation = Some(Revocation {
            ticket,
            partitions: given,
            deadline,
        });
    }

    pub(super) fn revoked(&mut self, ticket: Ticket, now: Instant) {
        if self
            .revocation
            .as_ref()
            .is_some_and(|revocation| revocation.ticket == ticket)
            && let Some(revocation) = self.revocation.take()
        {
            self.disown(&revocation.partitions);
            self.join_again("revoked partitions are free", now);
        }
    }

    /// A consumer that does not let go in time loses what it holds on to: nothing of it is committed any more.
    pub(super) fn expire_revocation(&mut self, now: Instant) {
        if self
            .revocation
            .as_ref()
            .is_some_and(|revocation| now >= revocation.deadline)
            && let Some(revocation) = self.revocation.take()
        {
            tracing::warn!(
                group = %self.config.group, partitions = ?names(&revocation.partitions),
                "revoked partitions were not let go of within the rebalance timeout: dropped as lost"
            );
            self.disown(&revocation.partitions);
            self.actions.push(Action::Lost {
                partitions: revocation.partitions,
            });
            self.join_again("revoked partitions are free", now);
        }
    }

    pub(super) fn lose_partitions(&mut self) {
        self.revocation = None;
        self.pending.clear();
        let partitions: Vec<_> = std::mem::take(&mut self.owned)
            .into_iter()
            .filter(|(_, owned)| owned.given)
            .map(|(partition, _)| partition)
            .collect();
        if !partitions.is_empty() {
            self.actions.push(Action::Lost { partitions });
        }
    }

    fn disown(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
            self.pending.partitions.remove(partition);
        }
    }

    /// Asks for the commits of whole topics, not only of what is new: see [`Self::start_of`].
    pub(super) fn fetch_offsets_if_due(&mut self, now: Instant) {
        if self.pending.wake_at().is_none_or(|at| now < at) {
            return;
        }
        let mut topics: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
        for partition in &self.pending.partitions {
            let known = self.topics.get(&partition.topic).copied().unwrap_or(0);
            let asked = topics
                .entry(partition.topic.clone())
                .or_insert_with(|| (0..known).collect());
            // A leader may know of more than this member does, or be mistaken.
            if !(0..known).contains(&partition.partition) {
                asked.push(partition.partition);
            }
        }
        let tag = self.send(Call::FetchOffsets(topics.into_iter().collect()));
        self.pending.call = Some(tag);
    }

    pub(super) fn offsets(
        &mut self,
        tag: Tag,
        answer: Result<Vec<FetchedOffset>, Error>,
        now: Instant,
    ) {
        if self.pending.call != Some(tag) {
            return;
        }
        self.pending.call = None;
        let fetched = match answer {
            Ok(fetched) => fetched,
            Err(error) => {
                self.offsets_failed(&error, now);
                return;
            }
        };
        // One that has no answer (a transaction is open on it, its topic is not known everywhere) holds up its topic
        // at most: whether the group has other commits on the topic decides where one without a commit starts.
        let mut failed = None;
        let refused = |partition: &TopicPartition| {
            let of_topic = fetched
                .iter()
                .filter(|fetched| fetched.partition.topic == partition.topic);
            let own = of_topic
                .clone()
                .find(|fetched| fetched.partition == *partition);
            if own.is_some_and(|own| own.error.is_none() && own.committed.is_some()) {
                return None;
            }
            let ours = |fetched: &&FetchedOffset| self.owned.contains_key(&fetched.partition);
            of_topic.filter(ours).find_map(|fetched| fetched.error)
        };
        let pending = std::mem::take(&mut self.pending.partitions);
        let refused: BTreeMap<_, _> = pending
            .iter()
            .filter_map(|partition| Some((partition.clone(), refused(partition)?)))
            .collect();
        let mut given = Vec::new();
        for partition in pending {
            if let Some(code) = refused.get(&partition) {
                failed = Some((partition.clone(), *code));
                self.pending.partitions.insert(partition);
                continue;
            }
            let start = self.start_of(&partition, &fetched);
            let generation = self.assigned_in;
            if let Some(owned) = self.owned.get_mut(&partition) {
                owned.given = true;
                owned.new_in = (start == Start::Policy).then_some(generation);
                given.push(AssignedPartition {
                    claim: owned.claim,
                    partition,
                    start,
                });
            }
        }
        if !given.is_empty() {
            self.actions.push(Action::Assigned {
                generation: self.assigned_in,
                partitions: given,
            });
        }
        match failed {
            None => self.pending.failures = 0,
            Some((partition, code)) => {
                let what = format!("group {}, {partition}", self.config.group);
                let api = kafka_protocol::messages::ApiKey::OffsetFetch;
                self.offsets_failed(&Error::response(api, code, what), now);
            }
        }
    }

    fn offsets_failed(&mut self, error: &Error, now: Instant) {
        self.pending.failures += 1;
        self.pending.retry_at = Some(now + self.backoff(self.pending.failures));
        match error.code() {
            Some(
                ResponseError::NotCoordinator
                | ResponseError::CoordinatorNotAvailable
                | ResponseError::CoordinatorLoadInProgress,
            ) => self.coordinator_gone(&error.to_string(), now),
            // Open transactions hold offsets of the group (KIP-447), or the topic is not known everywhere yet.
            Some(code) if code.is_retriable() || code == ResponseError::UnknownServerError => {
                tracing::debug!(group = %self.config.group, %error, "asking for committed offsets again");
            }
            None if error.is_retriable() || error.is_connection() => {
                self.coordinator_gone(&error.to_string(), now)
            }
            _ => self.refused("asking for committed offsets", error, now),
        }
    }

    /// Where a partition starts. Without a commit of its own it follows the reset policy only if the group is new to
    /// the topic. If the group has commits on the topic, the partition was added later, and its records count from
    /// the first one. Members that start together must not take each other's first commits for old ones: those name
    /// the generation they were made in.
    fn start_of(&self, partition: &TopicPartition, fetched: &[FetchedOffset]) -> Start {
        let of_topic = || {
            fetched
                .iter()
                .filter(|fetched| fetched.partition.topic == partition.topic)
        };
        let own = of_topic().find(|fetched| fetched.partition == *partition);
        if let Some(committed) = own.and_then(|fetched| fetched.committed.clone()) {
            return Start::Committed(committed);
        }
        let is_old = |fetched: &FetchedOffset| {
            fetched.committed.as_ref().is_some_and(|committed| {
                CommitMetadata::parse(&committed.metadata).and_then(|metadata| metadata.new_in)
                    != Some(self.assigned_in)
            })
        };
        if of_topic().any(is_old) {
            Start::First
        } else {
            Start::Policy
        }
    }
}

fn names(partitions: &[TopicPartition]) -> Vec<String> {
    partitions.iter().map(ToString::to_string).collect()
}
