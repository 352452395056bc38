//! One assigned partition, as the runner keeps it.

use std::collections::VecDeque;

use super::super::fetcher::{Chunk, Reservation, Ticket};
use super::super::group::{Claim, Commit, Committed};
use super::super::lineage::Lineage;
use super::super::stats::HeldBatch;
use super::super::topic_partition::TopicPartition;
use super::super::tracker::{OffsetTracker, metadata};
use super::listening::Told;
use tokio::time::Instant;

use crate::backoff::Retries;
use crate::records::walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walker};
use crate::topic_id::TopicId;

/// First and longest wait before a batch that cannot be read is fetched again.
const HOLD: (std::time::Duration, std::time::Duration) = (
    std::time::Duration::from_millis(500),
    std::time::Duration::from_secs(30),
);

/// Dead letters of one partition that may wait for their acknowledgement; then it pauses, so that
/// a dead-letter topic that is away holds this partition and no other.
const MAX_DEAD_LETTERS: usize = 32;

pub(super) struct Slot {
    pub(super) name: TopicPartition,
    /// Of the topic that its positions are of; `None` = not known.
    pub(super) topic_id: Option<TopicId>,
    pub(super) claim: Claim,
    /// Tells this use of the slot from earlier and later ones: results for another life are dropped.
    pub(super) life: u64,
    /// Index of its topic's counters.
    pub(super) topic: usize,
    /// `None` until the start position is known.
    pub(super) tracker: Option<OffsetTracker>,
    /// What is being fetched now.
    pub(super) ticket: Option<Ticket>,
    inbox: VecDeque<Chunk>,
    reading: Option<Reading>,
    pub(super) in_turn: bool,
    /// Paused until the tracker has caught up, or less is queued.
    pub(super) stalled: bool,
    pub(super) revoked: bool,
    /// Flights and dead letters.
    pub(super) in_flight: usize,
    pub(super) dead_letters: usize,
    pub(super) high_watermark: Option<i64>,
    pub(super) committed: Option<i64>,
    /// Of what was read and is not done yet.
    pub(super) lineage: Lineage,
    pub(super) holds: Retries,
    pub(super) fetch_problem: Option<String>,
    pub(super) hold_problem: Option<String>,
    /// The batch that it is held by.
    pub(super) held: Option<HeldBatch>,
    /// When that was last told.
    pub(super) hold_told: Option<Instant>,
    /// For which held offset the dead letters were looked through for a skip, and how far.
    pub(super) looked: Option<(i64, i64)>,
    pub(super) letter_problem: Option<String>,
    pub(super) told: Told,
}

/// The chunk whose records are being handed out.
struct Reading {
    walker: Walker,
    _reservation: Reservation,
}

impl Slot {
    pub(super) fn new(name: TopicPartition, claim: Claim, life: u64, topic: usize) -> Self {
        Self {
            name,
            topic_id: None,
            claim,
            life,
            topic,
            tracker: None,
            ticket: None,
            inbox: VecDeque::new(),
            reading: None,
            in_turn: false,
            stalled: false,
            revoked: false,
            in_flight: 0,
            dead_letters: 0,
            high_watermark: None,
            committed: None,
            lineage: Lineage::default(),
            holds: Retries::new(HOLD.0, HOLD.1),
            fetch_problem: None,
            hold_problem: None,
            held: None,
            hold_told: None,
            looked: None,
            letter_problem: None,
            told: Told::default(),
        }
    }

    /// Queues what was fetched.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.inbox.push_back(chunk);
    }

    /// Drops what was fetched and not handed out.
    pub(super) fn clear(&mut self) {
        self.inbox.clear();
        self.reading = None;
    }

    /// Whether it has records to hand out, and may.
    pub(super) fn is_runnable(&self) -> bool {
        (self.reading.is_some() || !self.inbox.is_empty())
            && !self.revoked
            && self.dead_letters < MAX_DEAD_LETTERS
    }

    /// The walker over what is handed out now; opens the next chunk where there is one.
    #[inline]
    pub(super) fn walker(&mut self, isolation: IsolationLevel) -> Option<&mut Walker> {
        if self.reading.is_none() {
            let chunk = self.inbox.pop_front()?;
            self.lineage.extend(&chunk.lineage);
            let options = WalkOptions {
                topic: self.name.topic.clone(),
                partition: self.name.partition,
                fetch_offset: chunk.from,
                isolation,
                aborted: chunk.aborted,
                max_decompressed: MAX_DECOMPRESSED,
            };
            self.reading = Some(Reading {
                walker: Walker::new(chunk.records, options),
                _reservation: chunk.reservation,
            });
        }
        self.reading.as_mut().map(|reading| &mut reading.walker)
    }

    /// The walker came to its end: what it passed over counts as passed. True: it could read
    /// nothing at all, since its one batch was cut off.
    pub(super) fn end_chunk(&mut self) -> bool {
        let Some(reading) = self.reading.take() else {
            return false;
        };
        if let Some(tracker) = &mut self.tracker {
            tracker.advance_to(reading.walker.next_offset());
        }
        reading.walker.is_cut_off()
    }

    /// What a commit would store now, if that is news; and the version to confirm it with.
    pub(super) fn commit(&self) -> Option<(Commit, u64)> {
        let tracker = self.tracker.as_ref()?;
        let due = tracker.committable()?;
        let committed = Committed {
            offset: due.offset,
            leader_epoch: self.lineage.before(due.offset),
            metadata: metadata::with_epoch(due.metadata, tracker.done_epoch(self.lineage.last())),
        };
        Some((
            Commit {
                partition: self.name.clone(),
                claim: self.claim,
                committed,
            },
            due.version,
        ))
    }

    /// It gets on: nothing holds it any more.
    pub(super) fn release(&mut self) {
        self.holds.reset();
        self.hold_problem = None;
        self.held = None;
        self.hold_told = None;
        self.looked = None;
    }

    pub(super) fn problem(&self) -> Option<String> {
        let problems = [
            &self.hold_problem,
            &self.letter_problem,
            &self.fetch_problem,
        ];
        problems.into_iter().flatten().next().cloned()
    }
}
