use std::collections::{HashMap, HashSet};

use service::db::{BatchWrite, Database};
use sql::{Batch, Connection, Type};

use super::figures::{BookFigures, SystemFigures};
use super::rows::{BOOK_COLUMN_TYPES, BOOK_COLUMNS, SYSTEM_COLUMNS};

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
        connection: &mut Connection,
        items: &[StoredAggregate],
    ) -> Result<Vec<()>, sql::Error> {
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
        let inserted = insert_books(connection, &books, now).await?;
        let newest = newest_of_each(
            books
                .iter()
                .filter(|(id, _)| inserted.contains(*id))
                .map(|(_, figures)| *figures),
        );
        replace_older(connection, &newest).await?;
        insert_systems(connection, &systems, now).await?;
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

/// The ids of those that were not there.
async fn insert_books(
    connection: &mut Connection,
    books: &[(&str, &BookFigures)],
    now: i64,
) -> Result<HashSet<String>, sql::Error> {
    const COLUMNS: [Type; 2 + BOOK_COLUMN_TYPES.len()] = {
        use Type::{Bigint, Double, Text};
        [
            Text, Bigint, Bigint, Bigint, Bigint, Bigint, Bigint, Bigint, Text, Bigint, Bigint,
            Double, Bigint,
        ]
    };
    let text = format!(
        "INSERT INTO book_analytics (event_id, {BOOK_COLUMNS}, stored_ms) {{rows}} \
         ON CONFLICT (event_id) DO NOTHING RETURNING event_id"
    );
    let mut insert = sql::batch(text, &COLUMNS);
    for (id, figures) in books {
        insert = bound(insert.bind(*id), figures)?.bind(now);
    }
    let rows = insert.fetch_all(connection).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn replace_older(
    connection: &mut Connection,
    books: &[&BookFigures],
) -> Result<(), sql::Error> {
    let text = format!(
        "INSERT INTO book_analytics_newest ({BOOK_COLUMNS}) {{rows}} \
         ON CONFLICT (book_id) DO UPDATE SET \
         generated_ms = excluded.generated_ms, partition_no = excluded.partition_no, \
         record_offset = excluded.record_offset, views = excluded.views, \
         downloads = excluded.downloads, purchases = excluded.purchases, \
         revenue = excluded.revenue, reviews = excluded.reviews, ratings = excluded.ratings, \
         average_rating = excluded.average_rating \
         WHERE (excluded.generated_ms, excluded.partition_no, excluded.record_offset) \
         > (book_analytics_newest.generated_ms, book_analytics_newest.partition_no, \
         book_analytics_newest.record_offset)"
    );
    let mut insert = sql::batch(text, &BOOK_COLUMN_TYPES);
    for figures in books {
        insert = bound(insert, figures)?;
    }
    insert.execute(connection).await?;
    Ok(())
}

/// `batch` with the values of [`BOOK_COLUMNS`].
fn bound(batch: Batch, book: &BookFigures) -> Result<Batch, sql::Error> {
    let figures = &book.figures;
    let revenue = serde_json::to_string(&figures.revenue);
    Ok(batch
        .bind(book.book_id)
        .bind(book.generated.time)
        .bind(i64::from(book.generated.partition))
        .bind(book.generated.offset)
        .bind(figures.views)
        .bind(figures.downloads)
        .bind(figures.purchases)
        .bind(revenue.map_err(|error| sql::Error::Encode(error.into()))?)
        .bind(figures.reviews)
        .bind(figures.ratings)
        .bind(figures.average_rating))
}

async fn insert_systems(
    connection: &mut Connection,
    all: &[(&str, SystemType, &SystemFigures)],
    now: i64,
) -> Result<(), sql::Error> {
    let text = format!(
        "INSERT INTO system_analytics (event_id, aggregation_type, {SYSTEM_COLUMNS}, stored_ms) {{rows}} \
         ON CONFLICT (event_id) DO NOTHING"
    );
    let mut query = sql::batch(text, &{
        use Type::{Bigint, Text};
        [Text, Text, Bigint, Bigint, Bigint, Text, Bigint]
    });
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
        let rows = sql::query(stored).fetch_all(&mut tx).await.unwrap();
        let stored: Vec<Option<f64>> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(stored, averages);
    }
}
