use std::collections::HashSet;

use kafka::TopicId;
use proto::{FinalStatus, Rfc3339, Status, StatusWord};
use serde::Serialize;

/// Most events of an order that an answer shows, but for those that its state is made of.
const MOST_EVENTS: usize = 100;

/// One thing that happened to an order, and where it lies in Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderEvent {
    pub(crate) topic: String,
    /// Of that topic: one that was deleted and created again has other records at the same places. `None`: not
    /// known, as of all rows from before ids were kept.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) order_id: String,
    pub(crate) status: EventStatus,
    /// The record's timestamp, milliseconds since 1970.
    pub(crate) time: i64,
    pub(crate) reason: Option<String>,
    /// Of the order itself; a status has none.
    pub(crate) content: Option<OrderContent>,
}

/// What was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderContent {
    pub(crate) product: String,
    pub(crate) quantity: i64,
    pub(crate) user_id: Option<String>,
}

/// How far an order has come by one event. The order is the order of states, which never goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventStatus {
    /// The order is in the log.
    Accepted,
    Created,
    /// What another system calls a step: `PROCESSING`, `SHIPPED`. It ends nothing.
    Other(String),
    Confirmed,
    Rejected,
}

impl EventStatus {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Accepted => ACCEPTED,
            Self::Created => Status::Created.as_str(),
            Self::Other(word) => word,
            Self::Confirmed => Status::Confirmed.as_str(),
            Self::Rejected => Status::Rejected.as_str(),
        }
    }

    /// The reverse of [`EventStatus::as_str`].
    pub(crate) fn parse(text: String) -> Self {
        match text == ACCEPTED {
            true => Self::Accepted,
            false => StatusWord::of(text.into()).into(),
        }
    }

    pub(crate) fn is_final(&self) -> bool {
        *self >= Self::Confirmed
    }
}

const ACCEPTED: &str = "ACCEPTED";

impl From<StatusWord<'_>> for EventStatus {
    fn from(status: StatusWord<'_>) -> Self {
        match (status.outcome(), status) {
            (Some(FinalStatus::Confirmed), _) => Self::Confirmed,
            (Some(FinalStatus::Rejected), _) => Self::Rejected,
            (None, StatusWord::Known(_)) => Self::Created,
            (None, StatusWord::Other(word)) => Self::Other(word.into_owned()),
        }
    }
}

/// All that is known of one order.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderEvents {
    /// Of many that are alike in a partition the first and the last.
    pub(crate) events: Vec<OrderEvent>,
    /// How many there are.
    pub(crate) total: usize,
    /// Records of the order whose content is not that of the first one.
    pub(crate) conflicts: usize,
}

/// What `GET /api/orders/{orderId}` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderState {
    order_id: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    /// Orders with this id and other content, which are dead letters; absent without any.
    #[serde(skip_serializing_if = "is_zero")]
    conflicts: usize,
    events: Vec<EventReceipt>,
    /// Events that are not shown; absent where all are.
    #[serde(skip_serializing_if = "is_zero")]
    events_left_out: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[derive(Debug, Serialize)]
struct EventReceipt {
    status: String,
    topic: String,
    partition: i32,
    offset: i64,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The order's content here is not that of its first record.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    conflict: bool,
}

impl OrderState {
    /// The state that an order's events amount to; `None` without any.
    ///
    /// The first final status (in its partition; among partitions by time) is the outcome. Later
    /// ones that repeat or contradict it are shown among the events and change nothing. Before
    /// there is one, the last of another system's words is the state: by its first event, so that
    /// a repeat does not take the state back. Of several records of the order itself the first
    /// one, by the same rule, says what was ordered: the order may lie in two topics.
    pub(crate) fn of(order: OrderEvents) -> Option<Self> {
        let OrderEvents {
            mut events,
            total,
            conflicts,
        } = order;
        // Within a partition the offset decides, whatever the clocks of the writers say.
        events.sort_by(|a, b| {
            let of = |event: &OrderEvent| (event.topic_id, event.partition, event.offset);
            a.topic.cmp(&b.topic).then_with(|| of(a).cmp(&of(b)))
        });
        let content = first_content(&events);
        let state = first(events.iter().filter(|event| event.status.is_final()))
            .or_else(|| last_word(&events))
            .or_else(|| events.iter().max_by(|a, b| a.status.cmp(&b.status)))?;
        let status = state.status.as_str().to_owned();
        let reason = state.reason.clone();
        let shown_anyway: HashSet<_> = [Some(state), content]
            .into_iter()
            .flatten()
            .map(OrderEvent::place)
            .collect();
        let content = content.and_then(|order| order.content.clone());
        // For people: as it went, statuses of one instant in the order of their rank.
        events.sort_by_key(|event| {
            (
                event.status > EventStatus::Accepted,
                event.time,
                event.offset,
            )
        });
        let order_id = events.first()?.order_id.clone();
        let (half, count) = (MOST_EVENTS / 2, events.len());
        let shown: Vec<EventReceipt> = events
            .into_iter()
            .enumerate()
            .filter(|(at, event)| {
                *at < half
                    || *at >= count.saturating_sub(half)
                    || shown_anyway.contains(&event.place())
            })
            .map(|(_, event)| {
                let other = event.content.is_some() && event.content != content;
                EventReceipt::of(event, other)
            })
            .collect();
        Some(Self {
            order_id,
            status,
            reason,
            product: content.as_ref().map(|content| content.product.clone()),
            quantity: content.as_ref().map(|content| content.quantity),
            user_id: content.and_then(|content| content.user_id),
            conflicts,
            events_left_out: total.saturating_sub(shown.len()),
            events: shown,
        })
    }
}

