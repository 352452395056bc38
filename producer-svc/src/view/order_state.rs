use kafka::TopicId;
use proto::{FinalStatus, Rfc3339};
use serde::Serialize;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EventStatus {
    /// The order is in the log.
    Accepted,
    Created,
    Confirmed,
    Rejected,
}

impl EventStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Created => "CREATED",
            Self::Confirmed => "CONFIRMED",
            Self::Rejected => "REJECTED",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Accepted,
            Self::Created,
            Self::Confirmed,
            Self::Rejected,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }

    pub(crate) fn is_final(self) -> bool {
        self >= Self::Confirmed
    }
}

impl From<proto::Status> for EventStatus {
    fn from(status: proto::Status) -> Self {
        match status.outcome() {
            None => Self::Created,
            Some(FinalStatus::Confirmed) => Self::Confirmed,
            Some(FinalStatus::Rejected) => Self::Rejected,
        }
    }
}

/// What `GET /api/orders/{orderId}` answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderState {
    order_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    product: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    events: Vec<EventReceipt>,
}

#[derive(Debug, Serialize)]
struct EventReceipt {
    status: &'static str,
    topic: String,
    partition: i32,
    offset: i64,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl OrderState {
    /// The state that an order's events amount to; `None` without any.
    ///
    /// The first final status (in its partition; among partitions by time) is the outcome. Later
    /// ones that repeat or contradict it are shown among the events and change nothing. Of several
    /// records of the order itself the first one, by the same rule, says what was ordered: the
    /// order may lie in two topics.
    pub(crate) fn of(mut events: Vec<OrderEvent>) -> Option<Self> {
        // Within a partition the offset decides, whatever the clocks of the writers say.
        events.sort_by(|a, b| {
            let of = |event: &OrderEvent| (event.topic_id, event.partition, event.offset);
            a.topic.cmp(&b.topic).then_with(|| of(a).cmp(&of(b)))
        });
        let outcome = first(events.iter().filter(|event| event.status.is_final()));
        let status = match outcome {
            Some(outcome) => outcome.status,
            None => events.iter().map(|event| event.status).max()?,
        };
        let reason = outcome.and_then(|outcome| outcome.reason.clone());
        let content = content(&events).cloned();
        // For people: as it went, statuses of one instant in the order of their rank.
        events.sort_by_key(|event| {
            (
                event.status > EventStatus::Accepted,
                event.time,
                event.offset,
            )
        });
        Some(Self {
            order_id: events.first()?.order_id.clone(),
            status: status.as_str(),
            reason,
            product: content.as_ref().map(|content| content.product.clone()),
            quantity: content.as_ref().map(|content| content.quantity),
            user_id: content.and_then(|content| content.user_id),
            events: events.into_iter().map(EventReceipt::from).collect(),
        })
    }
}

/// What was ordered, as the first record of the order itself says; `None` before it was seen.
pub(super) fn content(events: &[OrderEvent]) -> Option<&OrderContent> {
    first(events.iter().filter(|event| event.content.is_some()))?
        .content
        .as_ref()
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
        let place = |event: &Self| (event.partition, event.offset, event.status);
        self.topic_id.is_none()
            && other.topic_id.is_some()
            && self.topic == other.topic
            && place(self) == place(other)
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

impl From<OrderEvent> for EventReceipt {
    fn from(event: OrderEvent) -> Self {
        Self {
            status: event.status.as_str(),
            topic: event.topic,
            partition: event.partition,
            offset: event.offset,
            time: Rfc3339::from_millis(event.time).as_str().to_owned(),
            reason: event.reason,
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
            status,
            time,
            reason: (status == EventStatus::Rejected).then(|| "too many".to_owned()),
            content: (status == EventStatus::Accepted).then(|| OrderContent {
                product: format!("Laptop {offset}"),
                quantity: 1,
                user_id: None,
            }),
        }
    }

    fn status_of(events: &[OrderEvent]) -> &'static str {
        OrderState::of(events.to_vec()).unwrap().status
    }

    #[test]
    fn the_state_grows_with_the_events_in_whatever_order_they_come() {
        use EventStatus::*;
        let placed = event("order_topic", 3, Accepted, 10);
        let created = event("status", 5, Created, 11);
        let confirmed = event("status", 6, Confirmed, 11);
        assert!(OrderState::of(vec![]).is_none());
        assert_eq!(status_of(std::slice::from_ref(&placed)), "ACCEPTED");
        assert_eq!(status_of(std::slice::from_ref(&created)), "CREATED");
        assert_eq!(status_of(&[created.clone(), placed.clone()]), "CREATED");
        let all = OrderState::of(vec![confirmed, created, placed]).unwrap();
        assert_eq!(all.status, "CONFIRMED");
        let shown: Vec<&str> = all.events.iter().map(|event| event.status).collect();
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
        let state = OrderState::of(events.to_vec()).unwrap();
        assert_eq!((state.status, state.reason), ("CONFIRMED", None));
    }

    #[test]
    fn the_first_record_of_the_order_wins() {
        use EventStatus::*;
        let events = [
            event("order_topic", 9, Accepted, 1),
            event("order_topic", 4, Accepted, 2),
        ];
        let state = OrderState::of(events.to_vec()).unwrap();
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
        let state = OrderState::of(events.to_vec()).unwrap();
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
        let state = OrderState::of(events.to_vec()).unwrap();
        assert_eq!(state.status, "CONFIRMED");
        assert_eq!(state.product.as_deref(), Some("Laptop 9"));
    }
}
