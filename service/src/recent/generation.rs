/// What is known of one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    /// 0 in a free slot alone.
    id: u64,
    /// The three lowest bits are flags.
    content: u64,
}

const FREE: Seen = Seen { id: 0, content: 0 };
const SETTLED: u64 = 1;
const HALF_SETTLED: u64 = 2;
const RELEASED: u64 = 4;
const FLAGS: u64 = SETTLED | HALF_SETTLED | RELEASED;

impl Seen {
    /// From the hash of the id, and that of id and content together: were two ids to share a hash, they would be taken
    /// for a conflict, which somebody sees, never for a repeat, which nobody sees.
    pub(super) fn new(id: u64, content: u64) -> Self {
        Self {
            id: id.max(1),
            content: content & !FLAGS,
        }
    }

    pub(super) fn has_content_of(&self, other: &Self) -> bool {
        (self.content ^ other.content) & !FLAGS == 0
    }

    /// Whether nothing has come of it, so that any content may have the id.
    pub(super) fn is_released(&self) -> bool {
        self.content & RELEASED != 0
    }

    pub(super) fn release(&mut self) {
        self.content |= RELEASED;
    }

    /// Whether the first half of what was to be done about it is done.
    pub(super) fn is_half_settled(&self) -> bool {
        self.content & HALF_SETTLED != 0
    }

    pub(super) fn half_settle(&mut self) {
        self.content |= HALF_SETTLED;
    }

    /// Whether it is through.
    pub(super) fn is_settled(&self) -> bool {
        self.content & SETTLED != 0
    }

    /// Also where it was released meanwhile: something has come of it.
    pub(super) fn settle(&mut self) {
        self.content = (self.content | SETTLED) & !RELEASED;
    }
}

/// Slots of a table that has its first entry.
const SMALLEST: usize = 64;

/// A table of ids. Open addressing: the ids are hashes already, so one is looked up, and a
/// new one put, within one cache line of memory as a rule.
#[derive(Debug, Default)]
pub(super) struct Generation {
    /// None, or a power of two; at most half of them are taken, so that runs stay short.
    slots: Vec<Seen>,
    len: usize,
}

impl Generation {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What is known of the id of `like`.
    pub(super) fn find(&mut self, like: &Seen) -> Option<&mut Seen> {
        let at = self.place(like.id)?;
        let found = &mut self.slots[at];
        (found.id == like.id).then_some(found)
    }

    /// Adds an id that is not in it yet.
    pub(super) fn insert(&mut self, seen: Seen) {
        debug_assert!(self.find(&seen).is_none());
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        if let Some(at) = self.place(seen.id) {
            self.slots[at] = seen;
            self.len += 1;
        }
    }

    /// Forgets all; the memory stays.
    pub(super) fn clear(&mut self) {
        self.slots.fill(FREE);
        self.len = 0;
    }

    /// The slot that has this id, or the free one where it belongs. `None` without any slots.
    fn place(&self, id: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = id as usize & mask;
        while self.slots[at].id != id && self.slots[at].id != FREE.id {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![FREE; (self.slots.len() * 2).max(SMALLEST)];
        let old = std::mem::replace(&mut self.slots, doubled);
        self.len = 0;
        for seen in old {
            if seen.id != FREE.id {
                self.insert(seen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn seen(id: u64) -> Seen {
        Seen::new(id, id << 8)
    }

    #[test]
    fn holds_what_was_put_until_it_is_cleared() {
        let mut table = Generation::default();
        assert_eq!(table.find(&seen(1)), None);
        for round in 0..2 {
            let mut model = HashMap::new();
            // Ids that crowd the same slots, and ids that do not.
            let ids = (1..=300).map(|n: u64| if n.is_multiple_of(2) { n << 20 } else { n });
            for id in ids {
                assert_eq!(table.find(&seen(id)), None, "round {round}");
                table.insert(seen(id));
                model.insert(id, seen(id));
                assert_eq!(table.len(), model.len());
            }
            for (id, mut expected) in model {
                assert_eq!(table.find(&seen(id)), Some(&mut expected));
            }
            table.find(&seen(7)).unwrap().settle();
            assert!(table.find(&seen(7)).unwrap().is_settled());
            assert!(!table.find(&seen(9)).unwrap().is_settled());
            table.clear();
            assert_eq!((table.len(), table.find(&seen(7))), (0, None));
        }
    }

    #[test]
    fn flags_change_no_content() {
        let mut one = Seen::new(1, 8);
        assert!(!one.is_settled() && !one.is_half_settled() && !one.is_released());
        one.half_settle();
        assert!(one.is_half_settled() && !one.is_settled());
        one.settle();
        one.release();
        assert!(one.is_settled() && one.is_released());
        assert!(one.has_content_of(&Seen::new(1, 15)));
        assert!(!one.has_content_of(&Seen::new(1, 16)));
    }
}
