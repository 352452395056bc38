//! The service's tables, step by step; one that has been released is never changed.

use service::db::Migration;
use service::outbox;

use crate::{analytics, carts};

pub(crate) static MIGRATIONS: [Migration; 4] = [
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
];
