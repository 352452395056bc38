use std::collections::HashMap;
use std::sync::Arc;

use kafka::TopicId;
use proto::FinalStatus;
use service::db::BatchWrite;
use sql::{Connection, Row, Type};

use super::StoredNotification;

/// A notification as it arrived.
pub type NewNotification = StoredNotification;

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The order's first; to be printed. Also said of the same record again while it has not been
    /// printed: it may have been stored without the service hearing of it.
    Stored,
    /// The order has this result already.
    Repeated,
    /// The order has another result, which stays.
    Contradicted { stays: FinalStatus },
}

/// Stores notifications that are the first of their order.
#[derive(Debug, Clone, Copy)]
pub struct NotificationWrite;

const COLUMNS: [Type; 10] = {
    use Type::{Bigint, Text};
    [
        Text, Text, Text, Text, Text, Bigint, Bigint, Bigint, Bigint, Text,
    ]
};

impl BatchWrite for NotificationWrite {
    /// Shared with the console, which prints it afterwards.
    type Item = Arc<NewNotification>;
    type Output = Written;

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[Arc<NewNotification>],
    ) -> Result<Vec<Written>, sql::Error> {
        // Two instances that insert the same orders in different sequence would wait for each other.
        // Of one order the first stays first.
        let mut in_order: Vec<&NewNotification> = items.iter().map(AsRef::as_ref).collect();
        in_order.sort_by(|a, b| a.order_id.cmp(&b.order_id));
        // Of several in one batch the first was stored.
        let mut new: HashMap<String, Option<FinalStatus>> = HashMap::with_capacity(items.len());
        for order_id in insert(connection, &in_order).await? {
            new.insert(order_id, None);
        }
        let known: Vec<&str> = items
            .iter()
            .map(|item| item.order_id.as_str())
            .filter(|id| !new.contains_key(*id))
            .collect();
        let stored = known_of(connection, &known).await?;
        let mut written = Vec::with_capacity(items.len());
        for item in items {
            let before = match new.get_mut(&item.order_id) {
                Some(first) => first.replace(first.unwrap_or(item.status)),
                None => match stored.get(&item.order_id) {
                    Some(first) if first.is_unprinted(item) => None,
                    Some(first) => Some(first.status),
                    None => None,
                },
            };
            written.push(match before {
                None => Written::Stored,
                Some(status) if status == item.status => Written::Repeated,
                Some(stays) => Written::Contradicted { stays },
            });
        }
        Ok(written)
    }
}

/// What is stored of an order already.
struct Known {
    status: FinalStatus,
    topic: String,
    topic_id: Option<TopicId>,
    partition: i64,
    offset: i64,
    printed: bool,
}

impl Known {
    /// Whether it came with this very record and nobody has seen it yet.
    fn is_unprinted(&self, record: &NewNotification) -> bool {
        !self.printed
            && self.topic == record.topic
            && !TopicId::differ(self.topic_id, record.topic_id)
            && self.partition == i64::from(record.partition)
            && self.offset == record.offset
    }
}

/// The orders that had none.
async fn insert(
    connection: &mut Connection,
    notifications: &[&NewNotification],
) -> Result<Vec<String>, sql::Error> {
    let mut query = sql::batch(
        "INSERT INTO notifications (order_id, status, user_id, reason, topic, \
         topic_partition, topic_offset, received_at, printed, topic_id) {rows} \
         ON CONFLICT (order_id) DO NOTHING RETURNING order_id",
        &COLUMNS,
    );
    for item in notifications {
        query = query
            .bind(&item.order_id)
            .bind(item.status.as_str())
            .bind(item.user_id.as_deref())
            .bind(item.reason.as_deref())
            .bind(&item.topic)
            .bind(i64::from(item.partition))
            .bind(item.offset)
            .bind(item.received_at)
            .bind(0_i64)
            .bind(item.topic_id.map(|id| id.to_string()));
    }
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn known_of(
    connection: &mut Connection,
    order_ids: &[&str],
) -> Result<HashMap<String, Known>, sql::Error> {
    let mut query = sql::batch(
        "SELECT order_id, status, topic, topic_partition, topic_offset, printed, topic_id \
         FROM notifications WHERE order_id IN ({rows})",
        &[Type::Text],
    );
    for id in order_ids {
        query = query.bind(*id);
    }
    let known = |row: &Row| {
        let topic_id: Option<String> = row.get(6)?;
        let known = Known {
            status: super::query::status(row, 1)?,
            topic: row.get(2)?,
            topic_id: topic_id.and_then(|id| id.parse().ok()),
            partition: row.get(3)?,
            offset: row.get(4)?,
            printed: row.get::<i64>(5)? != 0,
        };
        Ok((row.get(0)?, known))
    };
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(known).collect()
}
