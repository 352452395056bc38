use std::collections::{HashMap, HashSet};

use service::db::{
    BatchWrite, Database, GroupWriter, GroupWriterConfig, WriteError, filled_up, placeholders,
};
use service::metrics::{Counter, Metrics};
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use tokio::sync::watch;

use super::order_state::OrderEvent;
use super::rows::{self, COLUMN_COUNT, COLUMNS};

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
        let insert = InsertEvents { committed };
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

    /// All events of one order.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn events_of(&self, order_id: &str) -> Result<Vec<OrderEvent>, sqlx::Error> {
        let query = format!("SELECT {COLUMNS} FROM order_events WHERE order_id = $1");
        let rows = sqlx::query(AssertSqlSafe(query))
            .bind(order_id)
            .fetch_all(self.database.pool());
        self.database
            .read(rows)
            .await?
            .iter()
            .map(rows::read)
            .collect()
    }

    /// A receiver that changes with every batch this instance commits.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

struct InsertEvents {
    committed: watch::Sender<u64>,
}

impl BatchWrite for InsertEvents {
    type Item = OrderEvent;
    /// Whether the event is a new final status that contradicts the order's first one.
    type Output = bool;

    async fn write(
        &self,
        connection: &mut AnyConnection,
        items: &[OrderEvent],
    ) -> Result<Vec<bool>, sqlx::Error> {
        let mut inserted = HashSet::new();
        // Two instances that insert the same records in different sequence would wait for each other.
        let mut in_order: Vec<&OrderEvent> = items.iter().collect();
        in_order.sort_by_key(|event| (&event.topic, event.partition, event.offset));
        for chunk in in_order.chunks(STATEMENT) {
            // What is there already changes nothing.
            insert(connection, &filled_up(chunk), &mut inserted).await?;
        }
        let mut finals: Vec<&str> = items
            .iter()
            .filter(|event| event.status.is_final())
            .map(|event| event.order_id.as_str())
            .collect();
        finals.sort_unstable();
        finals.dedup();
        let mut known: HashMap<String, Vec<OrderEvent>> = HashMap::new();
        for chunk in finals.chunks(STATEMENT) {
            for event in finals_of(connection, &filled_up(chunk)).await? {
                known.entry(event.order_id.clone()).or_default().push(event);
            }
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
    (event.topic.clone(), event.partition, event.offset)
}

/// Most rows of a statement: as many as of a transaction, since each statement costs an answer of
/// the server. Far from the limit of 32,766 parameters (SQLite).
const STATEMENT: usize = 512;

async fn insert(
    connection: &mut AnyConnection,
    events: &[&OrderEvent],
    inserted: &mut HashSet<Place>,
) -> Result<(), sqlx::Error> {
    let text = format!(
        "INSERT INTO order_events ({COLUMNS}) VALUES {} \
         ON CONFLICT (topic, partition_no, record_offset) DO NOTHING \
         RETURNING topic, partition_no, record_offset",
        placeholders(events.len(), COLUMN_COUNT)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for event in events {
        let content = event.content.as_ref();
        query = query
            .bind(&event.topic)
            .bind(i64::from(event.partition))
            .bind(event.offset)
            .bind(&event.order_id)
            .bind(event.status.as_str())
            .bind(event.time)
            .bind(content.map(|content| content.product.as_str()))
            .bind(content.map(|content| content.quantity))
            .bind(content.and_then(|content| content.user_id.as_deref()))
            .bind(event.reason.as_deref());
    }
    for row in query.fetch_all(connection).await? {
        let partition = i32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(-1);
        inserted.insert((row.try_get(0)?, partition, row.try_get(2)?));
    }
    Ok(())
}

async fn finals_of(
    connection: &mut AnyConnection,
    order_ids: &[&str],
) -> Result<Vec<OrderEvent>, sqlx::Error> {
    let text = format!(
        "SELECT {COLUMNS} FROM order_events \
         WHERE status IN ('CONFIRMED', 'REJECTED') AND order_id IN {}",
        placeholders(1, order_ids.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for id in order_ids {
        query = query.bind(*id);
    }
    query
        .fetch_all(connection)
        .await?
        .iter()
        .map(rows::read)
        .collect()
}
