//! The three events that processing an order sends.

use kafka::{Delivery, OutgoingRecord, ProduceError, Producer};
use proto::identity::{self, Step};
use proto::{
    EventHeaders, EventType, Header, Notification, Order, OrderStatusEvent, Rfc3339, Status,
    Traceparent, TypeIds, UuidText,
};

use crate::rules::Verdict;

/// `ce_source` of all that this service sends.
pub const SOURCE: &str = "/consumer-svc";

/// Where the events of orders go.
#[derive(Debug)]
pub struct EventTopics {
    pub order_status: String,
    pub notifications: String,
    pub type_ids: TypeIds,
}

/// What was decided on one order, ready to be written as events.
pub struct OrderEvents<'a> {
    topics: &'a EventTopics,
    order: &'a Order<'a>,
    verdict: &'a Verdict,
    trace: Traceparent,
    timestamp: i64,
    time: Rfc3339,
}

/// In the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Created,
    Outcome,
    Result,
}

/// How many events an order makes.
pub const PARTS: usize = 3;
const ALL: [Part; PARTS] = [Part::Created, Part::Outcome, Part::Result];

impl<'a> OrderEvents<'a> {
    /// `trace` is the span of this processing, parent of whoever reads the events; `timestamp` the
    /// present in milliseconds since 1970.
    pub fn new(
        topics: &'a EventTopics,
        order: &'a Order<'a>,
        verdict: &'a Verdict,
        trace: Traceparent,
        timestamp: i64,
    ) -> Self {
        Self {
            topics,
            order,
            verdict,
            trace,
            timestamp,
            time: Rfc3339::from_millis(timestamp),
        }
    }

    /// Puts the events into the producer's buffer, in order. `body` is scratch.
    ///
    /// # Errors
    /// The producer's, [`ProduceError::BufferFull`] among them; `sent` has what got in.
    pub fn enqueue(
        &self,
        producer: &Producer,
        sent: &mut Deliveries,
        body: &mut Vec<u8>,
    ) -> Result<(), ProduceError> {
        for (slot, part) in sent.0.iter_mut().zip(ALL) {
            let event = self.event(part, body);
            let headers = self.headers(&event).list();
            *slot = Some(producer.enqueue(&self.record(&event, body, &headers))?);
        }
        Ok(())
    }

    /// Sends the events that are not in `sent` yet one after another, waiting for room for each, in
    /// line with all others who wait for it.
    ///
    /// # Errors
    /// The first failure; those behind it are not sent.
    pub async fn send_rest(
        &self,
        producer: &Producer,
        sent: &Deliveries,
    ) -> Result<(), ProduceError> {
        let mut body = Vec::new();
        for (slot, part) in sent.0.iter().zip(ALL) {
            if slot.is_none() {
                let event = self.event(part, &mut body);
                let headers = self.headers(&event).list();
                producer.send(&self.record(&event, &body, &headers)).await?;
            }
        }
        Ok(())
    }

    /// Writes the body; says the rest.
    fn event(&self, part: Part, body: &mut Vec<u8>) -> Event<'_> {
        let order_id = &*self.order.order_id;
        body.clear();
        let (topic, event_type, step) = match part {
            Part::Created | Part::Outcome => {
                let (status, reason) = match part {
                    Part::Created => (Status::Created, None),
                    _ => (self.verdict.status(), self.verdict.reason()),
                };
                OrderStatusEvent {
                    order_id: order_id.into(),
                    status,
                    reason: reason.map(Into::into),
                    updated_at: Some(self.time.as_str().into()),
                }
                .write(body);
                (
                    &self.topics.order_status,
                    EventType::OrderStatusChanged,
                    Step::Status(status),
                )
            }
            Part::Result => {
                let outcome = self.verdict.outcome();
                Notification {
                    order_id: order_id.into(),
                    status: outcome,
                    user_id: self.order.user_id.as_deref().map(Into::into),
                    reason: self.verdict.reason().map(Into::into),
                }
                .write(body);
                (
                    &self.topics.notifications,
                    EventType::OrderResult,
                    Step::Result(outcome),
                )
            }
        };
        Event {
            topic,
            event_type,
            id: UuidText::new(identity::derived(order_id, step)),
        }
    }

    fn headers<'e>(&'e self, event: &'e Event<'_>) -> EventHeaders<'e> {
        EventHeaders {
            id: &event.id,
            event_type: event.event_type,
            source: SOURCE,
            time: &self.time,
            trace: &self.trace,
            type_id: self.topics.type_ids.get(event.event_type),
        }
    }

    fn record<'e>(
        &'e self,
        event: &Event<'e>,
        body: &'e [u8],
        headers: &'e [Header<'e>],
    ) -> OutgoingRecord<'e> {
        OutgoingRecord {
            topic: event.topic,
            partition: None,
            key: Some(self.order.order_id.as_bytes()),
            value: Some(body),
            headers,
            timestamp: Some(self.timestamp),
        }
    }
}

/// One event, without its body.
struct Event<'a> {
    topic: &'a str,
    event_type: EventType,
    id: UuidText,
}

/// The events of one order that are on their way.
#[derive(Default)]
pub struct Deliveries([Option<Delivery>; PARTS]);

impl Deliveries {
    /// Waits until all are acknowledged.
    ///
    /// # Errors
    /// The first failure, after waiting for all: what is given up must not land behind a repeat.
    pub async fn all(self) -> Result<(), ProduceError> {
        let mut result = Ok(());
        for delivery in self.0.into_iter().flatten() {
            let delivered = delivery.await.map(drop);
            result = result.and(delivered);
        }
        result
    }
}
