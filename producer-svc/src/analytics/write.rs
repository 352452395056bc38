use std::collections::{HashMap, HashSet};

use service::db::{BatchWrite, Database, filled_up, placeholders, powers_of_two, statement_rows};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row};

use super::figures::{BookFigures, SystemFigures};
use super::rows::{BOOK_COLUMN_COUNT, BOOK_COLUMNS, SYSTEM_COLUMNS};

/// An aggregate as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredAggregate {
    /// Its identity.
    pub(super) event_id: String,
    pub(super) figures: StoredFigures,
}

#[derive(Clone, Debug)]
pub(super) enum StoredFigures {
    Book(BookFigures),
    System(SystemType, SystemFigures),
}

/// The aggregates of the whole bookstore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemType {
    Overview,
    Popular,
}

impl SystemType {
    /// The contract's `aggregationType`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "SYSTEM_OVERVIEW",
            Self::Popular => "POPULAR_BOOKS",
        }
    }
}

/// Inserts aggregates, and brings up to date what is newest of each book.
pub(super) struct StoreAggregates {
    /// Says the time that rows are stored at.
    pub(super) database: Database,
}

impl BatchWrite for StoreAggregates {
    type Item = StoredAggregate;
    type Output = ();

    async fn write(
        &self,
        connection: &mut AnyConnection,
        items: &[StoredAggregate],
    ) -> Result<Vec<()>, sqlx::Error> {
        let (mut books, mut systems) = (Vec::new(), Vec::new());
        for item in items {
            match &item.figures {
                StoredFigures::Book(figures) => books.push((item.event_id.as_str(), figures)),
                StoredFigures::System(kind, figures) => {
                    systems.push((item.event_id.as_str(), *kind, figures));
                }
            }
        }
        // Two instances that write the same rows in different sequence would wait for each other.
        books.sort_by_key(|(id, book)| (*id, book.generated));
        books.dedup_by_key(|(id, _)| *id);
        systems.sort_by_key(|(id, _, figures)| (*id, figures.generated));
        let now = self.database.stamp();
        let mut inserted = HashSet::new();
        let rows = statement_rows(connection);
        for chunk in books.chunks(rows) {
            insert_books(connection, &filled_up(chunk), now, &mut inserted).await?;
        }
        let newest = newest_of_each(
            books
                .iter()
                .filter(|(id, _)| inserted.contains(*id))
                .map(|(_, figures)| *figures),
        );
        for chunk in powers_of_two(&newest, rows) {
            replace_older(connection, chunk).await?;
        }
        for chunk in systems.chunks(rows) {
            insert_systems(connection, &filled_up(chunk), now).await?;
        }
        Ok(vec![(); items.len()])
    }
}

/// One a book, in the order of their ids.
fn newest_of_each<'a>(all: impl Iterator<Item = &'a BookFigures>) -> Vec<&'a BookFigures> {
    let mut newest: HashMap<i64, &BookFigures> = HashMap::new();
    for figures in all {
        let known = newest.entry(figures.book_id).or_insert(figures);
        if figures.generated > known.generated {
            *known = figures;
        }
    }
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_by_key(|figures| figures.book_id);
    newest
}

