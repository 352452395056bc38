use std::sync::Arc;

use kafka::{Admin, RecordMetadata, TopicPartition};
use proto::Spelling;
use service::receipts::{Place, Receipts};

use super::order_state::OrderEvent;
use super::rows;
use crate::Config;

/// The orders that this instance has accepted lately, for who asks before the view has them. Clones share it.
///
/// It knows where they lie; what they are, Kafka is asked. So an order costs 16 to 32 bytes here, and what is shown is what
/// is in the log.
#[derive(Clone)]
pub(crate) struct Accepted(Arc<Inner>);

struct Inner {
    receipts: Receipts,
    /// Those that orders are written to, by the numbers they have in [`Place`].
    topics: [(Arc<str>, Spelling); 2],
    admin: Admin,
}

/// Where an order may lie that this instance has accepted.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    spelling: Spelling,
}

impl Accepted {
    /// Remembers about `INTAKE_MEMORY` orders.
    pub(crate) fn new(config: &Config, admin: Admin) -> Self {
        let topic = |name: &str, spelling| (Arc::from(name), spelling);
        Self(Arc::new(Inner {
            receipts: Receipts::new(config.intake_memory),
            topics: [
                topic(&config.order_topic, Spelling::Camel),
                topic(&config.orders_topic, Spelling::Snake),
            ],
            admin,
        }))
    }

    /// The order with this id is in the log, written in this spelling.
    pub(crate) fn note(&self, id: &str, spelling: Spelling, place: &RecordMetadata) {
        let place = Place {
            topic: match spelling {
                Spelling::Camel => 0,
                Spelling::Snake => 1,
            },
            partition: place.partition,
            offset: place.offset,
        };
        self.0.receipts.note(id, place);
    }

    /// `None`: this instance has not accepted it, or not lately.
    pub(super) fn find(&self, id: &str) -> Option<Whereabouts> {
        let place = self.0.receipts.find(id)?;
        let (topic, spelling) = self.0.topics.get(usize::from(place.topic))?;
        Some(Whereabouts {
            partition: TopicPartition::new(topic.clone(), place.partition),
            offset: place.offset,
            spelling: *spelling,
        })
    }

    /// The order as the log has it; `None` where another record lies there, or none any more.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub(super) async fn read(
        &self,
        id: &str,
        at: &Whereabouts,
    ) -> Result<Option<OrderEvent>, kafka::Error> {
        let TopicPartition { topic, partition } = &at.partition;
        let record = self
            .0
            .admin
            .read_record(topic, *partition, at.offset)
            .await?;
        let event = record.and_then(|record| rows::of_order(&record, at.spelling).ok());
        Ok(event.filter(|event| event.order_id == id))
    }
}
