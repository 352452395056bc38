//! What the runner keeps, but for the handler and its calls.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::builder::Settings;
use super::super::dead_letter::DeadLetterError;
use super::super::error::ConsumerError;
use super::super::fetcher::{Fetched, Fetcher, What};
use super::super::group::{CommitResult, GroupHandle};
use super::super::lanes::{Lane, Lanes};
use super::super::positions::End;
use super::super::skip::Skip;
use super::super::stats::{ConsumerStatsHandle, Outcomes, TopicStats};
use super::super::topic_partition::TopicPartition;
use super::MAX_PARKED_BYTES;
use super::listening::Asked;
use super::quiet::Quiet;
use super::slot::Slot;
use super::task::Task;
use crate::backoff::Jitter;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::topic_id::TopicId;

pub(super) struct Core {
    pub(super) settings: Arc<Settings>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) group: GroupHandle,
    pub(super) fetcher: Fetcher,
    pub(super) lanes: Lanes<Task>,
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) index: HashMap<TopicPartition, usize>,
    /// The id that each subscribed topic had when this consumer first knew it.
    pub(super) first_ids: HashMap<Arc<str>, TopicId>,
    /// Slots with records to hand out, in turn.
    pub(super) turn: VecDeque<usize>,
    pub(super) lives: u64,
    pub(super) operations: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) revocations: Vec<Revocation>,
    pub(super) topics: Vec<TopicStats>,
    pub(super) commit: CommitState,
    pub(super) jitter: Jitter,
    /// The clock, read once a round.
    pub(super) now: Instant,
    pub(super) stats: ConsumerStatsHandle,
    pub(super) joined: bool,
    pub(super) paused: Option<String>,
    pub(super) draining: Option<Instant>,
    pub(super) fatal: Option<ConsumerError>,
    pub(super) given_up: usize,
    pub(super) quiet: Quiet,
}

/// When and how the last commits went.
pub(super) struct CommitState {
    pub(super) next: Instant,
    /// Before its time: a start position was found.
    pub(super) soon: bool,
    pub(super) in_flight: bool,
    pub(super) stored: u64,
    pub(super) failures: u64,
}

/// Something slow that has come to its end.
pub(super) enum Done {
    /// Start positions, by slot and life.
    Located(Vec<Located>),
    /// The listener has said where a partition starts; `None` where it went meanwhile.
    Asked(Option<Box<Asked>>),
    /// The listener has let go of a revocation's partitions.
    Handed { revocation: u64 },
    Committed {
        sent: Vec<Sent>,
        results: Vec<(TopicPartition, CommitResult)>,
        revocation: Option<u64>,
    },
    Buried {
        letter: Box<Letter>,
        result: Result<(), DeadLetterError>,
    },
    /// A partition that was held may be fetched again; the dead letters were looked through for a skip, for
    /// the first offset and up to the second.
    Resume {
        slot: usize,
        life: u64,
        looked: Option<(i64, i64)>,
    },
    /// An operator says that what holds a partition is to be passed over.
    Skip { slot: usize, life: u64, skip: Skip },
}

pub(super) struct Located {
    pub(super) slot: usize,
    pub(super) life: u64,
    pub(super) end: End,
    pub(super) offset: Result<i64, Error>,
    pub(super) failures: u32,
}

/// A commit on its way.
pub(super) struct Sent {
    pub(super) name: TopicPartition,
    pub(super) slot: usize,
    pub(super) life: u64,
    pub(super) version: u64,
    pub(super) offset: i64,
}

pub(super) struct Letter {
    pub(super) task: Task,
    pub(super) reason: String,
    pub(super) attempts: u32,
    pub(super) failures: u32,
}

/// Partitions on their way out.
pub(super) struct Revocation {
    pub(super) id: u64,
    pub(super) slots: Vec<(usize, u64)>,
    /// Until then what runs may end.
    pub(super) drain_until: Instant,
    /// After it the partitions count as lost.
    pub(super) deadline: Instant,
    /// Since when its offsets are being committed.
    pub(super) committing: Option<Instant>,
    pub(super) done: Option<oneshot::Sender<()>>,
}

impl Core {
    pub(super) fn slot(&mut self, slot: usize, life: u64) -> Option<&mut Slot> {
        self.slots
            .get_mut(slot)?
            .as_mut()
            .filter(|found| found.life == life)
    }

    pub(super) fn add_slot(
        &mut self,
        name: TopicPartition,
        claim: super::super::group::Claim,
    ) -> (usize, u64) {
        self.lives += 1;
        let topic = match self
            .topics
            .iter()
            .position(|known| known.topic == name.topic)
        {
            Some(at) => at,
            None => {
                self.topics.push(TopicStats {
                    topic: name.topic.clone(),
                    outcomes: Outcomes::default(),
                });
                self.topics.len() - 1
            }
        };
        let mut slot = Slot::new(name.clone(), claim, self.lives, topic);
        slot.topic_id = self.cluster.view().topic_id(&name.topic);
        let at = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        self.slots[at] = Some(slot);
        self.index.insert(name, at);
        (at, self.lives)
    }

    pub(super) fn remove_slot(&mut self, at: usize) {
        self.fetcher.stop(at);
        self.lanes.drop_slot(at);
        self.turn.retain(|slot| *slot != at);
        if let Some(slot) = self.slots[at].take() {
            self.index.remove(&slot.name);
        }
    }

