use std::collections::{HashMap, HashSet};

use service::db::{BatchWrite, Database, GroupWriter, GroupWriterConfig, WriteError};
use service::metrics::{Counter, Metrics};
use sql::{Connection, Type};
use tokio::sync::watch;

use super::order_state::{OrderEvent, OrderEvents, first_content};
use super::rows::{self, COLUMN_COUNT, COLUMNS, INSERTED};

/// Writes and reads `order_events`.
#[derive(Clone)]
pub(crate) struct ViewStore {
    database: Database,
    writer: GroupWriter<InsertEvents>,
    /// Counts committed batches of this instance.
    committed: watch::Receiver<u64>,
    contradictions: Counter,
}

impl ViewStore {
    pub(crate) fn new(database: Database, metrics: &Metrics) -> Self {
        let contradictions = Counter::default();
        metrics.register(
            "order_view_contradictions",
            "Final statuses that contradict the first one of their order",
            contradictions.clone(),
        );
        let (committed, receiver) = watch::channel(0);
        let insert = InsertEvents {
            committed,
            database: database.clone(),
        };
        let writer = GroupWriter::spawn(database.clone(), insert, GroupWriterConfig::default());
        Self {
            database,
            writer,
            committed: receiver,
            contradictions,
        }
    }

    /// Resolves when the event is committed; an event that is there already changes nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(crate) async fn add(&self, event: OrderEvent) -> Result<(), WriteError> {
        if self.writer.write(event).await? {
            self.contradictions.inc();
        }
        Ok(())
    }

    /// The events of one order: of those that are alike in a partition the first [`ALIKE`] and the last ones, so that an
    /// order with any number of repeats and conflicts costs no more than this.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn events_of(&self, order_id: &str) -> Result<OrderEvents, sql::Error> {
        let query = sql::query(select_some())
            .bind(order_id)
            .fetch_all(self.database.pool());
        let rows = self.database.read(query).await?;
        let total = match rows.first() {
            Some(row) => row.get::<i64>(COLUMN_COUNT)?,
            None => 0,
        };
        let mut events: Vec<OrderEvent> = rows.iter().map(rows::read).collect::<Result<_, _>>()?;
        // Read again by a version that keeps topics' ids.
        let known = events.clone();
        events.retain(|event| !known.iter().any(|other| event.is_again(other)));
        let again = known.len() - events.len();
        let conflicts = self.conflicts(&events).await?;
        Ok(OrderEvents {
            events,
            total: usize::try_from(total).map_or(usize::MAX, |total| total.saturating_sub(again)),
            conflicts,
        })
    }

    /// How many records of an order have another content than its first one.
    async fn conflicts(&self, events: &[OrderEvent]) -> Result<usize, sql::Error> {
        let records = events.iter().filter(|event| event.content.is_some());
        let (Some(first), true) = (first_content(events), records.count() > 1) else {
            return Ok(0);
        };
        let Some(content) = &first.content else {
            return Ok(0);
        };
        let query = sql::query(
            "SELECT COUNT(*) FROM order_events WHERE order_id = $1 AND product IS NOT NULL \
             AND NOT (product = $2 AND quantity = $3 AND COALESCE(user_id, '') = $4)",
        )
        .bind(&first.order_id)
        .bind(&content.product)
        .bind(content.quantity)
        .bind(content.user_id.as_deref().unwrap_or_default())
        .fetch_one(self.database.pool());
        let count: i64 = self.database.read(query).await?.get(0)?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// A receiver that changes with every batch this instance commits.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

/// Events that are alike in a partition are shown from both ends, so many of each.
const ALIKE: usize = 10;

/// Alike are those of one status; all words of other systems are one.
fn select_some() -> String {
    let alike = "topic, partition_no, CASE WHEN status IN \
                 ('ACCEPTED', 'CREATED', 'CONFIRMED', 'REJECTED') THEN status ELSE '' END";
    format!(
        "SELECT {COLUMNS}, total FROM (SELECT {COLUMNS}, COUNT(*) OVER () AS total, \
         ROW_NUMBER() OVER (PARTITION BY {alike} ORDER BY record_offset) AS nth, \
         ROW_NUMBER() OVER (PARTITION BY {alike} ORDER BY record_offset DESC) AS nth_last \
         FROM order_events WHERE order_id = $1) AS numbered \
         WHERE nth <= {ALIKE} OR nth_last <= {ALIKE}"
    )
}

struct InsertEvents {
    committed: watch::Sender<u64>,
    /// Says the time that rows are stored at.
    database: Database,
}

impl BatchWrite for InsertEvents {
    type Item = OrderEvent;
    /// Whether the event is a new final status that contradicts the order's first one.
    type Output = bool;

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[OrderEvent],
    ) -> Result<Vec<bool>, sql::Error> {
        // Two instances that insert the same records in different sequence would wait for each other.
        let mut in_order: Vec<&OrderEvent> = items.iter().collect();
        in_order.sort_by_cached_key(|event| place(event));
        let now = self.database.stamp();
        // What is there already changes nothing.
        let inserted = insert(connection, &in_order, now).await?;
        let mut finals: Vec<&str> = items
            .iter()
            .filter(|event| event.status.is_final())
            .map(|event| event.order_id.as_str())
            .collect();
        finals.sort_unstable();
        finals.dedup();
        let mut known: HashMap<String, Vec<OrderEvent>> = HashMap::new();
        for event in finals_of(connection, &finals).await? {
            known.entry(event.order_id.clone()).or_default().push(event);
        }
        let contradicts = |event: &OrderEvent| {
            event.status.is_final()
                && inserted.contains(&place(event))
                && known[&event.order_id]
                    .iter()
                    .any(|other| other.status != event.status && other.precedes(event))
        };
        Ok(items.iter().map(contradicts).collect())
    }

    fn committed(&self) {
        self.committed.send_modify(|count| *count += 1);
    }
}

