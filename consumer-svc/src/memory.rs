//! Remembers recent orders, so that a repeat costs nothing and a conflict is noticed.
//!
//! Best effort: it is bounded, lies in memory and knows only what this instance has seen. Whoever
//! keeps state takes the first outcome of an order, with or without it.

mod generation;

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use proto::Order;

use self::generation::{Generation, Seen};

/// Recent orders by the hashes of their ids. Two generations: when the younger one is full, the
/// older is forgotten; so between half the capacity and all of it is remembered, with no bookkeeping
/// for each order.
#[derive(Debug)]
pub struct OrderMemory {
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

/// What the memory says of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// Not seen before, or its events may not have got through: process it, then [`settle`] it.
    ///
    /// [`settle`]: OrderMemory::settle
    Process(Ticket),
    /// The same order, and all its events are in the log.
    Duplicate,
    /// The same id with other content; the first one counts.
    Conflict,
}

/// Names an order that is being processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(Seen);

impl Ticket {
    /// Whether an earlier attempt's statuses are in the log.
    pub fn has_statuses(&self) -> bool {
        self.0.has_statuses()
    }
}

impl OrderMemory {
    /// Remembers up to `capacity` orders (32 to 64 bytes each); 0 remembers none.
    pub fn new(capacity: usize) -> Self {
        Self {
            hasher: RandomState::default(),
            capacity: capacity.div_ceil(2),
            generations: Mutex::default(),
        }
    }

    /// Looks `order` up and remembers it as not settled if it is new.
    pub fn meet(&self, order: &Order<'_>) -> Meeting {
        let ticket = self.ticket(order);
        if self.capacity == 0 {
            return Meeting::Process(ticket);
        }
        let mut generations = self.generations.lock();
        match generations.find(&ticket.0) {
            Some(seen) if !seen.has_content_of(&ticket.0) => Meeting::Conflict,
            Some(seen) if seen.is_settled() => Meeting::Duplicate,
            // With what is known of it.
            Some(seen) => Meeting::Process(Ticket(*seen)),
            None => {
                generations.put(ticket.0, self.capacity);
                Meeting::Process(ticket)
            }
        }
    }

    /// All events of the order have been acknowledged.
    pub fn settle(&self, ticket: Ticket) {
        self.note(ticket, Seen::settle);
    }

    /// The order's statuses have been acknowledged, and its notification has not: the next attempt sends
    /// that alone.
    pub fn note_statuses(&self, ticket: Ticket) {
        self.note(ticket, Seen::note_statuses);
    }

    fn note(&self, Ticket(mut seen): Ticket, note: impl Fn(&mut Seen)) {
        if self.capacity == 0 {
            return;
        }
        let mut generations = self.generations.lock();
        match generations.find(&seen) {
            Some(known) if known.has_content_of(&seen) => note(known),
            Some(_) => {}
            // Forgotten while it was processed.
            None => {
                note(&mut seen);
                generations.put(seen, self.capacity);
            }
        }
    }

    fn ticket(&self, order: &Order<'_>) -> Ticket {
        let mut hasher = self.hasher.build_hasher();
        order.order_id.hash(&mut hasher);
        let id = hasher.finish();
        order.product.hash(&mut hasher);
        order.quantity.hash(&mut hasher);
        order.user_id.hash(&mut hasher);
        Ticket(Seen::new(id, hasher.finish()))
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

    fn order(id: &str, quantity: i64) -> Order<'_> {
        Order {
            order_id: id.into(),
            product: "Laptop".into(),
            quantity,
            user_id: None,
            created_at: None,
        }
    }

    fn process(memory: &OrderMemory, order: &Order<'_>) -> Ticket {
        match memory.meet(order) {
            Meeting::Process(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeat_is_processed_until_its_events_are_acknowledged() {
        let memory = OrderMemory::new(10);
        let first = process(&memory, &order("1", 1));
        let again = process(&memory, &order("1", 1));
        assert_eq!(first, again);
        memory.settle(again);
        assert_eq!(memory.meet(&order("1", 1)), Meeting::Duplicate);
        let later = Order {
            created_at: Some("2026-01-02T03:04:05Z".into()),
            ..order("1", 1)
        };
        assert_eq!(
            memory.meet(&later),
            Meeting::Duplicate,
            "time is no content"
        );
    }

    #[test]
    fn statuses_that_are_in_the_log_are_remembered() {
        let memory = OrderMemory::new(10);
        let first = process(&memory, &order("1", 1));
        assert!(!first.has_statuses());
        memory.note_statuses(first);
        let again = process(&memory, &order("1", 1));
        assert!(again.has_statuses());
        assert_eq!(memory.meet(&order("1", 2)), Meeting::Conflict);
        memory.settle(again);
        assert_eq!(memory.meet(&order("1", 1)), Meeting::Duplicate);
    }

    #[test]
    fn other_content_is_a_conflict_settled_or_not() {
        let memory = OrderMemory::new(10);
        let ticket = process(&memory, &order("1", 1));
        assert_eq!(memory.meet(&order("1", 2)), Meeting::Conflict);
        memory.settle(ticket);
        assert_eq!(memory.meet(&order("1", 2)), Meeting::Conflict);
        let other_user = Order {
            user_id: Some("u".into()),
            ..order("1", 1)
        };
        assert_eq!(memory.meet(&other_user), Meeting::Conflict);
        assert_eq!(memory.meet(&order("1", 1)), Meeting::Duplicate);
    }

    #[test]
    fn the_oldest_are_forgotten_and_memory_stays_bounded() {
        let memory = OrderMemory::new(10);
        let ids: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        for id in &ids {
            let ticket = process(&memory, &order(id, 1));
            memory.settle(ticket);
        }
        let known = |id: &str| {
            let ticket = memory.ticket(&order(id, 1));
            memory.generations.lock().find(&ticket.0).is_some()
        };
        assert!(ids[995..].iter().all(|id| known(id)), "half is always kept");
        assert!(!ids[..990].iter().any(|id| known(id)));
        let generations = memory.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 10);
    }

    #[test]
    fn what_was_forgotten_meanwhile_is_settled_all_the_same() {
        let memory = OrderMemory::new(2);
        let ticket = process(&memory, &order("1", 1));
        for id in ["2", "3", "4"] {
            process(&memory, &order(id, 1));
        }
        memory.settle(ticket);
        assert_eq!(memory.meet(&order("1", 1)), Meeting::Duplicate);
    }

    #[test]
    fn without_capacity_everything_is_processed() {
        let memory = OrderMemory::new(0);
        for _ in 0..2 {
            let ticket = process(&memory, &order("1", 1));
            memory.settle(ticket);
        }
        process(&memory, &order("1", 2));
    }
}
