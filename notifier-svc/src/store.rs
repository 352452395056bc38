//! Notifications in the database: each order's first result, kept once.
//!
//! Rows are written by [`NotificationWrite`] in group commits, read for the API and for printing, and
//! dropped after their retention. One SQL text serves SQLite and PostgreSQL.

mod query;
mod retention;
mod write;

use std::time::{SystemTime, UNIX_EPOCH};

use proto::FinalStatus;
use service::db::Migration;

pub use query::{Filter, list, mark_printed, unprinted};
pub use retention::{delete_older_than, keep_clean};
pub use write::{NewNotification, NotificationWrite, Written};

/// A stored notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNotification {
    pub order_id: String,
    pub status: FinalStatus,
    pub user_id: Option<String>,
    pub reason: Option<String>,
    /// The record that it came with.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// When it was stored, milliseconds since 1970.
    pub received_at: i64,
}

const CREATE: &str = "
CREATE TABLE notifications (
    order_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    user_id TEXT,
    reason TEXT,
    topic TEXT NOT NULL,
    topic_partition BIGINT NOT NULL,
    topic_offset BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    printed BIGINT NOT NULL
);
CREATE INDEX notifications_by_user ON notifications (user_id, received_at);
CREATE INDEX notifications_by_time ON notifications (received_at);
CREATE INDEX notifications_unprinted ON notifications (received_at) WHERE printed = 0;
";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "notifications",
    sqlite: CREATE,
    postgres: CREATE,
}];

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// `($1, $2), ($3, $4)` for two rows of two columns.
fn placeholders(rows: usize, columns: usize) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            let comma = if column == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}${}", row * columns + column + 1);
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(placeholders(1, 1), "($1)");
    }
}
