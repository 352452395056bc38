//! Notifications in the database: each order's first result, kept once.
//!
//! Rows are written by [`NotificationWrite`] in group commits, read for the API and for printing, and
//! dropped after their [retention](RETENTION). One SQL text serves SQLite and PostgreSQL.

mod query;
mod write;

use kafka::TopicId;
use proto::FinalStatus;
use service::db::{Migration, Retention};

use crate::logs;

pub use query::{Filter, list, mark_printed, unprinted};
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
    /// Of that topic; `None`: not known.
    pub topic_id: Option<TopicId>,
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

/// With a place goes the id of the topic that it is in; null = not known.
const TOPIC_IDS: &str = "\
ALTER TABLE notifications ADD COLUMN topic_id TEXT;
";

/// The service's schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "notifications",
        sqlite: CREATE,
        postgres: CREATE,
    },
    Migration {
        version: 2,
        name: "logs",
        sqlite: logs::LOGS,
        postgres: logs::LOGS,
    },
    Migration {
        version: 3,
        name: "grave logs",
        sqlite: logs::GRAVE_LOGS,
        postgres: logs::GRAVE_LOGS,
    },
    Migration {
        version: 4,
        name: "notifications' topic ids",
        sqlite: TOPIC_IDS,
        postgres: TOPIC_IDS,
    },
    Migration {
        version: 5,
        name: "when logs were stored",
        sqlite: logs::STORED_SQLITE,
        postgres: logs::STORED_POSTGRES,
    },
];

/// What has been printed goes when it is old.
pub const RETENTION: Retention = Retention {
    what: "notifications",
    variable: "NOTIFICATION_RETENTION",
    delete: "DELETE FROM notifications WHERE order_id IN (SELECT order_id FROM notifications \
             WHERE received_at < $1 AND printed = 1 LIMIT $2)",
    mend: &[
        "UPDATE notifications SET received_at = $1 WHERE order_id IN (\
             SELECT order_id FROM notifications WHERE received_at > $2 LIMIT $3)",
    ],
};

#[cfg(test)]
mod tests {
    use service::db::DatabaseKind;

    use super::*;

    /// There are databases that have them.
    #[test]
    fn no_step_has_changed() {
        let of = |step: &Migration, kind| step.checksum(kind)[..8].to_owned();
        let checksums: Vec<_> = MIGRATIONS
            .iter()
            .map(|step| [DatabaseKind::Sqlite, DatabaseKind::Postgres].map(|kind| of(step, kind)))
            .collect();
        assert_eq!(
            checksums,
            [
                ["4d241a1d", "4d241a1d"],
                ["5fc4eb67", "5fc4eb67"],
                ["930d6d4c", "930d6d4c"],
                ["9f730964", "9f730964"],
                ["f6a7977d", "9d250c11"],
            ]
        );
    }
}
