//! The table of log records.

use proto::Rfc3339;
use serde_json::{Map, Value};
use service::db::{BatchWrite, Database, Retention};
use sql::{Connection, Row, Type};

use super::record::{Level, LogRecord};

/// Kept by the record's place in the topic, and its time: a topic made anew has the same places.
pub const LOGS: &str = "
CREATE TABLE logs (
    topic_partition BIGINT NOT NULL,
    topic_offset BIGINT NOT NULL,
    logged_at BIGINT NOT NULL,
    service TEXT NOT NULL,
    severity BIGINT NOT NULL,
    logger TEXT,
    message TEXT NOT NULL,
    error TEXT,
    trace_id TEXT,
    labels TEXT NOT NULL,
    PRIMARY KEY (topic_partition, topic_offset, logged_at)
);
CREATE INDEX logs_by_time ON logs (logged_at, topic_partition, topic_offset);
CREATE INDEX logs_by_service ON logs (service, logged_at, topic_partition, topic_offset);
";

/// A way to the grave ones, which are few and far apart.
pub const GRAVE_LOGS: &str = "\
CREATE INDEX logs_grave ON logs (logged_at, topic_partition, topic_offset) WHERE severity >= 4;
";

/// Log records go when they are old.
pub const RETENTION: Retention = Retention {
    what: "log records",
    variable: "LOG_RETENTION",
    delete: "DELETE FROM logs WHERE (topic_partition, topic_offset, logged_at) IN \
             (SELECT topic_partition, topic_offset, logged_at FROM logs \
             WHERE stored_at < $1 ORDER BY stored_at LIMIT $2)",
    mend: &["UPDATE logs SET stored_at = CASE \
             WHEN stored_at IS NULL AND logged_at < $1 THEN logged_at ELSE $1 END \
             WHERE (topic_partition, topic_offset, logged_at) IN \
             (SELECT topic_partition, topic_offset, logged_at FROM logs \
             WHERE stored_at IS NULL OR stored_at > $2 LIMIT $3)"],
};

/// When a row was stored, which decides when it goes: `logged_at` is what the record says. PostgreSQL fills it in for
/// instances of an earlier version; what is null is mended by [`RETENTION`]. SQLite can do without: there is one
/// instance.
pub const STORED_SQLITE: &str = "\
ALTER TABLE logs ADD COLUMN stored_at BIGINT;
CREATE INDEX logs_by_stored ON logs (stored_at);
";

/// The same on PostgreSQL.
pub const STORED_POSTGRES: &str = "\
ALTER TABLE logs ADD COLUMN stored_at BIGINT;
ALTER TABLE logs ALTER COLUMN stored_at
    SET DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT);
CREATE INDEX logs_by_stored ON logs (stored_at);
";

/// A log record and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLog {
    pub partition: i32,
    pub offset: i64,
    pub log: LogRecord,
}

impl StoredLog {
    /// Where the page after this row begins.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            time: self.log.time,
            partition: i64::from(self.partition),
            offset: self.offset,
        }
    }

    /// As the API shows it: the fields of the Elastic Common Schema.
    pub fn shown(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| {
            if !value.is_null() {
                fields.insert(name.to_owned(), value);
            }
        };
        let log = &self.log;
        put(
            "@timestamp",
            Rfc3339::from_millis(log.time).to_string().into(),
        );
        put("log.level", level_name(log.level).into());
        put("service.name", log.service.as_str().into());
        put("message", log.message.as_str().into());
        put("log.logger", log.logger.clone().into());
        put("error.message", log.error.clone().into());
        put("trace.id", log.trace_id.clone().into());
        put(
            "labels",
            serde_json::from_str(&log.labels).unwrap_or(Value::Null),
        );
        Value::Object(fields)
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// A place among the rows, newest first: time, partition, offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub time: i64,
    pub partition: i64,
    pub offset: i64,
}

