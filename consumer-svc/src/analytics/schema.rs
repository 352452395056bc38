/// The tables of the statistics, on either database.
pub(crate) const TABLES: &str = "\
CREATE TABLE analytics_partitions (
    topic TEXT NOT NULL,
    partition_no BIGINT NOT NULL,
    turn BIGINT NOT NULL,
    writes BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition_no)
);
CREATE TABLE analytics_books (
    topic TEXT NOT NULL,
    partition_no BIGINT NOT NULL,
    book_id BIGINT NOT NULL,
    currency TEXT NOT NULL,
    kind BIGINT NOT NULL,
    events BIGINT NOT NULL DEFAULT 0,
    amount BIGINT NOT NULL DEFAULT 0,
    changed BIGINT NOT NULL DEFAULT 1,
    published BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition_no, book_id, currency)
);
CREATE INDEX analytics_books_by_book ON analytics_books (book_id);
CREATE INDEX analytics_books_changed ON analytics_books (book_id) WHERE changed > published;
CREATE TABLE analytics_ratings (
    book_id BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    stars BIGINT NOT NULL,
    earlier BIGINT,
    PRIMARY KEY (book_id, user_id)
);
CREATE TABLE analytics_events (
    kind BIGINT NOT NULL,
    id_high BIGINT NOT NULL,
    id_low BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (kind, id_high, id_low)
);
CREATE INDEX analytics_events_seen ON analytics_events (seen_at);
CREATE TABLE analytics_clock (
    id BIGINT PRIMARY KEY,
    generated_at BIGINT NOT NULL
);
INSERT INTO analytics_clock (id, generated_at) VALUES (1, 0);
";

/// With an offset goes the leader epoch of the record before it.
pub(crate) const LEADER_EPOCHS: &str = "\
ALTER TABLE analytics_partitions ADD COLUMN leader_epoch BIGINT NOT NULL DEFAULT -1;
";

/// With an offset goes the id of the topic that it is of; empty = not known.
pub(crate) const TOPIC_IDS: &str = "\
ALTER TABLE analytics_partitions ADD COLUMN topic_id TEXT NOT NULL DEFAULT '';
";

/// The positions in topics that had the name before: up to where each partition of theirs is in the figures. Whoever
/// reads one of them again goes on there.
pub(crate) const EARLIER_TOPICS: &str = "\
CREATE TABLE analytics_earlier_topics (
    topic TEXT NOT NULL,
    partition_no BIGINT NOT NULL,
    topic_id TEXT NOT NULL,
    next_offset BIGINT NOT NULL,
    leader_epoch BIGINT NOT NULL,
    PRIMARY KEY (topic, partition_no, topic_id)
);
";
