//! Remembers recent orders, so that a repeat costs nothing and a conflict is noticed.

use proto::Order;
use service::recent::{Entry, Known, Recent};

/// Recent orders by id and content.
#[derive(Debug)]
pub struct OrderMemory(Recent);

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
pub struct Ticket(Entry);

impl Ticket {
    /// Whether an earlier attempt's statuses are in the log.
    pub fn has_statuses(&self) -> bool {
        self.0.is_half_settled()
    }
}

impl OrderMemory {
    /// Remembers up to `capacity` orders (32 to 64 bytes each); 0 remembers none.
    pub fn new(capacity: usize) -> Self {
        Self(Recent::new(capacity))
    }

    /// Looks `order` up and remembers it as not settled if it is new.
    pub fn meet(&self, order: &Order<'_>) -> Meeting {
        let content = (&order.product, order.quantity, &order.user_id);
        let entry = self.0.entry(&order.order_id, content);
        match self.0.meet(entry) {
            Known::New => Meeting::Process(Ticket(entry)),
            // With what is known of it.
            Known::Open(known) => Meeting::Process(Ticket(known)),
            Known::Settled => Meeting::Duplicate,
            Known::Conflict => Meeting::Conflict,
        }
    }

    /// All events of the order have been acknowledged.
    pub fn settle(&self, Ticket(entry): Ticket) {
        self.0.settle(entry);
    }

    /// The order's statuses have been acknowledged, and its notification has not: the next attempt sends
    /// that alone.
    pub fn note_statuses(&self, Ticket(entry): Ticket) {
        self.0.half_settle(entry);
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
