//! Which offsets of one partition are done, and so what may be committed.
//!
//! Records of different keys end in any order, yet a commit is one offset. The tracker commits the highest offset
//! below which everything is done, and writes what is done beyond it into the commit's metadata, so that after a
//! restart one waiting key does not make thousands of records run twice.
//!
//! State: a bitmap over the offsets from the commit to the furthest one known, one bit an offset, in a ring of
//! words. It is never wider than `max_ahead` (what the caller is held to by [`OffsetTracker::has_room`]), so nothing
//! is allocated for a record on its way.

pub(crate) mod metadata;

use std::collections::VecDeque;

use self::metadata::CommitMetadata;
use crate::records::MAX_OFFSET;

/// One partition's offsets; pure.
#[derive(Debug)]
pub(crate) struct OffsetTracker {
    /// Everything below is done: what is committed. Its bit, if it has one, is 0, unless it is `next`: what an
    /// earlier commit says is done counts once the fetch has passed it.
    base: i64,
    /// The next offset to be given out; never below `base`.
    next: i64,
    /// Bits exist below this offset. Those from `next` on come from the metadata of an earlier commit.
    end: i64,
    /// Bit set = done. The first word holds `base`. Empty if `base == end`.
    words: VecDeque<u64>,
    /// Given out and not done.
    unfinished: u64,
    max_ahead: u64,
    /// What the metadata of an earlier commit says is done is of this leader epoch at most.
    done_epoch: i32,
    /// Counts what changes the commit.
    changes: u64,
    /// `changes` when what is committed was read.
    committed: u64,
}

/// What to commit, and the state it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committable {
    /// The next offset to handle: everything below is done.
    pub(crate) offset: i64,
    /// What is done beyond it; empty = nothing.
    pub(crate) metadata: String,
    /// To be handed to [`OffsetTracker::committed`] once the commit is stored.
    pub(crate) version: u64,
}

const WORD: i64 = u64::BITS as i64;

impl OffsetTracker {
    /// Starts at a committed offset, with the metadata of that commit (`Some`), or at a position found by a reset
    /// policy (`None`), which is then due to be committed. Metadata that is not ours is ignored.
    pub(crate) fn new(start: i64, metadata: Option<&str>, max_ahead: u64) -> Self {
        let mut tracker = Self {
            base: start,
            next: start,
            end: start,
            words: VecDeque::new(),
            unfinished: 0,
            max_ahead: max_ahead.max(1),
            done_epoch: i32::MAX,
            changes: u64::from(metadata.is_none()),
            committed: 0,
        };
        if let Some(done) = metadata.and_then(CommitMetadata::parse) {
            tracker.done_epoch = done.epoch.unwrap_or(i32::MAX);
            for run in done.runs {
                let (from, to) = (
                    start.saturating_add(run.start),
                    start.saturating_add(run.end),
                );
                if to > MAX_OFFSET {
                    break;
                }
                tracker.extend(from, false);
                tracker.extend(to, true);
            }
        }
        tracker
    }

    /// The next offset to give out.
    pub(crate) fn position(&self) -> i64 {
        self.next
    }

    /// Whether this offset is done already and is to be passed over: handled before a restart.
    pub(crate) fn is_done(&self, offset: i64) -> bool {
        offset < self.base
            || if offset < self.end {
                self.bit(offset)
            } else {
                offset < self.next
            }
    }

    /// A record of this leader epoch lies at this offset, not below the position. Where it is later than all that
    /// the metadata of an earlier commit is about, the log was cut back and written anew: from here on that
    /// metadata means nothing.
    #[inline]
    pub(crate) fn meet(&mut self, offset: i64, leader_epoch: i32) {
        if leader_epoch > self.done_epoch {
            self.done_epoch = i32::MAX;
            self.forget_from(offset.max(self.next));
        }
    }

    /// The latest leader epoch that what is done beyond the commit can be of, where the latest read is this one; -1 =
    /// not known.
    pub(crate) fn done_epoch(&self, read: i32) -> i32 {
        if self.end <= self.next {
            read
        } else if self.done_epoch == i32::MAX {
            -1
        } else {
            read.max(self.done_epoch)
        }
    }

    /// Whether this offset may be given out now: it is less than `max_ahead` past the commit, or nothing is
    /// unfinished. While not, the partition pauses.
    pub(crate) fn has_room(&self, offset: i64) -> bool {
        self.unfinished == 0 || offset.saturating_sub(self.base) < self.max_ahead as i64
    }

    /// Gives out the record at this offset, which is not below the position and not done. What lies between has no
    /// records (compacted away, or a transaction's markers) or was done before a restart.
    pub(crate) fn dispatch(&mut self, offset: i64) {
        debug_assert!(offset >= self.next && !self.is_done(offset));
        self.advance_to(offset);
        if self.words.is_empty() {
            // Nothing unfinished: jump instead of filling the gap bit by bit.
            self.base = offset;
            self.end = offset;
        }
        self.extend(offset, true);
        if offset == self.end {
            self.extend(offset + 1, false);
        }
        self.next = offset + 1;
        self.unfinished += 1;
    }