type Place = (String, i32, i64);

fn place(event: &OrderEvent) -> Place {
    (rows::stored_topic(event), event.partition, event.offset)
}

/// The places of those that were not there.
async fn insert(
    connection: &mut Connection,
    events: &[&OrderEvent],
    now: i64,
) -> Result<HashSet<Place>, sql::Error> {
    let text = format!(
        "INSERT INTO order_events ({COLUMNS}, stored_ms) {{rows}} \
         ON CONFLICT (topic, partition_no, record_offset) DO NOTHING \
         RETURNING topic, partition_no, record_offset"
    );
    let mut insert = sql::batch(text, &INSERTED);
    for event in events {
        let content = event.content.as_ref();
        insert = insert
            .bind(rows::stored_topic(event))
            .bind(i64::from(event.partition))
            .bind(event.offset)
            .bind(&event.order_id)
            .bind(event.status.as_str())
            .bind(event.time)
            .bind(content.map(|content| content.product.as_str()))
            .bind(content.map(|content| content.quantity))
            .bind(content.and_then(|content| content.user_id.as_deref()))
            .bind(event.reason.as_deref())
            .bind(now);
    }
    let rows = insert.fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .collect()
}

async fn finals_of(
    connection: &mut Connection,
    order_ids: &[&str],
) -> Result<Vec<OrderEvent>, sql::Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM order_events \
         WHERE status IN ('CONFIRMED', 'REJECTED') AND order_id IN ({{rows}})"
    );
    let mut select = sql::batch(text, &[Type::Text]);
    for id in order_ids {
        select = select.bind(*id);
    }
    let rows = select.fetch_all(connection).await?;
    rows.iter().map(rows::read).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use service::config::{DatabaseConfig, Secret};
    use service::db::{DatabaseKind, Migration};
    use testkit::database::OwnDatabase;

    use super::super::order_state::{EventStatus, OrderContent, OrderState};
    use super::super::schema::RETENTION;
    use super::*;
    use crate::schema::MIGRATIONS;

    const DAY: i64 = 86_400_000;
    const MONTH: Duration = Duration::from_secs(30 * 86_400);

    fn database(own: &OwnDatabase, migrations: &'static [Migration]) -> Database {
        let config = DatabaseConfig {
            kind: match own.url.starts_with("sqlite:") {
                true => DatabaseKind::Sqlite,
                false => DatabaseKind::Postgres,
            },
            url: Secret::new(own.url.clone()),
            pool_size: 2,
        };
        Database::new(&config, migrations).unwrap()
    }

    fn events(id: &str, offset: i64, time: i64) -> [OrderEvent; 2] {
        let order = OrderEvent {
            topic: "order_topic".to_owned(),
            topic_id: None,
            partition: 0,
            offset,
            order_id: id.to_owned(),
            status: EventStatus::Accepted,
            time,
            reason: None,
            content: Some(OrderContent {
                product: "Laptop".to_owned(),
                quantity: 1,
                user_id: None,
            }),
        };
        let status = OrderEvent {
            topic: "order_status_topic".to_owned(),
            status: EventStatus::Confirmed,
            time: proto::now_millis(),
            content: None,
            ..order.clone()
        };
        [order, status]
    }

    #[tokio::test]
    async fn orders_go_whole_by_when_they_were_stored() {
        let own = OwnDatabase::new().await;
        let database = database(&own, &MIGRATIONS);
        database.migrate().await.unwrap();
        let store = ViewStore::new(database.clone(), &Metrics::new());
        let now = database.now();
        // Of 1970, in seconds, of 40 days ago, of now, and of the year 58879.
        let times = [0, now / 1_000, now - 40 * DAY, now, now * 1_000];
        for (number, time) in (0..).zip(times) {
            for event in events(&number.to_string(), number, time) {
                store.add(event).await.unwrap();
            }
        }
        assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 0);
        for number in 0..5 {
            let events = store.events_of(&number.to_string()).await.unwrap();
            assert_eq!(events.events.len(), 2, "order {number}");
        }
        // Stored long ago, but for one row of the first.
        let age = "UPDATE order_events SET stored_ms = stored_ms - $1 \
                   WHERE order_id <> '0' OR status = 'ACCEPTED'";
        let age = sql::query(age).bind(31 * DAY);
        age.execute(database.pool()).await.unwrap();
        assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 8);
        let events = store.events_of("0").await.unwrap();
        let state = serde_json::to_value(OrderState::of(events)).unwrap();
        assert_eq!(
            (&state["product"], &state["quantity"]),
            (&"Laptop".into(), &1.into())
        );
    }

    #[tokio::test]
    async fn of_many_events_that_are_alike_the_first_and_the_last_are_read() {
        const MANY: usize = 3 * ALIKE;
        let own = OwnDatabase::new().await;
        let database = database(&own, &MIGRATIONS);
        database.migrate().await.unwrap();
        let store = ViewStore::new(database.clone(), &Metrics::new());
        for offset in 0..MANY {
            for event in events("7", offset as i64, 10) {
                store.add(event).await.unwrap();
            }
        }
        let read = store.events_of("7").await.unwrap();
        assert_eq!(read.total, 2 * MANY);
        for topic in ["order_topic", "order_status_topic"] {
            let of_topic = read.events.iter().filter(|event| event.topic == topic);
            let mut offsets: Vec<usize> = of_topic.map(|event| event.offset as usize).collect();
            offsets.sort();
            let ends: Vec<usize> = (0..ALIKE).chain(MANY - ALIKE..MANY).collect();
            assert_eq!(offsets, ends, "{topic}");
        }
    }

    #[tokio::test]
    async fn a_database_of_before_goes_on_and_an_old_instance_beside_it() {
        let own = OwnDatabase::new().await;
        let before = database(&own, &MIGRATIONS[..5]);
        before.migrate().await.unwrap();
        let old_insert = async |offset: i64, id: &str, time: i64| {
            let text = format!(
                "INSERT INTO order_events ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                 ON CONFLICT (topic, partition_no, record_offset) DO NOTHING"
            );
            let query = sql::query(text)
                .bind("order_topic")
                .bind(0_i64)
                .bind(offset)
                .bind(id)
                .bind("ACCEPTED")
                .bind(time)
                .bind("Laptop")
                .bind(1_i64)
                .bind(None::<&str>)
                .bind(None::<&str>);
            query.execute(before.pool()).await.unwrap();
        };
        let now = proto::now_millis();
        old_insert(0, "old", now - 40 * DAY).await;
        old_insert(1, "new", now).await;
        let database = database(&own, &MIGRATIONS);
        database.migrate().await.unwrap();
        old_insert(2, "beside", now).await;
        // As before, by what is known of its time.
        assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 1);
        let store = ViewStore::new(database.clone(), &Metrics::new());
        // The same record once more, by an instance that keeps ids; and another one at the same place.
        let id = kafka::TopicId::from_u128(7);
        for order in ["new", "other"] {
            let [event, _] = events(order, 1, now);
            let topic_id = if order == "new" {
                id
            } else {
                kafka::TopicId::from_u128(8)
            };
            store.add(OrderEvent { topic_id, ..event }).await.unwrap();
        }
        for order in ["new", "other", "beside"] {
            let found = store.events_of(order).await.unwrap().events;
            assert_eq!(found.len(), 1, "{order}: {found:?}");
            assert_eq!(found[0].topic, "order_topic");
        }
        assert_eq!(store.events_of("new").await.unwrap().events[0].topic_id, id);
        let missing = "SELECT COUNT(*) FROM order_events WHERE stored_ms IS NULL";
        let missing = sql::query(missing).fetch_value::<i64>(database.pool());
        assert_eq!(missing.await.unwrap(), 0);
    }
}