/// What was ordered, as the first record of the order itself says; `None` before it was seen.
pub(super) fn content(events: &[OrderEvent]) -> Option<&OrderContent> {
    first_content(events)?.content.as_ref()
}

/// The record that says what was ordered.
pub(super) fn first_content(events: &[OrderEvent]) -> Option<&OrderEvent> {
    first(events.iter().filter(|event| event.content.is_some()))
}

/// The word of another system that came last for the first time.
fn last_word(events: &[OrderEvent]) -> Option<&OrderEvent> {
    let mut words: Vec<&OrderEvent> = Vec::new();
    for event in events {
        if !matches!(event.status, EventStatus::Other(_)) {
            continue;
        }
        match words.iter_mut().find(|word| word.status == event.status) {
            Some(word) if event.precedes(word) => *word = event,
            Some(_) => {}
            None => words.push(event),
        }
    }
    words
        .into_iter()
        .reduce(|last, word| if last.precedes(word) { word } else { last })
}

/// The event that precedes all others.
fn first<'a>(events: impl Iterator<Item = &'a OrderEvent>) -> Option<&'a OrderEvent> {
    events.reduce(
        |first, event| {
            if first.precedes(event) { first } else { event }
        },
    )
}

impl OrderEvent {
    /// Whether this is the record of another event, of which one is from before topics' ids were kept.
    pub(super) fn is_again(&self, other: &Self) -> bool {
        let place = |event: &Self| (event.partition, event.offset, event.status.clone());
        self.topic_id.is_none()
            && other.topic_id.is_some()
            && self.topic == other.topic
            && place(self) == place(other)
    }

    /// Where it lies.
    fn place(&self) -> (String, Option<TopicId>, i32, i64) {
        (
            self.topic.clone(),
            self.topic_id,
            self.partition,
            self.offset,
        )
    }

    /// Whether this event comes before another one: by offset in one partition, else by time (the
    /// place decides a tie, so that everybody decides alike).
    pub(super) fn precedes(&self, other: &Self) -> bool {
        let (place, of_other) = (
            (&self.topic, self.topic_id, self.partition),
            (&other.topic, other.topic_id, other.partition),
        );
        if place == of_other {
            self.offset < other.offset
        } else {
            (self.time, place) < (other.time, of_other)
        }
    }
}

