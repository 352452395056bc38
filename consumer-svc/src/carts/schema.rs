use service::db::Migration;
use service::outbox;

use super::requests;

/// The service's tables, step by step; one that has been released is never changed.
pub(crate) static MIGRATIONS: [Migration; 3] = [
    Migration {
        version: 1,
        name: "carts",
        sqlite: SQLITE,
        postgres: POSTGRES,
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
        sqlite: requests::SCHEMA,
        postgres: requests::SCHEMA,
    },
];

const SQLITE: &str = "\
CREATE TABLE carts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE TABLE cart_items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cart_id BIGINT NOT NULL REFERENCES carts (id),
    product TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    price BIGINT NOT NULL
);
CREATE INDEX cart_items_by_cart ON cart_items (cart_id, id);
";

const POSTGRES: &str = "\
CREATE TABLE carts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id BIGINT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE TABLE cart_items (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cart_id BIGINT NOT NULL REFERENCES carts (id),
    product TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    price BIGINT NOT NULL
);
CREATE INDEX cart_items_by_cart ON cart_items (cart_id, id);
";