    /// The record at this offset has ended: handled, or in the dead letters. To be called once for each dispatch;
    /// anything else is ignored.
    pub(crate) fn done(&mut self, offset: i64) {
        if offset < self.base || offset >= self.next.min(self.end) || self.bit(offset) {
            return;
        }
        self.set(offset);
        self.unfinished -= 1;
        self.changes += 1;
        if offset == self.base {
            self.settle();
        }
    }

    /// No records lie between the position and this offset (or they were done before a restart): the fetch went on
    /// to it.
    pub(crate) fn advance_to(&mut self, offset: i64) {
        if offset <= self.next {
            return;
        }
        let known = offset.min(self.end);
        for gap in self.next..known {
            self.set(gap);
        }
        self.next = offset;
        self.changes += 1;
        self.settle();
    }

    /// The lowest offset given out and not done: what holds the commit back.
    pub(crate) fn oldest_unfinished(&self) -> Option<i64> {
        (self.unfinished > 0).then_some(self.base)
    }

    /// How many records are given out and not done.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// The offset that a commit would hold now; cheap.
    pub(crate) fn committable_offset(&self) -> i64 {
        self.base
    }

    /// What to commit, if that differs from what is committed.
    pub(crate) fn committable(&self) -> Option<Committable> {
        (self.changes != self.committed).then(|| Committable {
            offset: self.base,
            metadata: metadata::encode(self.runs()),
            version: self.changes,
        })
    }

    /// A [`Committable`] is stored.
    pub(crate) fn committed(&mut self, version: u64) {
        self.committed = self.committed.max(version);
    }

    /// Lengths of the runs from `base` on: not done, done, not done, done, …
    fn runs(&self) -> impl Iterator<Item = u64> {
        let mut at = self.base;
        let mut done = false;
        std::iter::from_fn(move || {
            if at >= self.end {
                return None;
            }
            let from = at;
            at = self.run_end(at, done);
            done = !done;
            Some((at - from) as u64)
        })
    }

    /// The end of the run of `done` bits that starts at `from`.
    fn run_end(&self, from: i64, done: bool) -> i64 {
        let mut at = from;
        while at < self.end {
            let word = self.words[self.index(at)];
            let rest = (if done { !word } else { word }) >> (at & (WORD - 1));
            if rest != 0 {
                return (at + i64::from(rest.trailing_zeros())).min(self.end);
            }
            at = (at | (WORD - 1)) + 1;
        }
        self.end
    }

    /// Moves `base` over what is done.
    fn settle(&mut self) {
        if self.base < self.end {
            self.base = self.run_end(self.base, true).min(self.next);
        }
        if self.base == self.end {
            self.words.clear();
            self.base = self.base.max(self.next);
            self.end = self.base;
        } else {
            let passed = self.base / WORD - self.first_word();
            self.words.drain(..passed as usize);
        }
    }

    /// Adds bits up to `to`.
    fn extend(&mut self, to: i64, done: bool) {
        while self.end < to {
            if self.words.is_empty() || self.end & (WORD - 1) == 0 {
                self.words.push_back(0);
            }
            let bits = (WORD - (self.end & (WORD - 1))).min(to - self.end);
            if done {
                let ones = u64::MAX >> (WORD - bits);
                let last = self.words.len() - 1;
                self.words[last] |= ones << (self.end & (WORD - 1));
            }
            self.end += bits;
        }
    }

    /// Removes the bits from `offset` on, which is not below the position.
    fn forget_from(&mut self, offset: i64) {
        if offset >= self.end {
            return;
        }
        self.changes += 1;
        let first = self.first_word();
        self.end = offset;
        if self.end == self.base {
            self.words.clear();
            return;
        }
        let words = (self.end - 1) / WORD + 1 - first;
        self.words.truncate(words as usize);
        let rest = self.end & (WORD - 1);
        if rest > 0
            && let Some(last) = self.words.back_mut()
        {
            *last &= (1 << rest) - 1;
        }
    }

    /// The number of the first word, counted from offset 0.
    fn first_word(&self) -> i64 {
        // The last word holds the bit before `end`.
        (self.end - 1) / WORD + 1 - self.words.len() as i64
    }

    fn index(&self, offset: i64) -> usize {
        (offset / WORD - self.first_word()) as usize
    }

    fn bit(&self, offset: i64) -> bool {
        self.words[self.index(offset)] >> (offset & (WORD - 1)) & 1 == 1
    }

    fn set(&mut self, offset: i64) {
        let index = self.index(offset);
        self.words[index] |= 1 << (offset & (WORD - 1));
    }
}

#[cfg(test)]
mod tests;