    /// Drops what was fetched and not handed out, and stops fetching.
    pub(super) fn stop_fetching(&mut self, at: usize) {
        self.fetcher.stop(at);
        self.turn.retain(|slot| *slot != at);
        if let Some(slot) = &mut self.slots[at] {
            slot.ticket = None;
            slot.in_turn = false;
            slot.clear();
        }
    }

    /// Fetches on from where handing out stands.
    pub(super) fn start_fetching(&mut self, at: usize) {
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let Some(tracker) = &slot.tracker else { return };
        if slot.revoked || self.draining.is_some() {
            return;
        }
        let position = tracker.position();
        let epoch = slot.lineage.before(position);
        let (topic, partition) = (&slot.name.topic, slot.name.partition);
        let ticket = (self.fetcher).start(at, topic, slot.topic_id, partition, position, epoch);
        slot.ticket = Some(ticket);
    }

    /// Takes in what was fetched.
    pub(super) fn on_fetched(&mut self, fetched: Vec<Fetched>) {
        for Fetched {
            slot: at,
            ticket,
            what,
        } in fetched
        {
            let Some(Some(slot)) = self.slots.get_mut(at) else {
                continue;
            };
            if slot.ticket != Some(ticket) || slot.revoked {
                continue;
            }
            match what {
                What::Records(chunk) => {
                    slot.fetch_problem = None;
                    slot.high_watermark = Some(chunk.high_watermark);
                    slot.topic_id = slot.topic_id.or(chunk.topic_id);
                    slot.push(chunk);
                    self.give_turn(at);
                }
                What::Empty { high_watermark } => {
                    slot.fetch_problem = None;
                    slot.high_watermark = Some(high_watermark);
                }
                What::OutOfRange { position } => self.out_of_range(at, position),
                What::Diverged(divergence) => self.diverged(at, divergence),
                What::Recreated { position, topic_id } => self.recreated(at, position, topic_id),
                What::Failed { error, times } => {
                    // Loud when it lasts, not in every turn of a rolling restart.
                    if times.is_power_of_two() {
                        tracing::warn!(
                            group = %self.settings.group.group, partition = %slot.name, times, %error,
                            "fetching failed, trying again"
                        );
                    }
                    slot.fetch_problem = Some(format!("fetching fails: {error}"));
                }
            }
        }
    }

    /// Puts a slot into the turn, if it has something to hand out.
    pub(super) fn give_turn(&mut self, at: usize) {
        if let Some(slot) = &mut self.slots[at]
            && slot.is_runnable()
            && !slot.in_turn
        {
            slot.in_turn = true;
            self.turn.push_back(at);
        }
    }

    /// The partition is too far ahead of its commit, or too much queues already: no more until that
    /// has changed.
    pub(super) fn stall(&mut self, at: usize) {
        self.stop_fetching(at);
        if let Some(slot) = &mut self.slots[at] {
            slot.stalled = true;
            tracing::debug!(partition = %slot.name, "too far ahead of its commit, or too much is queued: pausing");
        }
    }

    /// Fetches a stalled partition again once half of what stalled it is free: what was fetched beyond
    /// is fetched twice, so that must not happen for every record.
    pub(super) fn unstall(&mut self, at: usize) {
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let Some(tracker) = &slot.tracker else { return };
        let ahead = (tracker.position() - tracker.committable_offset()) as u64;
        let near = ahead <= self.settings.max_ahead / 2 || tracker.unfinished() == 0;
        if slot.stalled && near && self.lanes.parked_bytes() <= MAX_PARKED_BYTES / 2 {
            slot.stalled = false;
            self.start_fetching(at);
        }
    }

    /// The record is finished with: its offset counts, its lane goes on.
    #[inline]
    pub(super) fn finish(&mut self, slot: usize, life: u64, offset: i64, lane: Lane) {
        self.lanes.release(lane);
        if let Some(found) = self.slot(slot, life) {
            if let Some(tracker) = &mut found.tracker {
                tracker.done(offset);
            }
            if found.stalled {
                self.unstall(slot);
            }
        }
    }

    /// Counters of the task's topic.
    pub(super) fn outcomes(&mut self, task: &Task) -> &mut Outcomes {
        let at = match self.slots.get(task.slot) {
            Some(Some(slot)) if slot.life == task.life => slot.topic,
            // Its partition went; its topic was counted before and is still here.
            _ => self
                .topics
                .iter()
                .position(|known| known.topic == task.record.topic)
                .unwrap_or(0),
        };
        &mut self.topics[at].outcomes
    }

    /// Ends the consumer with an error, in order: what runs may end, what is done is committed.
    pub(super) fn fail(&mut self, error: ConsumerError) {
        tracing::error!(group = %self.settings.group.group, "the consumer stops: {error}");
        self.fatal.get_or_insert(error);
        self.drain();
    }

    /// Takes no more records; what runs has until `shutdown_drain`.
    pub(super) fn drain(&mut self) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(self.now + self.settings.shutdown_drain);
        for at in 0..self.slots.len() {
            self.stop_fetching(at);
        }
        self.given_up = self.lanes.drop_waiting();
    }
}
