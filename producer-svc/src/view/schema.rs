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

pub(crate) const RETENTION: Retention = Retention {
    what: "events of the order view",
    variable: "ORDER_VIEW_RETENTION",
    delete: "DELETE FROM order_events WHERE (topic, partition_no, record_offset) IN ( \
             SELECT topic, partition_no, record_offset FROM order_events \
             WHERE event_ms < $1 ORDER BY event_ms LIMIT $2)",
};
