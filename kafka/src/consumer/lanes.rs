//! Which record may run now.
//!
//! Records of one key run one after another; different keys, and records without one, run in
//! parallel up to a limit. A key is *occupied* from the start of its first record until nothing of
//! it is running, waiting for a retry or queued; what arrives meanwhile queues behind it. Since a
//! lane belongs to the key and not to a partition, a flight that outlives the revocation of its
//! partition still keeps its key occupied, also when the partition comes back.
//!
//! Pure: no I/O, no clock, no handler. The runner tells it what happened:
//!
//! ```text
//!   admit ──► run ──► (finished at once)        ──► release
//!     │        └────► begin … end               ──► release | wait | hold
//!     ▼ key occupied
//!   queued ──► ready ──► next_ready ──► run …
//!                ▲
//!   wait ────────┘ when its time has come (wake)
//!   hold ────────┘ when the gate opens again
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque, hash_map};

use tokio::time::Instant;

/// Where a record queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Behind every earlier record with the same number. Two keys that share a number only wait
    /// for each other, which is slower but never wrong.
    Key(u64),
    /// Behind nothing.
    Unordered,
}

impl Lane {
    /// The lane of a key given as bytes.
    pub fn of(key: &[u8]) -> Self {
        use std::hash::BuildHasher;
        use std::sync::LazyLock;
        static STATE: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);
        Lane::Key(STATE.hash_one(key))
    }
}

/// What lanes need to know of a record they keep.
pub(crate) trait Parked {
    /// The assignment the record came with.
    fn slot(&self) -> usize;
    /// Memory it holds on to.
    fn bytes(&self) -> usize;
}

