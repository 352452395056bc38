use service::db::Migration;
use service::outbox;

use crate::{analytics, users, view};

/// The service's tables, step by step; one that has been released is never changed.
pub(crate) static MIGRATIONS: [Migration; 8] = [
    Migration {
        version: 1,
        name: "order events",
        sqlite: view::ORDER_EVENTS,
        postgres: view::ORDER_EVENTS,
    },
    Migration {
        version: 2,
        name: "users",
        sqlite: users::SQLITE,
        postgres: users::POSTGRES,
    },
    Migration {
        version: 3,
        name: "outbox",
        sqlite: outbox::SQLITE,
        postgres: outbox::POSTGRES,
    },
    Migration {
        version: 4,
        name: "users' request keys",
        sqlite: users::REQUEST_KEY,
        postgres: users::REQUEST_KEY,
    },
    Migration {
        version: 5,
        name: "analytics",
        sqlite: analytics::TABLES,
        postgres: analytics::TABLES,
    },
    Migration {
        version: 6,
        name: "when order events were stored",
        sqlite: view::STORED_SQLITE,
        postgres: view::STORED_POSTGRES,
    },
    Migration {
        version: 7,
        name: "when figures were stored",
        sqlite: analytics::STORED_SQLITE,
        postgres: analytics::STORED_POSTGRES,
    },
    Migration {
        version: 8,
        name: "outbox's topic ids",
        sqlite: outbox::TOPIC_IDS,
        postgres: outbox::TOPIC_IDS,
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
                ["4c2ec1dd", "4c2ec1dd"],
                ["b1b2afa1", "d5e30180"],
                ["6404832a", "506c93d7"],
                ["161b32ab", "161b32ab"],
                ["5d112927", "5d112927"],
                ["18e2df71", "0c2a85cf"],
                ["bb9bd619", "efad2a7a"],
                ["5f2df7b6", "5f2df7b6"],
            ]
        );
    }
}
