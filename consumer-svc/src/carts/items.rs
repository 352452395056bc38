use std::time::Duration;

use proto::{CartChange, CartEvent, CartItem, CartItemChange, NewCartItem, Traceparent};
use service::db::{Database, storable};
use sql::{Connection, Row};

use super::requests;
use super::store::CartEvents;

/// Lines that a cart may have: more than anybody buys, few enough to answer at once.
pub(super) const MAX_ITEMS: i64 = 1_000;

/// Carts as they are read and changed over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Carts {
    pub(crate) database: Database,
    pub(crate) events: CartEvents,
    /// Longest time for a change.
    pub(crate) patience: Duration,
}

/// A user's cart with its lines, in the order in which they were added.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cart {
    pub(super) id: i64,
    pub(super) user_id: i64,
    pub(super) items: Vec<CartItem<'static>>,
}

/// Why a cart was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Database(#[from] sql::Error),
    #[error("user {0} has no cart")]
    NoCart(i64),
    #[error("the cart has no item {0}")]
    NoItem(i64),
    #[error("the cart has {MAX_ITEMS} items, which is all it holds")]
    Full,
    #[error("this Idempotency-Key was sent with another item")]
    OtherItem,
}

impl Carts {
    /// None: the user has no cart (yet).
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn of_user(&self, user_id: i64) -> Result<Option<Cart>, sql::Error> {
        // One statement, so that cart and items belong together.
        let query = sql::query(
            "SELECT carts.id, cart_items.id, product, quantity, price FROM carts \
             LEFT JOIN cart_items ON cart_items.cart_id = carts.id \
             WHERE carts.user_id = $1 ORDER BY cart_items.id",
        )
        .bind(user_id)
        .fetch_all(self.database.pool());
        let rows = self.database.read(query).await?;
        let Some(first) = rows.first() else {
            return Ok(None);
        };
        let mut cart = Cart {
            id: first.get(0)?,
            user_id,
            items: Vec::new(),
        };
        for row in &rows {
            if let Some(id) = row.get::<Option<i64>>(1)? {
                cart.items.push(item(row, id, 2)?);
            }
        }
        Ok(Some(cart))
    }

