//! Items that were added under an `Idempotency-Key`, so that a request sent again adds none.

use proto::{CartItem, NewCartItem};
use service::db::{Retention, storable};
use sql::Connection;

use super::items::item;

/// On both databases. `request_key` is what the key stands for; the item is as it was added.
pub(crate) const SCHEMA: &str = "\
CREATE TABLE cart_item_requests (
    cart_id BIGINT NOT NULL REFERENCES carts (id),
    request_key TEXT NOT NULL,
    item_id BIGINT NOT NULL,
    product TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    price BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (cart_id, request_key)
);
CREATE INDEX cart_item_requests_by_age ON cart_item_requests (created_at);
";

/// A request is not sent again after so long.
pub(crate) const RETENTION: Retention = Retention {
    what: "keys of requests",
    variable: "REQUEST_KEY_RETENTION",
    delete: "DELETE FROM cart_item_requests WHERE (cart_id, request_key) IN (\
             SELECT cart_id, request_key FROM cart_item_requests \
             WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
    mend: &[
        "UPDATE cart_item_requests SET created_at = $1 WHERE (cart_id, request_key) IN (\
             SELECT cart_id, request_key FROM cart_item_requests WHERE created_at > $2 LIMIT $3)",
    ],
};

/// An item as it was added.
pub(super) struct Added {
    pub(super) item: CartItem<'static>,
}

impl Added {
    /// Whether the same is asked for again.
    pub(super) fn is(&self, new: &NewCartItem<'_>) -> bool {
        let product = storable(new.product.as_ref().into());
        (
            self.item.product.as_ref(),
            self.item.quantity,
            self.item.price,
        ) == (&*product, new.quantity, new.price)
    }
}

/// What a request of this key has added to the cart, whose row is locked.
pub(super) async fn find(
    connection: &mut Connection,
    cart_id: i64,
    key: &str,
) -> Result<Option<Added>, sql::Error> {
    let row = sql::query(
        "SELECT product, quantity, price, item_id FROM cart_item_requests \
         WHERE cart_id = $1 AND request_key = $2",
    )
    .bind(cart_id)
    .bind(key)
    .fetch_optional(connection)
    .await?;
    let item = row.map(|row| item(&row, row.get(3)?, 0)).transpose()?;
    Ok(item.map(|item| Added { item }))
}

/// Keeps what a request of this key adds, in its transaction, at `now` (milliseconds since 1970).
pub(super) async fn keep(
    connection: &mut Connection,
    cart_id: i64,
    key: &str,
    item: &CartItem<'_>,
    now: i64,
) -> Result<(), sql::Error> {
    sql::query(
        "INSERT INTO cart_item_requests \
         (cart_id, request_key, item_id, product, quantity, price, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(cart_id)
    .bind(key)
    .bind(item.id)
    .bind(item.product.as_ref())
    .bind(item.quantity)
    .bind(item.price)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
