use service::db::{Database, GroupWriter, GroupWriterConfig, WriteError};

use super::books_page::BooksPage;
use super::figures::{BookFigures, SystemFigures};
use super::rows::{BOOK_COLUMNS, SYSTEM_COLUMNS, read_book, read_system};
use super::write::{StoreAggregates, StoredAggregate, SystemType};

/// Writes and reads the bookstore's figures.
#[derive(Clone)]
pub(crate) struct AnalyticsStore {
    database: Database,
    writer: GroupWriter<StoreAggregates>,
}

/// The part of a history that is asked for, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Milliseconds since 1970; nothing from before.
    pub(super) since: i64,
    pub(super) limit: u32,
}

impl AnalyticsStore {
    pub(crate) fn new(database: Database) -> Self {
        let config = GroupWriterConfig::default();
        Self {
            writer: GroupWriter::spawn(
                database.clone(),
                StoreAggregates {
                    database: database.clone(),
                },
                config,
            ),
            database,
        }
    }

    /// Resolves when the aggregate is committed; one that is there already changes nothing.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub(super) async fn add(&self, aggregate: StoredAggregate) -> Result<(), WriteError> {
        self.writer.write(aggregate).await
    }

    /// When the newest aggregate of the whole bookstore was made, in milliseconds since 1970: what
    /// is stored holds what happened until then. None before the first.
    ///
    /// # Errors
    /// The database does not answer; so below.
    pub(super) async fn as_of(&self) -> Result<Option<i64>, sql::Error> {
        let query = sql::query("SELECT MAX(generated_ms) FROM system_analytics")
            .fetch_value(self.database.pool());
        self.database.read(query).await
    }

    /// Aggregates of the whole bookstore, newest first.
    pub(super) async fn system(
        &self,
        kind: SystemType,
        span: Span,
    ) -> Result<Vec<SystemFigures>, sql::Error> {
        let text = format!(
            "SELECT {SYSTEM_COLUMNS} FROM system_analytics \
             WHERE aggregation_type = $1 AND generated_ms >= $2 \
             ORDER BY generated_ms DESC, partition_no DESC, record_offset DESC LIMIT $3"
        );
        let query = sql::query(text)
            .bind(kind.as_str())
            .bind(span.since)
            .bind(i64::from(span.limit))
            .fetch_all(self.database.pool());
        let rows = self.database.read(query).await?;
        rows.iter().map(read_system).collect()
    }

    /// The newest figures of a book.
    pub(super) async fn book(&self, id: i64) -> Result<Option<BookFigures>, sql::Error> {
        let text = format!("SELECT {BOOK_COLUMNS} FROM book_analytics_newest WHERE book_id = $1");
        let query = sql::query(text)
            .bind(id)
            .fetch_optional(self.database.pool());
        let row = self.database.read(query).await?;
        row.as_ref().map(read_book).transpose()
    }

    /// A book's figures over time, newest first.
    pub(super) async fn history(
        &self,
        id: i64,
        span: Span,
    ) -> Result<Vec<BookFigures>, sql::Error> {
        let text = format!(
            "SELECT {BOOK_COLUMNS} FROM book_analytics \
             WHERE book_id = $1 AND generated_ms >= $2 \
             ORDER BY generated_ms DESC, partition_no DESC, record_offset DESC LIMIT $3"
        );
        let query = sql::query(text)
            .bind(id)
            .bind(span.since)
            .bind(i64::from(span.limit))
            .fetch_all(self.database.pool());
        let rows = self.database.read(query).await?;
        rows.iter().map(read_book).collect()
    }

    /// The newest figures of each book of a page, and of one more where there is one.
    pub(super) async fn page(&self, page: &BooksPage) -> Result<Vec<BookFigures>, sql::Error> {
        let mut query = sql::query(page.sql(BOOK_COLUMNS)).bind(page.rows());
        if let Some(after) = &page.after {
            query = query.bind(after.book_id);
            if !page.is_by_id() {
                query = query.bind(after.value);
            }
        }
        let query = query.fetch_all(self.database.pool());
        let rows = self.database.read(query).await?;
        rows.iter().map(read_book).collect()
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }
}
