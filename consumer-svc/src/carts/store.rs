use std::collections::HashMap;

use proto::{
    CartChange, CartEvent, EventHeaders, Rfc3339, Traceparent, TypeIds, UuidText, identity,
};
use service::db::BatchWrite;
use service::outbox::{NewEvent, Outbox};
use sql::{Connection, Type};
use uuid::Uuid;

use crate::events::SOURCE;

/// Leaves the events of carts in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct CartEvents {
    pub(crate) outbox: Outbox,
    pub(crate) topic: String,
    pub(crate) type_ids: TypeIds,
}

impl CartEvents {
    /// Adds the event to the transaction of `connection`, which has written the cart's row first.
    pub(super) async fn append(
        &self,
        connection: &mut Connection,
        mut event: CartEvent<'_>,
        now: i64,
        trace: &Traceparent,
    ) -> Result<(), sql::Error> {
        let time = Rfc3339::from_millis(now);
        event.updated_at = Some(time.as_str().into());
        let mut body = Vec::with_capacity(256);
        event.write(&mut body);
        let event_type = event.change.event_type();
        let id = match event.change {
            // A cart is created once; the other changes may be repeated and be meant each time.
            CartChange::Created => identity::cart_created(event.user_id),
            _ => Uuid::now_v7(),
        };
        let headers = EventHeaders {
            id: &UuidText::new(id),
            event_type,
            source: SOURCE,
            time: &time,
            trace,
            type_id: self.type_ids.get(event_type),
        };
        let event = NewEvent {
            topic: &self.topic,
            key: &event.user_id.to_string(),
            headers: &headers.list(),
            body: &body,
        };
        self.outbox.append(connection, &event).await
    }
}

/// Creates carts, many in one transaction.
#[derive(Debug, Clone)]
pub(crate) struct CreateCarts {
    pub(crate) events: CartEvents,
}

/// A cart that a user should have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WantedCart {
    pub(crate) user_id: i64,
    pub(crate) trace: Traceparent,
}

/// The cart that the user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UsersCart {
    pub(crate) id: i64,
    /// By this transaction.
    pub(crate) created: bool,
}

impl BatchWrite for CreateCarts {
    type Item = WantedCart;
    type Output = UsersCart;

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[WantedCart],
    ) -> Result<Vec<UsersCart>, sql::Error> {
        let now = proto::now_millis();
        // In one order everywhere: two instances with the same users would wait for each other.
        let mut wanted: Vec<&WantedCart> = items.iter().collect();
        wanted.sort_by_key(|cart| cart.user_id);
        wanted.dedup_by_key(|cart| cart.user_id);
        let mut carts = HashMap::with_capacity(wanted.len());
        insert(connection, &wanted, now, &mut carts).await?;
        for cart in &wanted {
            if let Some(created) = carts.get(&cart.user_id) {
                let event = CartEvent {
                    cart_id: created.id,
                    user_id: cart.user_id,
                    change: CartChange::Created,
                    updated_at: None,
                };
                self.events
                    .append(connection, event, now, &cart.trace)
                    .await?;
            }
        }
        let known: Vec<i64> = wanted
            .iter()
            .map(|cart| cart.user_id)
            .filter(|user| !carts.contains_key(user))
            .collect();
        find(connection, &known, &mut carts).await?;
        items
            .iter()
            .map(|item| {
                let cart = carts.get_mut(&item.user_id);
                let cart = cart.ok_or(sql::Error::RowNotFound)?;
                let answer = *cart;
                // Whoever asks for the same user behind it finds the cart there.
                cart.created = false;
                Ok(answer)
            })
            .collect()
    }

    fn committed(&self) {
        self.events.outbox.committed();
    }
}

async fn insert(
    connection: &mut Connection,
    wanted: &[&WantedCart],
    now: i64,
    carts: &mut HashMap<i64, UsersCart>,
) -> Result<(), sql::Error> {
    let mut query = sql::batch(
        "INSERT INTO carts (user_id, created_at, changed_at) {rows} \
         ON CONFLICT (user_id) DO NOTHING RETURNING id, user_id",
        &[Type::Bigint, Type::Bigint, Type::Bigint],
    );
    for cart in wanted {
        query = query.bind(cart.user_id).bind(now).bind(now);
    }
    for row in query.fetch_all(connection).await? {
        let created = UsersCart {
            id: row.get(0)?,
            created: true,
        };
        carts.insert(row.get(1)?, created);
    }
    Ok(())
}

async fn find(
    connection: &mut Connection,
    users: &[i64],
    carts: &mut HashMap<i64, UsersCart>,
) -> Result<(), sql::Error> {
    let mut query = sql::batch(
        "SELECT id, user_id FROM carts WHERE user_id IN ({rows})",
        &[Type::Bigint],
    );
    for user in users {
        query = query.bind(*user);
    }
    for row in query.fetch_all(connection).await? {
        let found = UsersCart {
            id: row.get(0)?,
            created: false,
        };
        carts.insert(row.get(1)?, found);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use service::config::{DatabaseConfig, Secret};
    use service::db::{Database, DatabaseKind};
    use testkit::database::OwnDatabase;

    use super::*;

    #[tokio::test]
    async fn a_user_who_comes_twice_in_a_batch_gets_one_cart_that_is_created_once() {
        let own = OwnDatabase::new().await;
        let kind = match own.url.starts_with("sqlite:") {
            true => DatabaseKind::Sqlite,
            false => DatabaseKind::Postgres,
        };
        let config = DatabaseConfig {
            kind,
            url: Secret::new(&own.url),
            pool_size: 2,
        };
        let database = Database::new(&config, &crate::schema::MIGRATIONS).unwrap();
        database.migrate().await.unwrap();
        let create = CreateCarts {
            events: CartEvents {
                outbox: Outbox::default(),
                topic: "carts.events".to_owned(),
                type_ids: TypeIds::default(),
            },
        };
        let wanted = [7, 8, 7, 7].map(|user_id| WantedCart {
            user_id,
            trace: Traceparent::new(),
        });
        let mut tx = database.begin_write().await.unwrap();
        let carts = create.write(&mut tx, &wanted).await.unwrap();
        let created: Vec<bool> = carts.iter().map(|cart| cart.created).collect();
        assert_eq!(created, [true, true, false, false]);
        assert!(carts[0].id == carts[2].id && carts[0].id != carts[1].id);
        let events = sql::query("SELECT COUNT(*) FROM outbox");
        let events = events.fetch_one(&mut *tx).await.unwrap();
        assert_eq!(events.get::<i64>(0).unwrap(), 2);
    }
}
