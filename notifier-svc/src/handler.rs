//! Notifications from Kafka into the database and on to the console.

use std::sync::Arc;

use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::dead_letter::is_for_another_group;
use proto::{DecodeError, Notification, order_id};
use service::db::{Database, GroupWriter, WriteError, storable, storable_key};

use crate::console::Console;
use crate::notification_metrics::NotificationMetrics;
use crate::store::{NewNotification, NotificationWrite, Written};

/// Stores each order's first result; a record is done when its transaction has committed.
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
        let notification = match new_notification(record, self.database.now()) {
            Ok(notification) => Arc::new(notification),
            Err(error) => {
                self.metrics.invalid.inc();
                return Outcome::Reject(error.to_string());
            }
        };
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
fn new_notification(record: &ConsumerRecord, now: i64) -> Result<NewNotification, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Null)?;
    let notification = Notification::decode(value)?;
    Ok(NewNotification {
        order_id: notification.order_id.into_owned(),
        status: notification.status,
        user_id: notification.user_id.map(storable_key),
        reason: notification.reason.map(storable),
        topic: record.topic.to_string(),
        topic_id: record.topic_id,
        partition: record.partition,
        offset: record.offset,
        received_at: now,
    })
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
            value: Some(Bytes::from(value)),
            headers: Headers::default(),
            attempt: 1,
        };
        let stored = new_notification(&record, 0).unwrap();
        assert_eq!(stored.reason.as_deref(), Some("a\u{fffd}b"));
        // More than PostgreSQL's index would take.
        assert!(stored.user_id.unwrap().len() < 2_704);
    }
}