async fn insert_books(
    connection: &mut AnyConnection,
    books: &[(&str, &BookFigures)],
    now: i64,
    inserted: &mut HashSet<String>,
) -> Result<(), sqlx::Error> {
    let text = format!(
        "INSERT INTO book_analytics (event_id, {BOOK_COLUMNS}, stored_ms) VALUES {} \
         ON CONFLICT (event_id) DO NOTHING RETURNING event_id",
        placeholders(books.len(), 2 + BOOK_COLUMN_COUNT)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for (id, figures) in books {
        query = bound(query.bind(*id), figures)?.bind(now);
    }
    for row in query.fetch_all(connection).await? {
        inserted.insert(row.try_get(0)?);
    }
    Ok(())
}

async fn replace_older(
    connection: &mut AnyConnection,
    books: &[&BookFigures],
) -> Result<(), sqlx::Error> {
    let text = format!(
        "INSERT INTO book_analytics_newest ({BOOK_COLUMNS}) VALUES {} \
         ON CONFLICT (book_id) DO UPDATE SET \
         generated_ms = excluded.generated_ms, partition_no = excluded.partition_no, \
         record_offset = excluded.record_offset, views = excluded.views, \
         downloads = excluded.downloads, purchases = excluded.purchases, \
         revenue = excluded.revenue, reviews = excluded.reviews, ratings = excluded.ratings, \
         average_rating = excluded.average_rating \
         WHERE (excluded.generated_ms, excluded.partition_no, excluded.record_offset) \
         > (book_analytics_newest.generated_ms, book_analytics_newest.partition_no, \
         book_analytics_newest.record_offset)",
        placeholders(books.len(), BOOK_COLUMN_COUNT)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for figures in books {
        query = bound(query, figures)?;
    }
    query.execute(connection).await?;
    Ok(())
}

type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// `query` with the values of [`BOOK_COLUMNS`]. It is prepared each time: sqlx 0.9 tells PostgreSQL that a null
/// average is a float of four bytes (`AnyArguments::convert_into`), and a statement that is kept refuses the eight of
/// the next one.
fn bound<'q>(query: AnyQuery<'q>, book: &BookFigures) -> Result<AnyQuery<'q>, sqlx::Error> {
    let figures = &book.figures;
    let revenue = serde_json::to_string(&figures.revenue);
    Ok(query
        .bind(book.book_id)
        .bind(book.generated.time)
        .bind(i64::from(book.generated.partition))
        .bind(book.generated.offset)
        .bind(figures.views)
        .bind(figures.downloads)
        .bind(figures.purchases)
        .bind(revenue.map_err(|error| sqlx::Error::Encode(error.into()))?)
        .bind(figures.reviews)
        .bind(figures.ratings)
        .bind(figures.average_rating)
        .persistent(false))
}

async fn insert_systems(
    connection: &mut AnyConnection,
    all: &[(&str, SystemType, &SystemFigures)],
    now: i64,
) -> Result<(), sqlx::Error> {
    let text = format!(
        "INSERT INTO system_analytics (event_id, aggregation_type, {SYSTEM_COLUMNS}, stored_ms) VALUES {} \
         ON CONFLICT (event_id) DO NOTHING",
        placeholders(all.len(), 7)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for (id, kind, figures) in all {
        query = query
            .bind(*id)
            .bind(kind.as_str())
            .bind(figures.generated.time)
            .bind(i64::from(figures.generated.partition))
            .bind(figures.generated.offset)
            .bind(figures.data.as_str())
            .bind(now);
    }
    query.execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use service::config::{DatabaseConfig, Secret};
    use service::db::DatabaseKind;
    use testkit::database::OwnDatabase;

    use super::super::figures::{Figures, Generated};
    use super::*;
    use crate::schema::MIGRATIONS;

    fn book(book_id: i64, average_rating: Option<f64>) -> StoredAggregate {
        let generated = Generated {
            time: 5,
            partition: 0,
            offset: book_id,
        };
        let figures = Figures {
            average_rating,
            ..Figures::default()
        };
        StoredAggregate {
            event_id: book_id.to_string(),
            figures: StoredFigures::Book(BookFigures {
                book_id,
                generated,
                figures,
            }),
        }
    }

    #[tokio::test]
    async fn a_book_without_a_rating_is_stored_beside_those_with_one() {
        let own = OwnDatabase::new().await;
        let config = DatabaseConfig {
            kind: match own.url.starts_with("sqlite:") {
                true => DatabaseKind::Sqlite,
                false => DatabaseKind::Postgres,
            },
            url: Secret::new(own.url.clone()),
            pool_size: 1,
        };
        let database = Database::new(&config, &MIGRATIONS).unwrap();
        database.migrate().await.unwrap();
        // Statements of one text, on one connection.
        let store = StoreAggregates {
            database: database.clone(),
        };
        let mut tx = database.begin_write().await.unwrap();
        let averages = [None, Some(4.33), None];
        for (book_id, average) in (1..).zip(averages) {
            let items = [book(book_id, average)];
            store.write(&mut tx, &items).await.unwrap();
        }
        let stored = "SELECT average_rating FROM book_analytics_newest ORDER BY book_id";
        let stored = sqlx::query_scalar::<_, Option<f64>>(stored);
        assert_eq!(stored.fetch_all(&mut *tx).await.unwrap(), averages);
    }
}
