//! Orders in, their statuses and results out.
//!
//! For each order: decode, look it up in the memory, judge it, send CREATED, the outcome and the
//! notification without waiting in between, and be done when all three are acknowledged. Nothing is
//! written but to Kafka: a repeat sends the same events with the same ids, and whoever keeps state
//! keeps the first.

use std::cell::RefCell;
use std::sync::Arc;

use kafka::{Client, ConsumerRecord, Handler, Lane, Outcome, ProduceError, Producer};
use proto::dead_letter::is_for_another_group;
use proto::headers::TRACEPARENT;
use proto::{DecodeError, Order, Spelling, Traceparent, now_millis, order_id};

use crate::events::{Drafts, EventTopics, OrderEvents, acknowledged};
use crate::memory::{Meeting, OrderMemory};
use crate::order_log::OrderLog;
use crate::order_metrics::OrderMetrics;
use crate::rules::Rules;

/// The handler of the orders' topics.
pub struct OrderProcessing {
    pub client: Client,
    pub producer: Producer,
    /// The group it handles for.
    pub group: String,
    /// The topic in snake_case; missing fields are named in its spelling.
    pub snake_topic: String,
    pub topics: EventTopics,
    pub rules: Rules,
    pub memory: OrderMemory,
    pub log: Arc<OrderLog>,
    pub metrics: OrderMetrics,
}

thread_local! {
    static DRAFTS: RefCell<Drafts> = RefCell::default();
}

impl Handler for OrderProcessing {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if is_for_another_group(&self.group, |name| record.headers.get(name)) {
            return Outcome::Done;
        }
        let order = match self.order(record) {
            Ok(order) => order,
            Err(error) => {
                self.metrics.invalid.inc();
                return Outcome::Reject(error.to_string());
            }
        };
        let ticket = match self.memory.meet(&order) {
            Meeting::Process(ticket) => ticket,
            Meeting::Duplicate => {
                self.metrics.duplicate.inc();
                return Outcome::Done;
            }
            Meeting::Conflict => {
                self.metrics.conflict.inc();
                return Outcome::Reject(
                    "conflict: an order with this id and other content came before, and counts"
                        .to_owned(),
                );
            }
        };
        let verdict = self.rules.judge(&order);
        let enqueued = {
            let trace = Traceparent::continued(record.headers.get(TRACEPARENT));
            let events = OrderEvents::new(&self.topics, &order, &verdict, trace, now_millis());
            match DRAFTS.with_borrow_mut(|drafts| events.enqueue(&self.producer, drafts)) {
                // Boxed: it is rare, and would make every handler's future larger.
                Err(ProduceError::BufferFull { .. }) => {
                    Box::pin(events.enqueue_waiting(&self.producer)).await
                }
                enqueued => enqueued,
            }
        };
        let result = match enqueued {
            Ok(mut sent) => acknowledged(&mut sent).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            return failed(&error);
        }
        self.memory.settle(ticket);
        self.metrics.processed(&verdict);
        self.log.processed(
            &record.topic,
            record.partition,
            record.offset,
            &order,
            &verdict,
        );
        Outcome::Done
    }

    fn lane(&self, record: &ConsumerRecord) -> Lane {
        lane(record)
    }

    async fn probe(&self) -> bool {
        self.client.ready().await.is_ok()
    }
}

impl OrderProcessing {
    fn order<'a>(&self, record: &'a ConsumerRecord) -> Result<Order<'a>, DecodeError> {
        let spelling = if *record.topic == *self.snake_topic {
            Spelling::Snake
        } else {
            Spelling::Camel
        };
        let value = record.value.as_deref().ok_or(DecodeError::Null)?;
        Order::decode(value, spelling)
    }
}

/// The order id, taken from the value: the same order may come on both topics, and with any key.
fn lane(record: &ConsumerRecord) -> Lane {
    if let Some(id) = record.value.as_deref().and_then(order_id::peek) {
        return Lane::of(id.as_bytes());
    }
    match &record.key {
        Some(key) => Lane::of(key),
        None => Lane::Unordered,
    }
}

/// Kafka away, or a right that this service lacks, is no fault of the order: it waits. What is too
/// large stays so. An order whose events are refused is tried again a few times, and then left to an
/// operator.
fn failed(error: &ProduceError) -> Outcome {
    let reason = format!("the order's events were not acknowledged: {error}");
    match error {
        ProduceError::RecordTooLarge { .. } | ProduceError::TooLargeForTopic { .. } => {
            Outcome::Reject(reason)
        }
        error if error.blames_record() => Outcome::Retry(reason),
        _ => Outcome::Unavailable(reason),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka::{Headers, ResponseError};

    use super::*;

    fn record(
        topic: &str,
        key: Option<&'static str>,
        value: Option<&'static str>,
    ) -> ConsumerRecord {
        ConsumerRecord {
            topic: topic.into(),
            partition: 0,
            offset: 0,
            timestamp: 0,
            leader_epoch: -1,
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: Headers::default(),
            attempt: 1,
        }
    }

    #[test]
    fn an_order_has_one_lane_on_both_topics_whatever_the_key() {
        let seven = Lane::of(b"7");
        let value = r#"{"orderId":"7","product":"x","quantity":1}"#;
        assert_eq!(
            lane(&record("order_topic", Some("other"), Some(value))),
            seven
        );
        let value = r#"{"item":"x","quantity":1,"order_id":7}"#;
        assert_eq!(lane(&record("orders", None, Some(value))), seven);
        let value = r#"{"orderId":"8","product":"x","quantity":1}"#;
        assert_ne!(lane(&record("order_topic", Some("7"), Some(value))), seven);
        // What is no order queues by its key.
        assert_eq!(lane(&record("orders", Some("7"), Some("junk"))), seven);
        assert_eq!(lane(&record("orders", Some("7"), None)), seven);
        assert_eq!(lane(&record("orders", None, Some("junk"))), Lane::Unordered);
    }

    #[test]
    fn kafka_away_is_no_fault_of_the_order() {
        let topic: Arc<str> = "t".into();
        let (size, limit) = (2, 1);
        let full = ProduceError::BufferFull {
            topic: topic.clone(),
            limit,
        };
        let closed = ProduceError::Closed {
            topic: topic.clone(),
        };
        let refused = |code| ProduceError::Rejected {
            topic: topic.clone(),
            partition: 0,
            code,
            message: None,
            may_be_written: false,
        };
        let unauthorized = refused(ResponseError::TopicAuthorizationFailed);
        for error in [full, closed, unauthorized] {
            assert!(matches!(failed(&error), Outcome::Unavailable(_)), "{error}");
        }
        let large = ProduceError::RecordTooLarge {
            topic: topic.clone(),
            size,
            limit,
        };
        assert!(matches!(failed(&large), Outcome::Reject(_)));
        let invalid = refused(ResponseError::InvalidRecord);
        assert!(matches!(failed(&invalid), Outcome::Retry(_)));
    }
}
