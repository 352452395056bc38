//! Remembers recent ids and a hash of what came under them, so that a repeat and a conflict are noticed.
//!
//! Best effort: it is bounded, lies in memory and knows only what this instance has seen. Whoever keeps state takes the
//! first of what has one id, with or without it.
//!
//! Cost: two hashes, and one lock held for one cache line of a table; no allocation but when a table grows.

mod generation;

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use self::generation::{Generation, Seen};

/// Recent ids by their hashes. Two generations: when the younger one is full, the older is forgotten; so between half
/// the capacity and all of it is remembered, with no bookkeeping for each id.
#[derive(Debug)]
pub struct Recent {
    hasher: RandomState,
    /// Of one generation.
    capacity: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

/// An id with its content, as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry(Seen);

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: from now on it is known with this content, not settled.
    New,
    /// The same content came before, and is not [settled](Recent::settle): the entry as it is known.
    Open(Entry),
    /// The same content came before, and is settled.
    Settled,
    /// The id came before with other content.
    Conflict,
}

impl Entry {
    /// Whether [`Recent::half_settle`] was called for it before it was met.
    pub fn is_half_settled(&self) -> bool {
        self.0.is_half_settled()
    }
}

impl Recent {
    /// Remembers up to `capacity` ids (32 to 64 bytes each); 0 remembers none.
    pub fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            capacity: capacity.div_ceil(2),
            generations: Mutex::default(),
        }
    }

    /// The entry of an id with its content.
    pub fn entry(&self, id: impl Hash, content: impl Hash) -> Entry {
        let mut hasher = self.hasher.build_hasher();
        id.hash(&mut hasher);
        let id = hasher.finish();
        content.hash(&mut hasher);
        Entry(Seen::new(id, hasher.finish()))
    }

    /// Looks an entry up, and remembers it if its id is new.
    pub fn meet(&self, Entry(seen): Entry) -> Known {
        if self.capacity == 0 {
            return Known::New;
        }
        let mut generations = self.generations.lock();
        match generations.find(&seen) {
            Some(known) if known.is_released() => {
                *known = seen;
                Known::New
            }
            Some(known) if !known.has_content_of(&seen) => Known::Conflict,
            Some(known) if known.is_settled() => Known::Settled,
            Some(known) => Known::Open(Entry(*known)),
            None => {
                generations.put(seen, self.capacity);
                Known::New
            }
        }
    }

    /// All that was to be done about it is done: it cannot be released any more. Of one that was released meanwhile
    /// the id is taken again, unless it has come with other content since.
    pub fn settle(&self, entry: Entry) {
        self.note(entry, Seen::settle);
    }

    /// The first half of what was to be done about it is done ([`Entry::is_half_settled`]).
    pub fn half_settle(&self, entry: Entry) {
        self.note(entry, Seen::half_settle);
    }

    fn note(&self, Entry(mut seen): Entry, note: impl Fn(&mut Seen)) {
        if self.capacity == 0 {
            return;
        }
        let mut generations = self.generations.lock();
        match generations.find(&seen) {
            Some(known) if known.has_content_of(&seen) => note(known),
            Some(_) => {}
            // Forgotten meanwhile.
            None => {
                note(&mut seen);
                generations.put(seen, self.capacity);
            }
        }
    }

    /// Nothing has come of it: its id may come with any content.
    pub fn release(&self, Entry(seen): Entry) {
        if self.capacity == 0 {
            return;
        }
        let mut generations = self.generations.lock();
        if let Some(known) = generations.find(&seen)
            && known.has_content_of(&seen)
            && !known.is_settled()
        {
            known.release();
        }
    }
}

impl Generations {
    fn find(&mut self, like: &Seen) -> Option<&mut Seen> {
        match self.young.find(like) {
            Some(seen) => Some(seen),
            None => self.old.find(like),
        }
    }

    fn put(&mut self, seen: Seen, capacity: usize) {
        if self.young.len() >= capacity {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_and_memory_stays_bounded() {
        let memory = Recent::new(10);
        for id in 0..1000 {
            assert_eq!(memory.meet(memory.entry(id, 0)), Known::New);
        }
        let known = |id: i32| {
            let Entry(seen) = memory.entry(id, 0);
            memory.generations.lock().find(&seen).is_some()
        };
        assert!((995..1000).all(known), "half is always kept");
        assert!(!(0..990).any(known));
        let generations = memory.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 10);
    }

    #[test]
    fn what_is_released_may_come_with_any_content() {
        let memory = Recent::new(10);
        let first = memory.entry("1", "a");
        assert_eq!(memory.meet(first), Known::New);
        assert_eq!(memory.meet(memory.entry("1", "b")), Known::Conflict);
        memory.release(memory.entry("1", "b"));
        assert_eq!(memory.meet(memory.entry("1", "b")), Known::Conflict);
        memory.release(first);
        assert_eq!(memory.meet(memory.entry("1", "b")), Known::New);
        assert_eq!(memory.meet(first), Known::Conflict);
        // What is settled stays.
        memory.settle(memory.entry("1", "b"));
        memory.release(memory.entry("1", "b"));
        assert_eq!(memory.meet(memory.entry("1", "b")), Known::Settled);
        // Also where the release came before.
        let second = memory.entry("2", "a");
        assert_eq!(memory.meet(second), Known::New);
        memory.release(second);
        memory.settle(second);
        assert_eq!(memory.meet(memory.entry("2", "b")), Known::Conflict);
        assert_eq!(memory.meet(second), Known::Settled);
    }

    #[test]
    fn without_capacity_everything_is_new() {
        let memory = Recent::new(0);
        for content in ["a", "b"] {
            let entry = memory.entry("1", content);
            assert_eq!(memory.meet(entry), Known::New);
            memory.settle(entry);
        }
    }
}
