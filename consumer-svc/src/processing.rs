//! Orders in, their statuses and results out.
//!
//! For each order: decode, look it up in the memory, judge it, send CREATED and the outcome without
//! waiting in between, the notification when both are acknowledged, and be done when it is, too. Nothing
//! is written but to Kafka: a repeat sends the same events with the same ids, and whoever keeps state
//! keeps the first.
//!
//! The notification waits because it cannot be taken back: were the status refused, a user would hear of
//! an outcome that the order does not have. The wait costs one more trip to the broker; other orders are
//! processed meanwhile.

use std::sync::Arc;

use kafka::{Client, ConsumerRecord, Handler, Lane, Outcome, ProduceError, Producer};
use proto::dead_letter::is_for_another_group;
use proto::headers::TRACEPARENT;
use proto::{DecodeError, Order, Spelling, Traceparent, now_millis, order_id};
use service::kafka_glue::is_oversized;

use crate::events::{EventTopics, OrderEvents};
use crate::memory::{Meeting, OrderMemory, Ticket};
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
        let trace = Traceparent::continued(record.headers.get(TRACEPARENT));
        let events = OrderEvents::new(&self.topics, &order, &verdict, trace, now_millis());
        if let Err(error) = self.publish(&events, ticket).await {
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
    /// The statuses, then the notification.
    async fn publish(&self, events: &OrderEvents<'_>, ticket: Ticket) -> Result<(), ProduceError> {
        if !ticket.has_statuses() {
            events.send_statuses(&self.producer).await?;
        }
        let sent = events.send_result(&self.producer).await;
        if sent.is_err() {
            self.memory.note_statuses(ticket);
        }
        sent
    }

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

/// This service makes the events, and somebody else the topics where they go: Kafka away, a clock that is
/// wrong, a topic that refuses them, a right that is missing are no fault of the order, which waits. The
/// exception is an order whose own texts make its events larger than any topic need take.
fn failed(error: &ProduceError) -> Outcome {
    let reason = format!("the order's events were not acknowledged: {error}");
    if is_oversized(error) {
        Outcome::Reject(reason)
    } else {
        Outcome::Unavailable(reason)
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
            topic_id: None,
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
    fn trouble_at_the_destination_is_no_fault_of_the_order() {
        let topic: Arc<str> = "t".into();
        let limit = 1;
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
        let too_large = |size| ProduceError::TooLargeForTopic {
            topic: topic.clone(),
            partition: 0,
            size,
        };
        for error in [
            full,
            closed,
            refused(ResponseError::TopicAuthorizationFailed),
            refused(ResponseError::InvalidTimestamp),
            refused(ResponseError::InvalidRecord),
            refused(ResponseError::PolicyViolation),
            refused(ResponseError::UnknownServerError),
            too_large(400),
        ] {
            assert!(matches!(failed(&error), Outcome::Unavailable(_)), "{error}");
        }
        let long_texts = too_large(40_000);
        assert!(matches!(failed(&long_texts), Outcome::Reject(_)));
    }
}
