use crate::db::Retention;

/// What has been published goes when it is old.
pub const RETENTION: Retention = Retention {
    what: "published events",
    variable: "OUTBOX_RETENTION",
    delete: "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox \
             WHERE published_at < $1 ORDER BY published_at LIMIT $2)",
    mend: &["UPDATE outbox SET published_at = $1 WHERE id IN \
             (SELECT id FROM outbox WHERE published_at > $2 LIMIT $3)"],
};

/// With a place in Kafka goes the id of the topic that it is in; empty or null = not known. A step of a service's
/// migrations, on either database.
pub const TOPIC_IDS: &str = "\
ALTER TABLE outbox ADD COLUMN topic_id TEXT;
";

/// The tables of the outbox on SQLite, as a step of a service's migrations.
pub const SQLITE: &str = "\
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    record_key TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    published_at BIGINT,
    partition_no BIGINT,
    record_offset BIGINT
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_by_key ON outbox (record_key, id);
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE TABLE outbox_lease (
    id BIGINT PRIMARY KEY,
    holder TEXT NOT NULL,
    turn BIGINT NOT NULL,
    beat BIGINT NOT NULL
);
INSERT INTO outbox_lease (id, holder, turn, beat) VALUES (1, '', 0, 0);
";

/// The same on PostgreSQL.
pub const POSTGRES: &str = "\
CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic TEXT NOT NULL,
    record_key TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    published_at BIGINT,
    partition_no BIGINT,
    record_offset BIGINT
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_by_key ON outbox (record_key, id);
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE TABLE outbox_lease (
    id BIGINT PRIMARY KEY,
    holder TEXT NOT NULL,
    turn BIGINT NOT NULL,
    beat BIGINT NOT NULL
);
INSERT INTO outbox_lease (id, holder, turn, beat) VALUES (1, '', 0, 0);
";
