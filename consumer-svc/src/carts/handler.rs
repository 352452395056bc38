use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::dead_letter::is_for_another_group;
use proto::{ReceivedHeaders, Traceparent, UserEvent};
use service::db::{Database, GroupWriter, WriteError};
use service::kafka_glue::PassedOver;

use super::metrics::CartMetrics;
use super::stages::Stages;
use super::store::{CreateCarts, WantedCart};

/// Gives every user a cart; a record is done when its transaction has committed.
pub(crate) struct CartHandler {
    /// The group it handles for.
    pub(crate) group: String,
    pub(crate) writer: GroupWriter<CreateCarts>,
    pub(crate) database: Database,
    pub(crate) metrics: CartMetrics,
    pub(crate) passed_over: PassedOver,
    pub(crate) stages: Stages,
}

impl Handler for CartHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let header = |name: &str| record.headers.get(name);
        if is_for_another_group(&self.group, header) {
            return Outcome::Done;
        }
        self.stages.received(record);
        let headers = ReceivedHeaders::read(header);
        let event = match &record.value {
            Some(value) => UserEvent::decode(value, headers.event_type),
            None => Err(proto::DecodeError::Null),
        };
        let user_id = match event {
            Ok(UserEvent::Created(created)) => {
                self.stages.creating(&created);
                created.user_id
            }
            Ok(UserEvent::Other(kind)) => {
                self.passed_over.note(record, &kind);
                return Outcome::Done;
            }
            Err(error) => {
                self.metrics.invalid.inc();
                return Outcome::Reject(error.to_string());
            }
        };
        let wanted = WantedCart {
            user_id,
            trace: headers
                .trace
                .map_or_else(Traceparent::new, |trace| trace.child()),
        };
        match self.writer.write(wanted).await {
            Ok(cart) => {
                if cart.created {
                    self.metrics.created.inc();
                } else {
                    self.metrics.repeated.inc();
                }
                self.stages.created(cart.id, user_id);
                Outcome::Done
            }
            Err(WriteError::Refused(error)) => {
                Outcome::Reject(format!("the database refuses the cart: {error}"))
            }
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }

    /// Whatever the order, a user gets one cart; by key, so that a user's lines in the log are
    /// together.
    fn lane(&self, record: &ConsumerRecord) -> Lane {
        match &record.key {
            Some(key) => Lane::of(key),
            None => Lane::Unordered,
        }
    }

    async fn probe(&self) -> bool {
        // It knows first when it is back.
        self.database.ready().await;
        self.database.answers().await
    }
}
