/// The tables of carts on SQLite.
pub(crate) const SQLITE: &str = "\
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

/// The same on PostgreSQL.
pub(crate) const POSTGRES: &str = "\
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
