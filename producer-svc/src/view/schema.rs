use service::db::Retention;

/// One row an event, identified by where it lies in Kafka: a record handled twice is one row.
pub(crate) const ORDER_EVENTS: &str = "\
CREATE TABLE order_events (
    topic TEXT NOT NULL,
    partition_no BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    order_id TEXT NOT NULL,
    status TEXT NOT NULL,
    event_ms BIGINT NOT NULL,
    product TEXT,
    quantity BIGINT,
    user_id TEXT,
    reason TEXT,
    PRIMARY KEY (topic, partition_no, record_offset)
);
CREATE INDEX order_events_by_order ON order_events (order_id);
CREATE INDEX order_events_by_time ON order_events (event_ms);
";

/// Whole orders: one goes when the newest of its rows is old enough, with all of them.
pub(crate) const RETENTION: Retention = Retention {
    what: "events of the order view",
    variable: "ORDER_VIEW_RETENTION",
    delete: "DELETE FROM order_events WHERE order_id IN ( \
             SELECT order_id FROM order_events AS old WHERE stored_ms < $1 AND NOT EXISTS ( \
             SELECT 1 FROM order_events AS newer WHERE newer.order_id = old.order_id \
             AND (newer.stored_ms IS NULL OR newer.stored_ms >= $1)) \
             ORDER BY stored_ms LIMIT $2)",
    mend: &["UPDATE order_events SET stored_ms = CASE \
             WHEN stored_ms IS NULL AND event_ms < $1 THEN event_ms ELSE $1 END \
             WHERE (topic, partition_no, record_offset) IN ( \
             SELECT topic, partition_no, record_offset FROM order_events \
             WHERE stored_ms IS NULL OR stored_ms > $2 LIMIT $3)"],
};

/// When a row was stored, which decides when it goes: `event_ms` is what the record says. PostgreSQL fills it in for
/// instances of an earlier version; what is null is mended by [`RETENTION`]. SQLite can do without: there is one
/// instance.
pub(crate) const STORED_SQLITE: &str = "\
ALTER TABLE order_events ADD COLUMN stored_ms BIGINT;
CREATE INDEX order_events_by_stored ON order_events (stored_ms);
DROP INDEX order_events_by_time;
";

/// The same on PostgreSQL.
pub(crate) const STORED_POSTGRES: &str = "\
ALTER TABLE order_events ADD COLUMN stored_ms BIGINT;
ALTER TABLE order_events ALTER COLUMN stored_ms
    SET DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT);
CREATE INDEX order_events_by_stored ON order_events (stored_ms);
DROP INDEX order_events_by_time;
";
