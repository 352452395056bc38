//! Notifications from Kafka into the database and on to the console.

use std::sync::Arc;

use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::dead_letter::is_for_another_group;
use proto::{DecodeError, FinalStatus, Notification, order_id};
use service::db::{Database, GroupWriter, WriteError, storable, storable_key};

use crate::console::{Console, Step};
use crate::notification_metrics::NotificationMetrics;
use crate::store::{NewNotification, NotificationWrite, Written};

/// Stores each order's first result; a record is done when its transaction has committed. A step of another system on
/// the way to a result is printed, and done then.
pub struct NotificationHandler {
    /// The group it handles for.
    pub group: String,
    pub writer: GroupWriter<NotificationWrite>,
    pub database: Database,
    pub console: Console,
    pub metrics: NotificationMetrics,
}

impl Handler for NotificationHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if is_for_another_group(&self.group, |name| record.headers.get(name)) {
            return Outcome::Done;
        }
        let read = match record.value.as_deref() {
            Some(value) => Notification::decode(value),
            None => Err(DecodeError::Null),
        };
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                self.metrics.invalid.inc();
                return Outcome::Reject(error.to_string());
            }
        };
        let Some(outcome) = read.outcome() else {
            self.metrics.step.inc();
            self.console.print_step(step(read, record)).await;
            return Outcome::Done;
        };
        let notification = Arc::new(new_notification(
            read,
            outcome,
            record,
            self.database.stamp(),
        ));
        match self.writer.write(notification.clone()).await {
            Ok(Written::Stored) => {
                self.metrics.stored.inc();
                self.console.print(notification).await;
                Outcome::Done
            }
            Ok(Written::Repeated) => {
                self.metrics.repeated.inc();
                Outcome::Done
            }
            Ok(Written::Contradicted { stays }) => {
                self.metrics.contradicted.inc();
                tracing::warn!(
                    topic = %record.topic,
                    partition = record.partition,
                    offset = record.offset,
                    order_id = %notification.order_id,
                    "notification says {} of an order that is {}; the first result stays",
                    notification.status.as_str(),
                    stays.as_str()
                );
                Outcome::Done
            }
            Err(WriteError::Refused(error)) => {
                Outcome::Reject(format!("the database refuses the notification: {error}"))
            }
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }

    /// The order id, taken from the value: whatever the key, an order's results come one after another.
    fn lane(&self, record: &ConsumerRecord) -> Lane {
        if let Some(id) = record.value.as_deref().and_then(order_id::peek) {
            return Lane::of(id.as_bytes());
        }
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

/// `now` is when it is stored, in milliseconds since 1970.
fn new_notification(
    read: Notification<'_>,
    status: FinalStatus,
    record: &ConsumerRecord,
    now: i64,
) -> NewNotification {
    NewNotification {
        order_id: read.order_id.into_owned(),
        status,
        user_id: read.user_id.map(storable_key),
        reason: read.reason.map(storable),
        topic: record.topic.to_string(),
        topic_id: record.topic_id,
        partition: record.partition,
        offset: record.offset,
        received_at: now,
    }
}

fn step(read: Notification<'_>, record: &ConsumerRecord) -> Step {
    Step {
        order_id: read.order_id.into_owned(),
        status: read.status.as_str().to_owned(),
        user_id: read.user_id.map(Into::into),
        reason: read.reason.map(Into::into),
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka::Headers;

    use super::*;

    #[test]
    fn odd_text_is_stored_and_no_dead_letter() {
        let user = "u".repeat(5_000);
        let value = format!(
            r#"{{"order_id":"1","status":"REJECTED","user_id":"{user}","reason":"a\u0000b"}}"#
        );
        let record = ConsumerRecord {
            topic: "notifications".into(),
            topic_id: None,
            partition: 1,
            offset: 7,
            timestamp: 0,
            leader_epoch: -1,
            key: None,
            value: Some(Bytes::from(value.clone())),
            headers: Headers::default(),
            attempt: 1,
        };
        let read = Notification::decode(value.as_bytes()).unwrap();
        let stored = new_notification(read, FinalStatus::Rejected, &record, 0);
        assert_eq!(stored.reason.as_deref(), Some("a\u{fffd}b"));
        // More than PostgreSQL's index would take.
        assert!(stored.user_id.unwrap().len() < 2_704);
    }
}
