use service::db::Retention;

/// A row for each aggregate that came, by its identity: one that comes again is the row that is
/// there. Of each book's rows the one with the greatest (time, partition, offset) holds its figures;
/// `book_analytics_newest` has it once more, so that all books can be listed.
pub(crate) const TABLES: &str = "\
CREATE TABLE book_analytics (
    event_id TEXT NOT NULL PRIMARY KEY,
    book_id BIGINT NOT NULL,
    generated_ms BIGINT NOT NULL,
    partition_no BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    views BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    purchases BIGINT NOT NULL,
    revenue TEXT NOT NULL,
    reviews BIGINT NOT NULL,
    ratings BIGINT NOT NULL,
    average_rating DOUBLE PRECISION
);
CREATE INDEX book_analytics_by_book
    ON book_analytics (book_id, generated_ms, partition_no, record_offset);
CREATE INDEX book_analytics_by_time ON book_analytics (generated_ms);
CREATE TABLE book_analytics_newest (
    book_id BIGINT NOT NULL PRIMARY KEY,
    generated_ms BIGINT NOT NULL,
    partition_no BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    views BIGINT NOT NULL,
    downloads BIGINT NOT NULL,
    purchases BIGINT NOT NULL,
    revenue TEXT NOT NULL,
    reviews BIGINT NOT NULL,
    ratings BIGINT NOT NULL,
    average_rating DOUBLE PRECISION
);
CREATE TABLE system_analytics (
    event_id TEXT NOT NULL PRIMARY KEY,
    aggregation_type TEXT NOT NULL,
    generated_ms BIGINT NOT NULL,
    partition_no BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX system_analytics_by_type
    ON system_analytics (aggregation_type, generated_ms, partition_no, record_offset);
CREATE INDEX system_analytics_by_time ON system_analytics (generated_ms);
";

/// The newest row of each book stays.
pub(crate) const BOOK_RETENTION: Retention = Retention {
    what: "figures of books",
    variable: "ANALYTICS_RETENTION",
    delete: "DELETE FROM book_analytics WHERE event_id IN ( \
             SELECT event_id FROM book_analytics AS old \
             WHERE stored_ms < $1 AND EXISTS ( \
             SELECT 1 FROM book_analytics AS newer WHERE newer.book_id = old.book_id \
             AND (newer.generated_ms, newer.partition_no, newer.record_offset) \
             > (old.generated_ms, old.partition_no, old.record_offset)) \
             ORDER BY stored_ms LIMIT $2)",
    mend: &[
        "UPDATE book_analytics SET stored_ms = CASE \
         WHEN stored_ms IS NULL AND generated_ms < $1 THEN generated_ms ELSE $1 END, \
         generated_ms = CASE WHEN generated_ms > $2 THEN $1 ELSE generated_ms END \
         WHERE event_id IN (SELECT event_id FROM book_analytics \
         WHERE stored_ms IS NULL OR stored_ms > $2 OR generated_ms > $2 LIMIT $3)",
        "UPDATE book_analytics_newest SET generated_ms = $1 WHERE book_id IN ( \
         SELECT book_id FROM book_analytics_newest WHERE generated_ms > $2 LIMIT $3)",
    ],
};

/// The newest row of each type stays.
pub(crate) const SYSTEM_RETENTION: Retention = Retention {
    what: "figures of the whole bookstore",
    variable: "ANALYTICS_RETENTION",
    delete: "DELETE FROM system_analytics WHERE event_id IN ( \
             SELECT event_id FROM system_analytics AS old \
             WHERE stored_ms < $1 AND EXISTS ( \
             SELECT 1 FROM system_analytics AS newer \
             WHERE newer.aggregation_type = old.aggregation_type \
             AND (newer.generated_ms, newer.partition_no, newer.record_offset) \
             > (old.generated_ms, old.partition_no, old.record_offset)) \
             ORDER BY stored_ms LIMIT $2)",
    mend: &["UPDATE system_analytics SET stored_ms = CASE \
             WHEN stored_ms IS NULL AND generated_ms < $1 THEN generated_ms ELSE $1 END, \
             generated_ms = CASE WHEN generated_ms > $2 THEN $1 ELSE generated_ms END \
             WHERE event_id IN (SELECT event_id FROM system_analytics \
             WHERE stored_ms IS NULL OR stored_ms > $2 OR generated_ms > $2 LIMIT $3)"],
};

/// When a row was stored, which decides when it goes. See `order_events`.
pub(crate) const STORED_SQLITE: &str = "\
ALTER TABLE book_analytics ADD COLUMN stored_ms BIGINT;
CREATE INDEX book_analytics_by_stored ON book_analytics (stored_ms);
ALTER TABLE system_analytics ADD COLUMN stored_ms BIGINT;
CREATE INDEX system_analytics_by_stored ON system_analytics (stored_ms);
";

/// The same on PostgreSQL.
pub(crate) const STORED_POSTGRES: &str = "\
ALTER TABLE book_analytics ADD COLUMN stored_ms BIGINT;
ALTER TABLE book_analytics ALTER COLUMN stored_ms
    SET DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT);
CREATE INDEX book_analytics_by_stored ON book_analytics (stored_ms);
ALTER TABLE system_analytics ADD COLUMN stored_ms BIGINT;
ALTER TABLE system_analytics ALTER COLUMN stored_ms
    SET DEFAULT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT);
CREATE INDEX system_analytics_by_stored ON system_analytics (stored_ms);
";
