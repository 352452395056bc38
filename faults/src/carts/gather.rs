//! What is to be seen of users and carts in the end: both databases, both topics.

use std::collections::BTreeMap;

use kafka::{Client, ConsumerRecord, OffsetAt, ReaderEvent, TopicPartition};
use proto::{CartChange, CartEvent, UserEvent};
use sql::Pool;
use testkit::database::pool;
use testkit::eventually;
use tokio::time::timeout;

use super::CartShop;
use super::checker::{CartHistory, Event};
use crate::gather::worked_off;
use crate::process::PATIENCE;

impl CartShop {
    /// Waits until the cart group has committed everything and both outboxes are empty.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn worked_off(&self) {
        for database in [&self.users_database, &self.carts_database] {
            let pool = pool(database.own_url());
            eventually(PATIENCE, || async {
                let sql = "SELECT COUNT(*) FROM outbox WHERE published_at IS NULL";
                let row = sql::query(sql).fetch_one(&pool).await.ok()?;
                (row.get::<i64>(0).ok()? == 0).then_some(())
            })
            .await;
        }
        worked_off(&self.client, &self.group).await;
    }

    /// All but what customers were answered.
    ///
    /// # Panics
    /// When something cannot be read.
    pub async fn gather(&self) -> CartHistory {
        let users = pool(self.users_database.own_url());
        let carts = pool(self.carts_database.own_url());
        let rows = async |pool: &Pool, sql: &'static str| {
            let rows = sql::query(sql).fetch_all(pool).await;
            rows.expect("a database that answers")
        };
        let pairs = |rows: Vec<sql::Row>| -> Vec<(i64, i64)> {
            let pair = |row: &sql::Row| Ok::<_, sql::Error>((row.get(0)?, row.get(1)?));
            rows.iter()
                .map(|row| pair(row).expect("two numbers"))
                .collect()
        };
        CartHistory {
            registered: Vec::new(),
            users: rows(&users, "SELECT id FROM users")
                .await
                .iter()
                .map(|row| row.get(0).expect("a number"))
                .collect(),
            carts: pairs(rows(&carts, "SELECT user_id, id FROM carts").await),
            items: pairs(
                rows(
                    &carts,
                    "SELECT carts.user_id, cart_items.id FROM cart_items \
                     JOIN carts ON carts.id = cart_items.cart_id ORDER BY cart_items.id",
                )
                .await,
            ),
            user_events: read(
                &self.client,
                &self.users_topic,
                |value| match UserEvent::decode(value, None) {
                    Ok(UserEvent::Created(created)) => (created.user_id, None),
                    other => panic!("no UserCreated: {other:?}"),
                },
            )
            .await,
            cart_events: read(&self.client, &self.carts_topic, |value| {
                let event = CartEvent::decode(value).expect("an event of a cart");
                match event.change {
                    CartChange::Created => (event.user_id, None),
                    CartChange::ItemAdded(item) => (event.user_id, Some(item.id)),
                    other => panic!("nobody changes items: {other:?}"),
                }
            })
            .await,
        }
    }
}

/// A topic from its first record to where it ends now.
async fn read(
    client: &Client,
    topic: &str,
    event: impl Fn(&[u8]) -> (i64, Option<i64>),
) -> Vec<Event> {
    let admin = client.admin();
    let described = admin
        .describe_topics(&[topic])
        .await
        .expect("a sound Kafka");
    let count = described[0].partitions.len() as i32;
    let partitions: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let ends = admin.offsets(&partitions, OffsetAt::Latest).await;
    let ends: BTreeMap<_, _> = ends.expect("a sound Kafka");
    let mut reader = client.reader().topics([topic]).build().expect("a topic");
    let mut events = Vec::new();
    let through = |positions: Vec<(TopicPartition, i64)>| {
        let positions: BTreeMap<_, _> = positions.into_iter().collect();
        ends.iter()
            .all(|(of, end)| positions.get(of).is_some_and(|at| at >= end))
    };
    let reading = async {
        reader.positioned().await;
        while ends.values().any(|end| *end > 0) && !through(reader.positions()) {
            if let ReaderEvent::Records(records) = reader.next_batch().await {
                events.extend(records.iter().map(|record| noted(record, &event)));
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("records in time");
    events
}

fn noted(record: &ConsumerRecord, event: &impl Fn(&[u8]) -> (i64, Option<i64>)) -> Event {
    let (user, item) = event(record.value.as_deref().expect("a value"));
    assert_eq!(record.key.as_deref(), Some(user.to_string().as_bytes()));
    Event {
        user,
        id: record.headers.get_str("ce_id").expect("a ce_id").to_owned(),
        partition: record.partition,
        item,
    }
}
