//! The service's tables, step by step; one that has been released is never changed.

use service::db::Migration;
use service::outbox;

use crate::{analytics, carts};

pub(crate) static MIGRATIONS: [Migration; 8] = [
    Migration {
        version: 1,
        name: "carts",
        sqlite: carts::SQLITE,
        postgres: carts::POSTGRES,
    },
    Migration {
        version: 2,
        name: "outbox",
        sqlite: outbox::SQLITE,
        postgres: outbox::POSTGRES,
    },
    Migration {
        version: 3,
        name: "request keys",
        sqlite: carts::REQUEST_KEYS,
        postgres: carts::REQUEST_KEYS,
    },
    Migration {
        version: 4,
        name: "analytics",
        sqlite: analytics::TABLES,
        postgres: analytics::TABLES,
    },
    Migration {
        version: 5,
        name: "analytics' leader epochs",
        sqlite: analytics::LEADER_EPOCHS,
        postgres: analytics::LEADER_EPOCHS,
    },
    Migration {
        version: 6,
        name: "analytics' topic ids",
        sqlite: analytics::TOPIC_IDS,
        postgres: analytics::TOPIC_IDS,
    },
    Migration {
        version: 7,
        name: "outbox's topic ids",
        sqlite: outbox::TOPIC_IDS,
        postgres: outbox::TOPIC_IDS,
    },
    Migration {
        version: 8,
        name: "analytics' earlier topics",
        sqlite: analytics::EARLIER_TOPICS,
        postgres: analytics::EARLIER_TOPICS,
    },
];

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
                ["ee9ba47d", "a984823d"],
                ["6404832a", "506c93d7"],
                ["77b7b446", "77b7b446"],
                ["e278cb66", "e278cb66"],
                ["85a6022e", "85a6022e"],
                ["e52b92b3", "e52b92b3"],
                ["5f2df7b6", "5f2df7b6"],
                ["f1e3455a", "f1e3455a"],
            ]
        );
    }
}
