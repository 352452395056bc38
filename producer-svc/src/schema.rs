use service::db::Migration;
use service::outbox;

use crate::{analytics, users, view};

/// The service's tables, step by step; one that has been released is never changed.
pub(crate) static MIGRATIONS: [Migration; 5] = [
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
];
