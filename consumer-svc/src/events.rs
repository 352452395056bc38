//! The three events that processing an order sends.

use std::cell::RefCell;

use kafka::{Delivery, EncodedRecord, HeaderTemplate, ProduceError, Producer};
use proto::headers::{CE_ID, CE_TIME, TRACEPARENT};
use proto::identity::{self, Step};
use proto::{
    EventHeaders, EventType, Notification, Order, OrderStatusEvent, Rfc3339, Status, Traceparent,
    TypeIds, UuidText,
};

use crate::rules::Verdict;

/// `ce_source` of all that this service sends.
pub const SOURCE: &str = "/consumer-svc";

thread_local! {
    static DRAFTS: RefCell<Drafts> = RefCell::default();
}

/// Where the events of orders go.
#[derive(Debug)]
pub struct EventTopics {
    order_status: Destination,
    notifications: Destination,
}

impl EventTopics {
    /// From the topics' names.
    pub fn new(order_status: &str, notifications: &str, type_ids: &TypeIds) -> Self {
        let destination = |topic: &str, event_type| Destination {
            topic: topic.to_owned(),
            headers: template(event_type, type_ids.get(event_type)),
        };
        Self {
            order_status: destination(order_status, EventType::OrderStatusChanged),
            notifications: destination(notifications, EventType::OrderResult),
        }
    }
}

/// A topic, and the headers of the events in it.
#[derive(Debug)]
struct Destination {
    topic: String,
    /// To be filled with id, time and trace.
    headers: HeaderTemplate<3>,
}

fn template(event_type: EventType, type_id: Option<&str>) -> HeaderTemplate<3> {
    let example = EventHeaders {
        id: &UuidText::new(identity::derived("", Step::Status(Status::Created))),
        event_type,
        source: SOURCE,
        time: &Rfc3339::from_millis(0),
        trace: &Traceparent::new(),
        type_id,
    };
    HeaderTemplate::new(
        example.list().iter().copied(),
        [CE_ID, CE_TIME, TRACEPARENT],
    )
    .expect("an event has each of these headers once")
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

/// Where the events of one order are written before the producer copies them into its batches.
#[derive(Debug, Default)]
struct Drafts([Draft; STATUSES]);

/// How many statuses an order has: CREATED, and its outcome.
const STATUSES: usize = 2;

#[derive(Debug, Default)]
struct Draft {
    body: Vec<u8>,
    headers: Vec<u8>,
}

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

    /// Sends the order's statuses, CREATED before its outcome, and waits until both are acknowledged.
    ///
    /// # Errors
    /// The producer's. None or both may be in the log all the same.
    pub async fn send_statuses(&self, producer: &Producer) -> Result<(), ProduceError> {
        let parts = [Part::Created, Part::Outcome];
        let enqueued = DRAFTS
            .with_borrow_mut(|drafts| producer.enqueue_all(&self.records(parts, &mut drafts.0)));
        acknowledged(match enqueued {
            // Boxed: it is rare, and would make every handler's future larger.
            Err(ProduceError::BufferFull { .. }) => {
                Box::pin(self.enqueue_waiting(parts, producer)).await?
            }
            enqueued => enqueued?,
        })
        .await
    }

    /// Sends the notification of the order's result and waits until it is acknowledged. Nobody must hear of
    /// a result before the status that says the same is in the log: so this comes after
    /// [`OrderEvents::send_statuses`].
    ///
    /// # Errors
    /// The producer's.
    pub async fn send_result(&self, producer: &Producer) -> Result<(), ProduceError> {
        let enqueued = DRAFTS.with_borrow_mut(|drafts| {
            let [draft, _] = &mut drafts.0;
            producer.enqueue_all(&[self.record(Part::Result, draft)])
        });
        acknowledged(match enqueued {
            Err(ProduceError::BufferFull { .. }) => {
                Box::pin(self.enqueue_waiting([Part::Result], producer)).await?
            }
            enqueued => enqueued?,
        })
        .await
    }

    /// Waits for room first, in line with all others who wait for it.
    async fn enqueue_waiting<const N: usize>(
        &self,
        parts: [Part; N],
        producer: &Producer,
    ) -> Result<[Delivery; N], ProduceError> {
        let mut drafts = std::array::from_fn(|_| Draft::default());
        producer
            .enqueue_all_waiting(&self.records(parts, &mut drafts))
            .await
    }

    /// All of them are enqueued, or none is.
    fn records<'d, const N: usize>(
        &'d self,
        parts: [Part; N],
        drafts: &'d mut [Draft; N],
    ) -> [EncodedRecord<'d>; N] {
        let mut drafts = drafts.iter_mut();
        parts.map(|part| self.record(part, drafts.next().expect("a draft for each part")))
    }

    fn record<'d>(&'d self, part: Part, draft: &'d mut Draft) -> EncodedRecord<'d> {
        let Draft { body, headers } = draft;
        body.clear();
        let (destination, step) = match part {
            Part::Created => self.status(Status::Created, None, body),
            Part::Outcome => self.status(self.verdict.status(), self.verdict.reason(), body),
            Part::Result => self.result(body),
        };
        let order_id = &*self.order.order_id;
        let id = UuidText::new(identity::derived(order_id, step));
        let values = [id.as_bytes(), self.time.as_bytes(), self.trace.as_bytes()];
        EncodedRecord {
            topic: &destination.topic,
            partition: None,
            key: Some(order_id.as_bytes()),
            value: Some(body),
            headers: destination.headers.fill(values, headers),
            timestamp: Some(self.timestamp),
        }
    }

    fn status(
        &self,
        status: Status,
        reason: Option<&str>,
        body: &mut Vec<u8>,
    ) -> (&Destination, Step) {
        OrderStatusEvent {
            order_id: (&*self.order.order_id).into(),
            status: status.into(),
            reason: reason.map(Into::into),
            updated_at: Some(self.time.as_str().into()),
        }
        .write(body);
        (&self.topics.order_status, Step::Status(status))
    }

    fn result(&self, body: &mut Vec<u8>) -> (&Destination, Step) {
        let outcome = self.verdict.outcome();
        Notification {
            order_id: (&*self.order.order_id).into(),
            status: outcome.status().into(),
            user_id: self.order.user_id.as_deref().map(Into::into),
            reason: self.verdict.reason().map(Into::into),
        }
        .write(body);
        (&self.topics.notifications, Step::Result(outcome))
    }
}

/// Waits until all are acknowledged.
///
/// # Errors
/// The first failure, after waiting for all: what is given up must not land behind a repeat.
async fn acknowledged<const N: usize>(sent: [Delivery; N]) -> Result<(), ProduceError> {
    let mut result = Ok(());
    for delivery in sent {
        let delivered = delivery.await.map(drop);
        result = result.and(delivered);
    }
    result
}
