//! Partitions come and go.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::super::builder::AutoOffsetReset;
use super::super::error::ConsumerError;
use super::super::group::{AssignedPartition, GroupEvent, Start};
use super::super::lineage::Lineage;
use super::super::positions::{End, positions};
use super::super::topic_partition::TopicPartition;
use super::super::tracker::OffsetTracker;
use super::core::{Core, Done, Located, Revocation};
use super::listening::Told;
use crate::backoff::Backoff;
use crate::topic_id::TopicId;

/// First and longest wait before a start position is asked for again.
pub(super) const LOCATE_RETRY: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Time of a revocation that is kept for its commit.
const COMMIT_RESERVE: Duration = Duration::from_secs(2);

impl Core {
    pub(super) fn on_group(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Assigned {
                generation,
                partitions,
            } => {
                self.joined = true;
                self.note_topics();
                tracing::info!(
                    group = %self.settings.group.group, generation,
                    partitions = %names(partitions.iter().map(|assigned| &assigned.partition)),
                    "partitions assigned"
                );
                if self.draining.is_none() {
                    self.assign(partitions);
                }
            }
            GroupEvent::Revoke {
                partitions,
                deadline,
                done,
            } => {
                tracing::info!(
                    group = %self.settings.group.group, partitions = %names(&partitions),
                    "partitions are being revoked: what runs of them may end"
                );
                self.lives += 1;
                let deadline = Instant::from_std(deadline);
                // The commit after the drain needs time as well.
                let reserve = COMMIT_RESERVE.min(deadline.saturating_duration_since(self.now) / 4);
                let mut revocation = Revocation {
                    id: self.lives,
                    slots: Vec::new(),
                    drain_until: (deadline - reserve)
                        .min(self.now + self.settings.revocation_drain),
                    deadline,
                    committing: None,
                    done: Some(done),
                };
                for name in &partitions {
                    let Some(&at) = self.index.get(name) else {
                        continue;
                    };
                    self.stop_fetching(at);
                    self.lanes.drop_slot(at);
                    if let Some(slot) = &mut self.slots[at] {
                        slot.revoked = true;
                        if let Told::Asking(_) = slot.told {
                            slot.told = Told::Nothing;
                        }
                        revocation.slots.push((at, slot.life));
                    }
                }
                self.revocations.push(revocation);
            }
            GroupEvent::Lost { partitions } => {
                tracing::warn!(
                    group = %self.settings.group.group, partitions = %names(&partitions),
                    "partitions lost: they belong to another member already"
                );
                let slots: Vec<_> = partitions
                    .iter()
                    .filter_map(|name| self.index.get(name).copied())
                    .filter_map(|at| Some((at, self.slots[at].as_ref()?.life)))
                    .collect();
                self.tell_lost(slots.clone());
                for (at, _) in slots {
                    self.remove_slot(at);
                }
            }
            GroupEvent::Fatal(error) => self.fail(ConsumerError::Group(error)),
        }
    }

    fn assign(&mut self, partitions: Vec<AssignedPartition>) {
        let mut wanted = Vec::new();
        for AssignedPartition {
            partition,
            claim,
            start,
        } in partitions
        {
            if let Some(&old) = self.index.get(&partition) {
                if let Some(slot) = &self.slots[old] {
                    self.tell_lost(vec![(old, slot.life)]);
                }
                self.remove_slot(old);
            }
            let (at, life) = self.add_slot(partition, claim);
            if !self.ask_listener(at, life, &start, 0) {
                wanted.extend(self.place(at, life, start));
            }
        }
        self.locate(wanted, 0);
    }

    /// The listener leaves the start to the group.
    pub(super) fn start_as_the_group_says(&mut self, at: usize, life: u64, start: Start) {
        let wanted = self.place(at, life, start).into_iter().collect();
        self.locate(wanted, 0);
    }

    /// Starts at the group's commit. Without one the leader has to be asked for an end of the log.
    fn place(&mut self, at: usize, life: u64, start: Start) -> Option<(usize, u64, End)> {
        match start {
            Start::Committed(committed) => {
                let tracker = OffsetTracker::new(
                    committed.offset,
                    Some(&committed.metadata),
                    self.settings.max_ahead,
                );
                let slot = self.slot(at, life)?;
                slot.lineage = Lineage::resumed(committed.offset, committed.leader_epoch);
                slot.tracker = Some(tracker);
                slot.committed = Some(committed.offset);
                self.start_fetching(at);
                None
            }
            Start::First => Some((at, life, End::Earliest)),
            Start::Policy => match self.reset_end() {
                // The broker deletes a topic's commits with it, so a topic that was created again has none.
                Some(_) if self.is_younger(at) => Some((at, life, End::Earliest)),
                Some(end) => Some((at, life, end)),
                None => {
                    let group = self.settings.group.group.clone();
                    let partition = self.slot(at, life)?.name.clone();
                    self.fail(ConsumerError::NoOffset { group, partition });
                    None
                }
            },
        }
    }

    /// Remembers the id of each subscribed topic as it was when this consumer first knew it.
    pub(super) fn note_topics(&mut self) {
        let missing = |topic: &&Arc<str>| !self.first_ids.contains_key(*topic);
        let names = self.settings.group.topics.iter().filter(missing);
        let view = self.cluster.view();
        let found: Vec<_> = names
            .filter_map(|topic| Some((topic.clone(), view.topic_id(topic)?)))
            .collect();
        self.first_ids.extend(found);
    }

    /// Whether the partition's topic was created while this consumer ran, in the place of another topic of that name:
    /// then each of its records is new, as those of a new partition are.
    fn is_younger(&self, at: usize) -> bool {
        self.slots[at].as_ref().is_some_and(|slot| {
            let first = self.first_ids.get(&slot.name.topic).copied();
            TopicId::differ(first, slot.topic_id)
        })
    }

    pub(super) fn reset_end(&self) -> Option<End> {
        match self.settings.reset {
            AutoOffsetReset::Earliest => Some(End::Earliest),
            AutoOffsetReset::Latest => Some(End::Latest),
            AutoOffsetReset::None => None,
        }
    }

    /// Asks the leaders where these partitions start.
    pub(super) fn locate(&mut self, wanted: Vec<(usize, u64, End)>, failures: u32) {
        let mut slots = Vec::new();
        let mut ends = Vec::new();
        for (at, life, end) in wanted {
            let Some(slot) = self.slot(at, life) else {
                continue;
            };
            ends.push((slot.name.clone(), end));
            slots.push((at, life, end));
        }
        if slots.is_empty() {
            return;
        }
        let (cluster, isolation) = (self.cluster.clone(), self.settings.fetch.isolation);
        let wait = (failures > 0).then(|| LOCATE_RETRY.delay(failures, self.jitter.next()));
        self.operations.push(
            async move {
                if let Some(wait) = wait {
                    tokio::time::sleep(wait).await;
                }
                let offsets = positions(&cluster, isolation, &ends).await;
                let located = slots
                    .into_iter()
                    .zip(offsets)
                    .map(|((slot, life, end), offset)| Located {
                        slot,
                        life,
                        end,
                        offset,
                        failures,
                    });
                Done::Located(located.collect())
            }
            .boxed(),
        );
    }

    /// Start positions were found, or not.
    pub(super) fn on_located(&mut self, located: Vec<Located>) {
        let mut again = Vec::new();
        let mut failures = 0;
        for Located {
            slot: at,
            life,
            end,
            offset,
            failures: before,
        } in located
        {
            let max_ahead = self.settings.max_ahead;
            let group = self.settings.group.group.clone();
            let Some(slot) = self.slot(at, life) else {
                continue;
            };
            match offset {
                Ok(offset) => {
                    tracing::info!(%group, partition = %slot.name, offset, "starting position found: {end:?}");
                    slot.fetch_problem = None;
                    slot.release();
                    slot.lineage = Lineage::default();
                    match &mut slot.tracker {
                        // After out of range, ahead: what was handed out before stays on its way.
                        Some(tracker) if offset >= tracker.position() => tracker.advance_to(offset),
                        // The log was cut back: offsets will come again with other records.
                        Some(_) => self.begin_anew(at, offset),
                        None => slot.tracker = Some(OffsetTracker::new(offset, None, max_ahead)),
                    }
                    self.commit.soon = true;
                    self.start_fetching(at);
                }
                Err(error) => {
                    failures = before + 1;
                    if failures.is_power_of_two() {
                        tracing::warn!(%group, partition = %slot.name, failures, %error, "cannot find the starting position, trying again");
                    }
                    slot.fetch_problem =
                        Some(format!("its starting position is not known: {error}"));
                    again.push((at, life, end));
                }
            }
        }
        self.locate(again, failures);
    }

    /// Moves revocations on: once nothing of theirs runs any more, or the drain is over, they are
    /// committed and answered.
    pub(super) fn progress_revocations(&mut self) {
        let mut due = Vec::new();
        for revocation in &mut self.revocations {
            let running = |(slot, life): &(usize, u64)| match &self.slots[*slot] {
                Some(found) if found.life == *life => found.in_flight,
                _ => 0,
            };
            let left: usize = revocation.slots.iter().map(running).sum();
            if revocation.committing.is_none() && (left == 0 || self.now >= revocation.drain_until)
            {
                revocation.committing = Some(self.now);
                due.push((
                    revocation.id,
                    revocation.slots.clone(),
                    revocation.deadline,
                    left,
                ));
            }
        }
        for (id, slots, deadline, left) in due {
            if left > 0 {
                tracing::warn!(
                    group = %self.settings.group.group, left,
                    "records of revoked partitions still run after the drain: their results will be dropped"
                );
            }
            if !self.tell_revoked(id, &slots, deadline) {
                self.commit_revocation(id);
            }
        }
    }

    /// What has ended of a revocation's partitions is committed; with nothing to commit the revocation is over at once.
    pub(super) fn commit_revocation(&mut self, id: u64) {
        let found = self.revocations.iter().find(|found| found.id == id);
        let slots = found.map_or_else(Vec::new, |found| found.slots.clone());
        self.commit_slots(&slots, Some(id));
    }

    /// A revocation's commit ended: the partitions are gone.
    pub(super) fn finish_revocation(&mut self, id: u64) {
        let Some(at) = self
            .revocations
            .iter()
            .position(|revocation| revocation.id == id)
        else {
            return;
        };
        let revocation = self.revocations.swap_remove(at);
        let mut let_go = Vec::new();
        for (at, life) in revocation.slots {
            if let Some(slot) = self.slot(at, life) {
                let_go.push(slot.name.clone());
                self.remove_slot(at);
            }
        }
        tracing::info!(
            group = %self.settings.group.group, generation = self.group.state().generation,
            partitions = %names(&let_go), "partitions revoked"
        );
        if let Some(done) = revocation.done {
            let _ = done.send(());
        }
    }
}

pub(super) fn names<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> String {
    let names: Vec<_> = partitions.into_iter().map(ToString::to_string).collect();
    names.join(" ")
}