/// Whether new flights may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// What the handler needs is down.
    Closed,
    /// It is said to be back: one flight goes ahead, the others follow when it has landed.
    Trial {
        started: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Lanes<T> {
    /// Apart from what queues: a key comes and goes with every record in flight, a queue seldom.
    occupied: HashSet<u64, foldhash::fast::RandomState>,
    /// What queues behind occupied keys; none of them is empty.
    queued: HashMap<u64, VecDeque<T>, foldhash::fast::RandomState>,
    /// May run as soon as there is room; their keys are occupied.
    ready: VecDeque<(Lane, T)>,
    /// Wait for a time; their keys are occupied. The second number tells equal times apart.
    waiting: BTreeMap<(Instant, u64), (Lane, T)>,
    sequence: u64,
    in_flight: usize,
    max_in_flight: usize,
    parked_records: usize,
    parked_bytes: usize,
    gate: Gate,
}

impl<T: Parked> Lanes<T> {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        Self {
            occupied: HashSet::default(),
            queued: HashMap::default(),
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            sequence: 0,
            in_flight: 0,
            max_in_flight: max_in_flight.max(1),
            parked_records: 0,
            parked_bytes: 0,
            gate: Gate::Open,
        }
    }

    /// Whether one more record may start now.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.max_in_flight
            && matches!(self.gate, Gate::Open | Gate::Trial { started: false })
    }

    /// Whether `lane` is taken: a record on it would have to queue.
    #[inline]
    pub(crate) fn is_occupied(&self, lane: Lane) -> bool {
        match lane {
            Lane::Key(key) => !self.occupied.is_empty() && self.occupied.contains(&key),
            Lane::Unordered => false,
        }
    }

    /// Queues a record behind its occupied lane.
    pub(crate) fn queue(&mut self, lane: Lane, record: T) {
        self.count_parked(&record);
        let Lane::Key(key) = lane else {
            self.ready.push_back((lane, record));
            return;
        };
        if self.occupied.insert(key) {
            self.ready.push_back((lane, record));
        } else {
            self.queued.entry(key).or_default().push_back(record);
        }
    }

    /// The next record of those kept here that may run, if there is room.
    pub(crate) fn next_ready(&mut self) -> Option<(Lane, T)> {
        if !self.has_room() {
            return None;
        }
        let (lane, record) = self.ready.pop_front()?;
        self.uncount_parked(&record);
        Some((lane, record))
    }

    /// A record that was started did not finish at once: it is in flight.
    #[inline]
    pub(crate) fn begin(&mut self, lane: Lane) {
        self.in_flight += 1;
        self.occupy(lane);
        if let Gate::Trial { started } = &mut self.gate {
            *started = true;
        }
    }

    /// A record needs no handler any more, but is not finished with either (its dead letter is on
    /// its way): it counts as in flight and keeps its lane, whatever the gate.
    pub(crate) fn keep(&mut self, lane: Lane) {
        self.in_flight += 1;
        self.occupy(lane);
    }

    /// A flight landed, or a kept record is settled. Say next what became of its record: `release`, `wait` or `hold`.
    #[inline]
    pub(crate) fn end(&mut self) {
        debug_assert!(self.in_flight > 0, "a flight ended that never began");
        self.in_flight -= 1;
    }

    /// The record is finished with: the next of its lane becomes ready.
    #[inline]
    pub(crate) fn release(&mut self, lane: Lane) {
        let Lane::Key(key) = lane else { return };
        if !self.queued.is_empty()
            && let hash_map::Entry::Occupied(mut queue) = self.queued.entry(key)
        {
            self.ready
                .extend(queue.get_mut().pop_front().map(|next| (lane, next)));
            if queue.get().is_empty() {
                queue.remove();
            }
        } else if !self.occupied.is_empty() {
            self.occupied.remove(&key);
        }
    }

    /// The record runs again at `until`; its lane waits with it.
    pub(crate) fn wait(&mut self, lane: Lane, record: T, until: Instant) {
        self.occupy(lane);
        self.count_parked(&record);
        self.sequence += 1;
        self.waiting.insert((until, self.sequence), (lane, record));
    }

    /// The record runs again as soon as the gate is open; its lane waits with it.
    pub(crate) fn hold(&mut self, lane: Lane, record: T) {
        self.occupy(lane);
        self.count_parked(&record);
        self.ready.push_front((lane, record));
    }

    /// Makes ready what has waited long enough. Returns when to look again.
    pub(crate) fn wake(&mut self, now: Instant) -> Option<Instant> {
        while let Some(entry) = self.waiting.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            self.ready.push_back(entry.remove());
        }
        None
    }

    /// What the handler needs is down: nothing starts until `try_again`.
    pub(crate) fn close(&mut self) {
        self.gate = Gate::Closed;
    }

    /// It may be back: lets one record go ahead.
    pub(crate) fn try_again(&mut self) {
        if self.gate == Gate::Closed {
            self.gate = Gate::Trial { started: false };
        }
    }

    /// It is back: a handler gave an answer other than *unavailable*.
    #[inline]
    pub(crate) fn open(&mut self) {
        self.gate = Gate::Open;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate == Gate::Closed
    }

    /// Drops every queued and waiting record of an assignment that ended; flights stay, and so do
    /// their lanes. Returns how many were dropped.
    pub(crate) fn drop_slot(&mut self, slot: usize) -> usize {
        self.drop_where(|record| record.slot() == slot)
    }

    /// Drops all that waits for a retry, with what queues behind it (shutdown). Returns how many.
    pub(crate) fn drop_waiting(&mut self) -> usize {
        self.drop_where(|_| true)
    }

    fn drop_where(&mut self, gone: impl Fn(&T) -> bool) -> usize {
        let before = self.parked_records;
        self.queued.retain(|_, queue| {
            queue.retain(|record| !gone(record));
            !queue.is_empty()
        });
        // A lane whose head goes passes to what queues behind it, at the end of the ready ones.
        let mut freed = Vec::new();
        self.ready.retain(|(lane, record)| {
            let keep = !gone(record);
            if !keep {
                freed.push(*lane);
            }
            keep
        });
        self.waiting.retain(|_, (lane, record)| {
            let keep = !gone(record);
            if !keep {
                freed.push(*lane);
            }
            keep
        });
        for lane in freed {
            self.release(lane);
        }
        (self.parked_records, self.parked_bytes) = self
            .iter_parked()
            .fold((0, 0), |(n, bytes), record| (n + 1, bytes + record.bytes()));
        before - self.parked_records
    }

    fn iter_parked(&self) -> impl Iterator<Item = &T> {
        let queued = self.queued.values().flatten();
        let ready = self.ready.iter().map(|(_, record)| record);
        queued
            .chain(ready)
            .chain(self.waiting.values().map(|(_, record)| record))
    }

    /// Records in flight.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Records that wait for a retry's time.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Records kept here: queued, ready and waiting.
    pub(crate) fn parked(&self) -> usize {
        self.parked_records
    }

    /// Memory the records kept here hold on to.
    #[inline]
    pub(crate) fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    fn occupy(&mut self, lane: Lane) {
        if let Lane::Key(key) = lane {
            self.occupied.insert(key);
        }
    }

    fn count_parked(&mut self, record: &T) {
        self.parked_records += 1;
        self.parked_bytes += record.bytes();
    }

    fn uncount_parked(&mut self, record: &T) {
        self.parked_records -= 1;
        self.parked_bytes -= record.bytes();
    }
}

#[cfg(test)]
mod tests;
