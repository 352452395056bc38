use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::{Spelling, dead_letter, order_id};
use service::config::TopicName;
use service::db::WriteError;
use service::metrics::{Counter, Metrics};

use super::rows;
use super::store::ViewStore;
use crate::Config;

/// Writes what the group `order-view` reads into the store.
pub(crate) struct ViewHandler {
    store: ViewStore,
    group: String,
    orders_topic: TopicName,
    order_status_topic: TopicName,
    unreadable: Counter,
}

impl ViewHandler {
    pub(crate) fn new(config: &Config, store: ViewStore, metrics: &Metrics) -> Self {
        let unreadable = Counter::default();
        metrics.register(
            "order_view_unreadable_orders",
            "Records on the order topics that are no orders; processing sends them to the dead letters",
            unreadable.clone(),
        );
        Self {
            store,
            group: config.common.kafka.group_id.clone(),
            orders_topic: config.orders_topic.clone(),
            order_status_topic: config.order_status_topic.clone(),
            unreadable,
        }
    }
}

impl Handler for ViewHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if dead_letter::is_for_another_group(&self.group, |name| record.headers.get(name)) {
            return Outcome::Done;
        }
        let event = if *record.topic == *self.order_status_topic {
            match rows::of_status(record) {
                Ok(event) => event,
                Err(error) => return Outcome::Reject(error.to_string()),
            }
        } else {
            let spelling = if *record.topic == *self.orders_topic {
                Spelling::Snake
            } else {
                Spelling::Camel
            };
            match rows::of_order(record, spelling) {
                Ok(event) => event,
                Err(_) => {
                    // Processing reads the same topics and owns their dead letters: one record
                    // there, not one a group.
                    self.unreadable.inc();
                    return Outcome::Done;
                }
            }
        };
        match self.store.add(event).await {
            Ok(()) => Outcome::Done,
            Err(error @ (WriteError::Unavailable(_) | WriteError::Closed)) => {
                Outcome::Unavailable(error.to_string())
            }
            Err(error @ WriteError::Refused(_)) => Outcome::Reject(error.to_string()),
        }
    }

    /// One order's events run one after another, wherever their keys put them.
    fn lane(&self, record: &ConsumerRecord) -> Lane {
        match record.value.as_deref().and_then(order_id::peek) {
            Some(id) => Lane::of(id.as_bytes()),
            None => Lane::Unordered,
        }
    }

    async fn probe(&self) -> bool {
        // It knows first when it is back.
        self.store.database().ready().await;
        self.store.database().answers().await
    }
}
