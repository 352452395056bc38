use proto::FinalStatus;
use service::db::Database;
use sql::{Row, Type};

use super::StoredNotification;

const COLUMNS: &str = "order_id, status, user_id, reason, topic, topic_partition, topic_offset, received_at, \
     topic_id";

/// Which notifications are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// None: everybody's.
    pub user_id: Option<String>,
    /// Most rows.
    pub limit: u32,
}

/// The newest notifications, newest first.
pub async fn list(
    database: &Database,
    filter: &Filter,
) -> Result<Vec<StoredNotification>, sql::Error> {
    let limit = i64::from(filter.limit);
    // The order id makes the order definite where times are equal.
    let rows = match &filter.user_id {
        Some(user) => {
            let query = sql::query(format!(
                "SELECT {COLUMNS} FROM notifications WHERE user_id = $1 \
                 ORDER BY received_at DESC, order_id DESC LIMIT $2"
            ));
            let rows = query.bind(user).bind(limit).fetch_all(database.pool());
            database.read(rows).await?
        }
        None => {
            let query = sql::query(format!(
                "SELECT {COLUMNS} FROM notifications \
                 ORDER BY received_at DESC, order_id DESC LIMIT $1"
            ));
            let rows = query.bind(limit).fetch_all(database.pool());
            database.read(rows).await?
        }
    };
    rows.iter().map(notification).collect()
}

/// Notifications that were received before `before` (milliseconds since 1970) and are not marked as
/// printed, oldest first, from past `after` on (when received, order id).
pub async fn unprinted(
    database: &Database,
    before: i64,
    after: (i64, &str),
    limit: u32,
) -> Result<Vec<StoredNotification>, sql::Error> {
    let query = sql::query(format!(
        "SELECT {COLUMNS} FROM notifications WHERE printed = 0 AND received_at < $1 \
         AND (received_at, order_id) > ($2, $3) ORDER BY received_at, order_id LIMIT $4"
    ));
    let rows = query
        .bind(before)
        .bind(after.0)
        .bind(after.1)
        .bind(i64::from(limit))
        .fetch_all(database.pool());
    let rows = database.read(rows).await?;
    rows.iter().map(notification).collect()
}

/// Marks notifications as printed.
pub async fn mark_printed(database: &Database, order_ids: &[&str]) -> Result<(), sql::Error> {
    if order_ids.is_empty() {
        return Ok(());
    }
    let mut query = sql::batch(
        "UPDATE notifications SET printed = 1 WHERE order_id IN ({rows})",
        &[Type::Text],
    );
    for id in order_ids {
        query = query.bind(*id);
    }
    let update = async {
        let mut tx = database.begin_write().await?;
        query.execute(&mut *tx).await?;
        tx.commit().await
    };
    database.write(update).await
}

fn notification(row: &Row) -> Result<StoredNotification, sql::Error> {
    let topic_id: Option<String> = row.get(8)?;
    Ok(StoredNotification {
        order_id: row.get(0)?,
        status: status(row, 1)?,
        user_id: row.get(2)?,
        reason: row.get(3)?,
        topic: row.get(4)?,
        topic_id: topic_id.and_then(|id| id.parse().ok()),
        partition: row.get(5)?,
        offset: row.get(6)?,
        received_at: row.get(7)?,
    })
}

pub(super) fn status(row: &Row, column: usize) -> Result<FinalStatus, sql::Error> {
    let text: String = row.get(column)?;
    FinalStatus::parse(&text)
        .ok_or_else(|| sql::Error::Decode(format!("{text} is no final status").into()))
}
