//! Remembers where recent records lie in Kafka, by their ids.
//!
//! Best effort: it is bounded, lies in memory and knows only what this instance has sent. An answer is a hint, since two
//! ids may have one hash, and a place is read without a lock while another is written over it. So the caller reads the
//! record and compares its id.
//!
//! Cost of noting one: a hash, and one cache line that is written without a lock; nothing is allocated.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use foldhash::fast::RandomState;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The caller's number of the topic, below 16.
    pub topic: u8,
    pub partition: i32,
    pub offset: i64,
}

const PARTITION_BITS: u32 = 16;
const OFFSET_BITS: u32 = 44;

impl Place {
    /// `None` where it does not fit: a partition from 65,536 on, an offset from 2^44 on, or none (-1).
    fn pack(self) -> Option<u64> {
        let partition = u64::try_from(self.partition).ok()?;
        let offset = u64::try_from(self.offset).ok()?;
        let fits =
            self.topic < 16 && partition >> PARTITION_BITS == 0 && offset >> OFFSET_BITS == 0;
        let topic = u64::from(self.topic) << (PARTITION_BITS + OFFSET_BITS);
        fits.then_some(topic | partition << OFFSET_BITS | offset)
    }

    fn unpack(packed: u64) -> Self {
        let partition = packed >> OFFSET_BITS & ((1 << PARTITION_BITS) - 1);
        Self {
            topic: (packed >> (PARTITION_BITS + OFFSET_BITS)) as u8,
            partition: partition as i32,
            offset: (packed & ((1 << OFFSET_BITS) - 1)) as i64,
        }
    }
}

/// Ids that share a bucket; one cache line.
const WAYS: usize = 4;

/// The newest first.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([Receipt; WAYS]);

#[derive(Debug, Default)]
struct Receipt {
    /// The id's hash; 0 where there is none.
    id: AtomicU64,
    place: AtomicU64,
}

/// Places of recent records. A new one takes the place of the oldest of its bucket.
#[derive(Debug)]
pub struct Receipts {
    hasher: RandomState,
    /// A power of two of them, or none.
    buckets: Box<[Bucket]>,
}

impl Receipts {
    /// Remembers about `capacity` records, 16 to 32 bytes each; 0 remembers none. Of the latest half of them one in
    /// twenty is forgotten before its time.
    pub fn new(capacity: usize) -> Self {
        let buckets = match capacity {
            0 => 0,
            capacity => capacity.div_ceil(WAYS).next_power_of_two(),
        };
        Self {
            hasher: RandomState::default(),
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
        }
    }

    /// Remembers where the record with this id lies.
    pub fn note(&self, id: impl Hash, place: Place) {
        let id = self.hash(id);
        let (Some(Bucket(receipts)), Some(place)) = (self.bucket(id), place.pack()) else {
            return;
        };
        // Of the same id, or the last one; what lies before it moves up.
        let known = receipts
            .iter()
            .position(|known| known.id.load(Relaxed) == id);
        for at in (1..=known.unwrap_or(WAYS - 1)).rev() {
            let before = &receipts[at - 1];
            receipts[at].id.store(before.id.load(Relaxed), Relaxed);
            receipts[at]
                .place
                .store(before.place.load(Relaxed), Relaxed);
        }
        receipts[0].place.store(place, Relaxed);
        receipts[0].id.store(id, Relaxed);
    }

    /// Where the record with this id lies, if it is remembered; or another one's place.
    pub fn find(&self, id: impl Hash) -> Option<Place> {
        let id = self.hash(id);
        let Bucket(receipts) = self.bucket(id)?;
        let known = receipts.iter().find(|known| known.id.load(Relaxed) == id)?;
        Some(Place::unpack(known.place.load(Relaxed)))
    }

    fn hash(&self, id: impl Hash) -> u64 {
        self.hasher.hash_one(id).max(1)
    }

    fn bucket(&self, id: u64) -> Option<&Bucket> {
        self.buckets
            .get(id as usize & self.buckets.len().wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Place {
        Place {
            topic: 1,
            partition: 2,
            offset,
        }
    }

    #[test]
    fn the_newest_are_remembered_and_memory_stays_bounded() {
        let receipts = Receipts::new(4_096);
        for number in 0..100_000_i64 {
            receipts.note(number.to_string(), at(number));
        }
        assert_eq!(receipts.buckets.len(), 1_024);
        let known = |number: i64| receipts.find(number.to_string()) == Some(at(number));
        // The last one always; of the latest half nearly all; nothing of long ago.
        assert!(known(99_999));
        let latest = (100_000 - 2_048..100_000).filter(|number| known(*number));
        assert!(latest.count() > 2_048 * 9 / 10);
        assert_eq!((0..50_000).filter(|number| known(*number)).count(), 0);
    }

    #[test]
    fn an_id_that_comes_again_lies_where_it_came_last() {
        let receipts = Receipts::new(1);
        for (id, offset) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("d", 5)] {
            receipts.note(id, at(offset));
        }
        assert_eq!(receipts.find("a"), Some(at(3)));
        assert_eq!(receipts.find("b"), Some(at(2)));
        receipts.note("e", at(6));
        assert_eq!(receipts.find("b"), None, "the oldest of five in one bucket");
        assert_eq!(receipts.find("a"), Some(at(3)));
    }

    #[test]
    fn a_place_comes_back_as_it_was_and_one_that_does_not_fit_is_not_kept() {
        let receipts = Receipts::new(16);
        let largest = Place {
            topic: 15,
            partition: (1 << PARTITION_BITS) - 1,
            offset: (1 << OFFSET_BITS) - 1,
        };
        receipts.note("a", largest);
        assert_eq!(receipts.find("a"), Some(largest));
        for place in [
            at(-1),
            at(1 << OFFSET_BITS),
            Place {
                partition: 1 << PARTITION_BITS,
                ..at(0)
            },
        ] {
            receipts.note("b", place);
            assert_eq!(receipts.find("b"), None, "{place:?}");
        }
        let none = Receipts::new(0);
        none.note("a", at(1));
        assert_eq!(none.find("a"), None);
    }
}
