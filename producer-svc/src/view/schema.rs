use service::db::Migration;

/// One row an event, identified by where it lies in Kafka: a record handled twice is one row.
pub(crate) static MIGRATIONS: [Migration; 1] = [Migration {
    version: 1,
    name: "order events",
    sqlite: ORDER_EVENTS,
    postgres: ORDER_EVENTS,
}];

const ORDER_EVENTS: &str = "\
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