    /// Adds a line; gives it with its id. Asked for again under the same `key`, it gives the line that
    /// was added then, and changes nothing.
    pub(super) async fn add(
        &self,
        user_id: i64,
        new: &NewCartItem<'_>,
        key: Option<&str>,
        trace: &Traceparent,
    ) -> Result<CartItem<'static>, ChangeError> {
        self.change(user_id, trace, async |connection, cart_id| {
            if let Some(key) = key
                && let Some(added) = requests::find(connection, cart_id, key).await?
            {
                return Ok(match added.is(new) {
                    true => Ok(Change::Known(added.item)),
                    false => Err(ChangeError::OtherItem),
                });
            }
            let count = sql::query("SELECT COUNT(*) FROM cart_items WHERE cart_id = $1")
                .bind(cart_id)
                .fetch_one(&mut *connection)
                .await?;
            if count.get::<i64>(0)? >= MAX_ITEMS {
                return Ok(Err(ChangeError::Full));
            }
            let row = sql::query(
                "INSERT INTO cart_items (cart_id, product, quantity, price) \
                 VALUES ($1, $2, $3, $4) RETURNING product, quantity, price, id",
            )
            .bind(cart_id)
            .bind(storable(new.product.as_ref().into()))
            .bind(new.quantity)
            .bind(new.price)
            .fetch_one(&mut *connection)
            .await?;
            let added = item(&row, row.get(3)?, 0)?;
            if let Some(key) = key {
                let now = self.database.stamp();
                requests::keep(connection, cart_id, key, &added, now).await?;
            }
            Ok(Ok(Change::Made(CartChange::ItemAdded(added))))
        })
        .await
    }

    /// Changes what `change` gives of a line; gives it as it is then.
    pub(super) async fn set(
        &self,
        user_id: i64,
        item_id: i64,
        change: &CartItemChange<'_>,
        trace: &Traceparent,
    ) -> Result<CartItem<'static>, ChangeError> {
        self.change(user_id, trace, async |connection, cart_id| {
            let row = sql::query(
                "UPDATE cart_items SET product = COALESCE($1, product), \
                 quantity = COALESCE($2, quantity), price = COALESCE($3, price) \
                 WHERE id = $4 AND cart_id = $5 RETURNING product, quantity, price",
            )
            .bind(change.product.as_deref().map(|text| storable(text.into())))
            .bind(change.quantity)
            .bind(change.price)
            .bind(item_id)
            .bind(cart_id)
            .fetch_optional(connection)
            .await?;
            Ok(match row {
                Some(row) => Ok(Change::Made(CartChange::ItemChanged(item(
                    &row, item_id, 0,
                )?))),
                None => Err(ChangeError::NoItem(item_id)),
            })
        })
        .await
    }

    /// Takes a line out; gives it as it was.
    pub(super) async fn remove(
        &self,
        user_id: i64,
        item_id: i64,
        trace: &Traceparent,
    ) -> Result<CartItem<'static>, ChangeError> {
        self.change(user_id, trace, async |connection, cart_id| {
            let row = sql::query(
                "DELETE FROM cart_items WHERE id = $1 AND cart_id = $2 \
                 RETURNING product, quantity, price",
            )
            .bind(item_id)
            .bind(cart_id)
            .fetch_optional(connection)
            .await?;
            Ok(match row {
                Some(row) => Ok(Change::Made(CartChange::ItemRemoved(item(
                    &row, item_id, 0,
                )?))),
                None => Err(ChangeError::NoItem(item_id)),
            })
        })
        .await
    }

    /// One transaction: the cart's row is locked, `work` changes the items, the event is left in the
    /// outbox. Nothing is changed where `work` says why not.
    async fn change(
        &self,
        user_id: i64,
        trace: &Traceparent,
        work: impl AsyncFnOnce(&mut Connection, i64) -> Result<Result<Change, ChangeError>, sql::Error>,
    ) -> Result<CartItem<'static>, ChangeError> {
        let now = proto::now_millis();
        let transaction = async {
            let mut tx = self.database.begin_write().await?;
            let cart =
                sql::query("UPDATE carts SET changed_at = $1 WHERE user_id = $2 RETURNING id")
                    .bind(now)
                    .bind(user_id)
                    .fetch_optional(&mut *tx)
                    .await?;
            let Some(cart) = cart else {
                return Ok(Err(ChangeError::NoCart(user_id)));
            };
            let cart_id = cart.get(0)?;
            let change = match work(&mut tx, cart_id).await? {
                Ok(Change::Made(change)) => change,
                Ok(known @ Change::Known(_)) => return Ok(Ok(known)),
                Err(error) => return Ok(Err(error)),
            };
            let event = CartEvent {
                cart_id,
                user_id,
                change,
                updated_at: None,
            };
            self.events
                .append(&mut tx, event.clone(), now, trace)
                .await?;
            tx.commit().await?;
            Ok(Ok(Change::Made(event.change)))
        };
        let change = self.database.write_within(self.patience, transaction);
        match change.await?? {
            Change::Known(item) => Ok(item),
            Change::Made(change) => {
                self.events.outbox.committed();
                match change {
                    CartChange::ItemAdded(item)
                    | CartChange::ItemChanged(item)
                    | CartChange::ItemRemoved(item) => Ok(item),
                    CartChange::Created => Err(ChangeError::NoCart(user_id)),
                }
            }
        }
    }
}

/// What became of a cart in a transaction.
enum Change {
    Made(CartChange<'static>),
    /// The same request made it before.
    Known(CartItem<'static>),
}

/// Product, quantity and price from column `at` on.
pub(super) fn item(row: &Row, id: i64, at: usize) -> Result<CartItem<'static>, sql::Error> {
    Ok(CartItem {
        id,
        product: row.get::<String>(at)?.into(),
        quantity: row.get(at + 1)?,
        price: row.get(at + 2)?,
    })
}