impl EventReceipt {
    fn of(event: OrderEvent, conflict: bool) -> Self {
        Self {
            status: event.status.as_str().to_owned(),
            topic: event.topic,
            partition: event.partition,
            offset: event.offset,
            time: Rfc3339::from_millis(event.time).as_str().to_owned(),
            reason: event.reason,
            conflict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: &str, offset: i64, status: EventStatus, time: i64) -> OrderEvent {
        OrderEvent {
            topic: topic.to_owned(),
            topic_id: None,
            partition: 0,
            offset,
            order_id: "7".to_owned(),
            time,
            reason: (status == EventStatus::Rejected).then(|| "too many".to_owned()),
            content: (status == EventStatus::Accepted).then(|| OrderContent {
                product: format!("Laptop {offset}"),
                quantity: 1,
                user_id: None,
            }),
            status,
        }
    }

    fn state_of(events: &[OrderEvent]) -> Option<OrderState> {
        OrderState::of(OrderEvents {
            events: events.to_vec(),
            total: events.len(),
            conflicts: 0,
        })
    }

    fn status_of(events: &[OrderEvent]) -> String {
        state_of(events).unwrap().status
    }

    fn word(text: &str, offset: i64, time: i64) -> OrderEvent {
        event("status", offset, EventStatus::parse(text.to_owned()), time)
    }

    #[test]
    fn words_of_other_systems_are_shown_as_they_are_and_end_nothing() {
        let placed = event("order_topic", 3, EventStatus::Accepted, 10);
        let mut events = vec![placed, word("PROCESSING", 5, 11), word("Packed", 6, 12)];
        assert_eq!(status_of(&events), "Packed");
        // The last one counts, whatever it is called.
        let mut back = events.clone();
        back.push(word("ON HOLD", 7, 13));
        assert_eq!(status_of(&back), "ON HOLD");
        // A repeat, and our own first step after it, do not take it back.
        events.extend([word("PROCESSING", 7, 13), word("CREATED", 8, 14)]);
        assert_eq!(status_of(&events), "Packed");
        events.push(word("confirmed", 9, 15));
        assert_eq!(status_of(&events), "CONFIRMED");
        events.push(word("SHIPPED", 10, 16));
        let state = state_of(&events).unwrap();
        assert_eq!(state.status, "CONFIRMED");
        let shown: Vec<&str> = state.events.iter().map(|event| &*event.status).collect();
        assert_eq!(
            shown,
            [
                "ACCEPTED",
                "PROCESSING",
                "Packed",
                "PROCESSING",
                "CREATED",
                "CONFIRMED",
                "SHIPPED"
            ]
        );
    }

    #[test]
    fn of_many_events_some_are_shown_and_the_rest_is_counted() {
        let mut events: Vec<OrderEvent> = (0..500)
            .map(|n| event("order_topic", n, EventStatus::Accepted, n))
            .collect();
        events.push(event("orders", 0, EventStatus::Accepted, -1));
        let state = OrderState::of(OrderEvents {
            events,
            total: 2_000,
            conflicts: 1_999,
        });
        let state = state.unwrap();
        assert!(
            state.events.len() <= MOST_EVENTS + 2,
            "{}",
            state.events.len()
        );
        assert_eq!(state.events.len() + state.events_left_out, 2_000);
        assert_eq!(state.conflicts, 1_999);
        let conflicting = state.events.iter().filter(|event| event.conflict).count();
        // All have a product of their own, but for the first.
        assert!(conflicting + 2 >= state.events.len() && conflicting < state.events.len());
        let json = serde_json::to_value(&state).unwrap();
        assert_eq!(json["eventsLeftOut"], 2_000 - state.events.len());
    }

    #[test]
    fn the_state_grows_with_the_events_in_whatever_order_they_come() {
        use EventStatus::*;
        let placed = event("order_topic", 3, Accepted, 10);
        let created = event("status", 5, Created, 11);
        let confirmed = event("status", 6, Confirmed, 11);
        assert!(state_of(&[]).is_none());
        assert_eq!(status_of(std::slice::from_ref(&placed)), "ACCEPTED");
        assert_eq!(status_of(std::slice::from_ref(&created)), "CREATED");
        assert_eq!(status_of(&[created.clone(), placed.clone()]), "CREATED");
        let all = state_of(&[confirmed, created, placed]).unwrap();
        assert_eq!(all.status, "CONFIRMED");
        let shown: Vec<&str> = all.events.iter().map(|event| &*event.status).collect();
        assert_eq!(shown, ["ACCEPTED", "CREATED", "CONFIRMED"]);
        assert_eq!(all.events[0].time, "1970-01-01T00:00:00.010Z");
    }

    #[test]
    fn the_first_final_status_of_the_partition_wins() {
        use EventStatus::*;
        let events = [
            event("status", 9, Rejected, 1),
            event("status", 6, Confirmed, 50),
            event("status", 7, Rejected, 40),
            event("status", 8, Created, 60),
        ];
        let state = state_of(&events).unwrap();
        assert_eq!((&*state.status, state.reason), ("CONFIRMED", None));
    }

    #[test]
    fn the_first_record_of_the_order_wins() {
        use EventStatus::*;
        let events = [
            event("order_topic", 9, Accepted, 1),
            event("order_topic", 4, Accepted, 2),
        ];
        let state = state_of(&events).unwrap();
        assert_eq!(state.product.as_deref(), Some("Laptop 4"));
    }

    #[test]
    fn offsets_of_a_topic_created_again_are_compared_by_time() {
        use EventStatus::*;
        let of = |id, offset, status, time| OrderEvent {
            topic_id: TopicId::from_u128(id),
            ..event("status", offset, status, time)
        };
        let events = [of(1, 90, Confirmed, 10), of(2, 3, Rejected, 50)];
        let state = state_of(&events).unwrap();
        assert_eq!(state.status, "CONFIRMED");
        assert!(events[0].precedes(&events[1]) && !events[1].precedes(&events[0]));
        // The same record, read once more since ids are kept.
        let old = event("status", 90, Confirmed, 10);
        assert!(old.is_again(&events[0]) && !events[0].is_again(&old));
        assert!(!old.is_again(&events[1]) && !events[0].is_again(&events[1]));
    }

    #[test]
    fn the_first_record_of_the_order_wins_across_topics() {
        use EventStatus::*;
        let events = [
            event("order_topic", 4, Accepted, 90),
            event("orders", 9, Accepted, 10),
            event("status", 1, Confirmed, 11),
        ];
        let state = state_of(&events).unwrap();
        assert_eq!(state.status, "CONFIRMED");
        assert_eq!(state.product.as_deref(), Some("Laptop 9"));
    }
}
