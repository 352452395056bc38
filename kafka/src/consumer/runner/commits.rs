//! Commits: periodic, one in flight, and once more when partitions go.

use std::collections::HashMap;
use std::time::Duration;

use futures::FutureExt;

use super::super::group::{Commit, CommitResult};
use super::super::topic_partition::TopicPartition;
use super::core::{Core, Done, Sent};

/// Before a commit of a revocation that was not taken is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long the last commit before leaving may take.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// How long a commit of a revocation is made again for a partition that the coordinator does not know although the
/// cluster's metadata lists it: longer than brokers take to hear of a new topic.
const UNKNOWN: Duration = Duration::from_secs(5);

/// What is left of a commit after its answer.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    /// Something may be stored by trying again.
    again: bool,
    /// So may a partition that the coordinator does not know, if its topic is a new one.
    unknown: bool,
}

impl Core {
    /// Commits what is due, if it is time and none is in flight.
    pub(super) fn commit_if_due(&mut self) {
        if self.commit.in_flight || !(self.commit.soon || self.now >= self.commit.next) {
            return;
        }
        self.commit.soon = false;
        self.commit.next = self.now + self.settings.commit_interval;
        let kept = |(at, slot): (usize, &Option<super::slot::Slot>)| match slot {
            Some(slot) if !slot.revoked => Some((at, slot.life)),
            _ => None,
        };
        let slots: Vec<_> = self.slots.iter().enumerate().filter_map(kept).collect();
        self.commit_slots(&slots, None);
    }

    /// Commits what is news about these. A revocation is answered by it, even if nothing is.
    pub(super) fn commit_slots(&mut self, slots: &[(usize, u64)], revocation: Option<u64>) {
        let (sent, commits) = self.collect(slots);
        if commits.is_empty() {
            if let Some(id) = revocation {
                self.finish_revocation(id);
            }
            return;
        }
        if revocation.is_none() {
            self.commit.in_flight = true;
        }
        let group = self.group.clone();
        self.operations.push(
            async move {
                let results = group.commit(commits).await;
                Done::Committed {
                    sent,
                    results,
                    revocation,
                }
            }
            .boxed(),
        );
    }

    fn collect(&mut self, slots: &[(usize, u64)]) -> (Vec<Sent>, Vec<Commit>) {
        let mut sent = Vec::new();
        let mut commits = Vec::new();
        for &(at, life) in slots {
            if let Some(slot) = self.slot(at, life)
                && let Some((commit, version)) = slot.commit()
            {
                let name = commit.partition.clone();
                sent.push(Sent {
                    name,
                    slot: at,
                    life,
                    version,
                    offset: commit.committed.offset,
                });
                commits.push(commit);
            }
        }
        (sent, commits)
    }

    /// A commit was answered.
    pub(super) fn on_committed(
        &mut self,
        sent: Vec<Sent>,
        results: Vec<(TopicPartition, CommitResult)>,
        revocation: Option<u64>,
    ) {
        if revocation.is_none() {
            self.commit.in_flight = false;
        }
        let left = self.note_committed(sent, results);
        let Some(id) = revocation else { return };
        let next = self.now + AGAIN;
        let in_time = |revocation: &super::core::Revocation| {
            let patient = revocation
                .committing
                .is_some_and(|since| next < since + UNKNOWN);
            revocation.id == id
                && next < revocation.deadline
                && (left.again || left.unknown && patient)
        };
        if !self.revocations.iter().any(in_time) {
            self.finish_revocation(id);
            return;
        }
        // Still ours until the deadline: once more.
        let slots = self
            .revocations
            .iter()
            .find(|found| found.id == id)
            .map(|found| found.slots.clone());
        let (sent, commits) = self.collect(&slots.unwrap_or_default());
        if commits.is_empty() {
            self.finish_revocation(id);
            return;
        }
        let group = self.group.clone();
        self.operations.push(
            async move {
                tokio::time::sleep(AGAIN).await;
                let results = group.commit(commits).await;
                Done::Committed {
                    sent,
                    results,
                    revocation,
                }
            }
            .boxed(),
        );
    }

    /// Books the results.
    fn note_committed(
        &mut self,
        sent: Vec<Sent>,
        results: Vec<(TopicPartition, CommitResult)>,
    ) -> Left {
        let mut left = Left::default();
        let (mut stored, mut failed) = (false, false);
        let group = self.settings.group.group.clone();
        let mut results: HashMap<_, _> = results.into_iter().collect();
        for sent in sent {
            let Some((name, result)) = results.remove_entry(&sent.name) else {
                continue;
            };
            match result {
                CommitResult::Stored { without_metadata } => {
                    stored = true;
                    if without_metadata {
                        tracing::debug!(%group, partition = %name, "the broker took the offset without its metadata");
                    }
                    if let Some(slot) = self.slot(sent.slot, sent.life) {
                        slot.committed = Some(sent.offset);
                        if let Some(tracker) = &mut slot.tracker {
                            tracker.committed(sent.version);
                        }
                    }
                }
                CommitResult::NotYet(reason) => {
                    (left.again, failed) = (true, true);
                    tracing::debug!(%group, partition = %name, reason, "offset not committed yet");
                }
                CommitResult::UnknownPartition(reason) => {
                    failed = true;
                    if self.is_gone(&name) {
                        tracing::debug!(%group, partition = %name, reason, "offset not committed: the partition was deleted");
                    } else {
                        left.unknown = true;
                        tracing::debug!(%group, partition = %name, reason, "offset not committed yet");
                        self.cluster.request_refresh();
                    }
                }
                CommitResult::Dropped => {
                    tracing::debug!(%group, partition = %name, "offset not committed: no longer ours");
                }
                CommitResult::Refused(reason) => {
                    failed = true;
                    tracing::error!(%group, partition = %name, offset = sent.offset, "offset not committed: {reason}");
                }
            }
        }
        self.commit.stored += u64::from(stored);
        self.commit.failures += u64::from(failed);
        left
    }

    /// Whether the cluster's metadata no longer has the partition.
    fn is_gone(&self, partition: &TopicPartition) -> bool {
        let count = self.cluster.view().partition_count(&partition.topic);
        count.is_none_or(|count| partition.partition >= count)
    }

    /// The last commit before leaving. Returns the partitions whose offsets could not be stored.
    pub(super) async fn commit_last(&mut self) -> Vec<TopicPartition> {
        let slots: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, slot.as_ref()?.life)))
            .collect();
        let deadline = tokio::time::Instant::now() + LAST_COMMIT;
        loop {
            let (sent, commits) = self.collect(&slots);
            if commits.is_empty() {
                return Vec::new();
            }
            let names: Vec<_> = commits
                .iter()
                .map(|commit| commit.partition.clone())
                .collect();
            match tokio::time::timeout_at(deadline, self.group.commit(commits)).await {
                Err(_) => return names,
                Ok(results) => {
                    let left = self.note_committed(sent, results);
                    if !left.again && !left.unknown {
                        // What was refused or is no longer ours is not to be had by waiting. A partition that was
                        // deleted leaves nothing to be delivered again.
                        let commits = self.collect(&slots).1.into_iter();
                        let names = commits.map(|commit| commit.partition);
                        return names.filter(|name| !self.is_gone(name)).collect();
                    }
                }
            }
            if tokio::time::Instant::now() + AGAIN >= deadline {
                return names;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