impl Cursor {
    /// Before everything.
    pub const NEWEST: Self = Self {
        time: i64::MAX,
        partition: i64::MAX,
        offset: i64::MAX,
    };

    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.splitn(3, '.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            time: next()?,
            partition: next()?,
            offset: next()?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.time, self.partition, self.offset)
    }
}

/// Which records are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    pub service: Option<String>,
    /// This level and graver ones.
    pub level: Level,
    /// Milliseconds since 1970.
    pub since: i64,
    /// Older than this one.
    pub before: Cursor,
    /// Most rows.
    pub limit: u32,
}

/// Stores log records, each place once.
#[derive(Debug, Clone)]
pub struct LogWrite {
    /// Says the time that rows are stored at.
    pub database: Database,
}

const COLUMNS: [Type; 11] = {
    use Type::{Bigint, Text};
    [
        Bigint, Bigint, Bigint, Text, Bigint, Text, Text, Text, Text, Text, Bigint,
    ]
};

impl BatchWrite for LogWrite {
    type Item = StoredLog;
    type Output = ();

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[StoredLog],
    ) -> Result<Vec<()>, sql::Error> {
        // Two instances that insert the same rows in different sequence would wait for each other.
        let mut in_order: Vec<&StoredLog> = items.iter().collect();
        in_order.sort_by_key(|item| (item.partition, item.offset));
        let now = self.database.stamp();
        let mut insert = sql::batch(
            "INSERT INTO logs (topic_partition, topic_offset, logged_at, service, severity, \
             logger, message, error, trace_id, labels, stored_at) {rows} ON CONFLICT DO NOTHING",
            &COLUMNS,
        );
        for item in in_order {
            let log = &item.log;
            insert = insert
                .bind(i64::from(item.partition))
                .bind(item.offset)
                .bind(log.time)
                .bind(&log.service)
                .bind(log.level as i64)
                .bind(log.logger.as_deref())
                .bind(&log.message)
                .bind(log.error.as_deref())
                .bind(log.trace_id.as_deref())
                .bind(&log.labels)
                .bind(now);
        }
        insert.execute(connection).await?;
        Ok(vec![(); items.len()])
    }
}

/// The newest records that `filter` asks for, newest first.
pub async fn list(database: &Database, filter: &LogFilter) -> Result<Vec<StoredLog>, sql::Error> {
    let of_service = if filter.service.is_some() {
        "AND service = $7"
    } else {
        ""
    };
    // Said as the index of the grave ones says it: they are few, and far apart.
    let grave = match filter.level {
        Level::Warn | Level::Error => "AND severity >= 4",
        _ => "",
    };
    let select = format!(
        "SELECT topic_partition, topic_offset, logged_at, service, severity, logger, message, \
         error, trace_id, labels FROM logs WHERE logged_at >= $1 AND severity >= $2 \
         AND (logged_at, topic_partition, topic_offset) < ($3, $4, $5) {of_service} {grave} \
         ORDER BY logged_at DESC, topic_partition DESC, topic_offset DESC LIMIT $6"
    );
    let mut query = sql::query(select)
        .bind(filter.since)
        .bind(filter.level as i64)
        .bind(filter.before.time)
        .bind(filter.before.partition)
        .bind(filter.before.offset)
        .bind(i64::from(filter.limit));
    if let Some(service) = &filter.service {
        query = query.bind(service);
    }
    let rows = database.read(query.fetch_all(database.pool())).await?;
    rows.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<StoredLog, sql::Error> {
    let level = match row.get::<i64>(4)? {
        1 => Level::Trace,
        2 => Level::Debug,
        3 => Level::Info,
        4 => Level::Warn,
        _ => Level::Error,
    };
    Ok(StoredLog {
        partition: row.get(0)?,
        offset: row.get(1)?,
        log: LogRecord {
            time: row.get(2)?,
            service: row.get(3)?,
            level,
            logger: row.get(5)?,
            message: row.get(6)?,
            error: row.get(7)?,
            trace_id: row.get(8)?,
            labels: row.get(9)?,
        },
    })
}
