//! What the stored figures of all instances come to.

use std::collections::BTreeMap;

use kafka::TopicPartition;
use proto::{AggregateData, Average, BookEventKind, Currency, Figures, MAX_AMOUNT, PopularBook};
use sql::{Connection, Type};

use super::fact::{kind_of, number};
use super::store::Store;

/// How far ahead of now the last round may have been, in milliseconds: a day.
const AHEAD: i64 = 24 * 60 * 60 * 1_000;

/// Books of one page.
pub(super) const PAGE: usize = 256;

/// A book that has changed since it was published.
#[derive(Debug)]
pub(super) struct ChangedBook {
    pub(super) book_id: i64,
    pub(super) figures: Figures,
    /// The lines that it was made of.
    pub(super) lines: Vec<Line>,
}

/// A line of the figures, as it was read.
#[derive(Debug, Clone)]
pub(super) struct Line {
    topic: String,
    partition: i64,
    book_id: i64,
    currency: String,
    kind: i64,
    changed: i64,
}

impl Store {
    /// A time for what is read from now on: later than any before, whatever the instances' clocks say, but for one that
    /// was far ahead: that is not gone on from. `None`: `epoch` is not the last claim on `place` any more.
    pub(super) async fn next_time(
        &self,
        place: &TopicPartition,
        epoch: i64,
    ) -> Result<Option<i64>, sql::Error> {
        let now = self.database.now();
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                let time = sql::query(
                    "UPDATE analytics_clock SET generated_at = \
                     CASE WHEN generated_at >= $1 AND generated_at <= $2 \
                     THEN generated_at + 1 ELSE $1 END \
                     WHERE id = 1 RETURNING generated_at",
                )
                .bind(now)
                .bind(now.saturating_add(AHEAD))
                .fetch_one(&mut *tx)
                .await?
                .get(0)?;
                let held = is_last_claim(&mut tx, place, epoch).await?;
                tx.commit().await?;
                Ok(held.then_some(time))
            })
            .await
    }

    /// Whether `epoch` is still the last claim on `place`.
    pub(super) async fn holds(
        &self,
        place: &TopicPartition,
        epoch: i64,
    ) -> Result<bool, sql::Error> {
        let asking = async {
            let mut connection = self.database.pool().acquire().await?;
            is_last_claim(&mut connection, place, epoch).await
        };
        self.database.read(asking).await
    }

    /// SYSTEM_OVERVIEW.
    pub(super) async fn overview(&self) -> Result<AggregateData, sql::Error> {
        // One statement, and so one state of the tables. Sums of money in two parts, as they may be beyond 64 bits.
        let query = sql::query(
            "SELECT CAST(-1 AS BIGINT), '', CAST(COUNT(DISTINCT book_id) AS BIGINT), \
             CAST(0 AS BIGINT), CAST(0 AS BIGINT) FROM analytics_books \
             UNION ALL SELECT kind, currency, CAST(SUM(events) AS BIGINT), \
             CAST(SUM(amount / 1000000) AS BIGINT), CAST(SUM(amount % 1000000) AS BIGINT) \
             FROM analytics_books GROUP BY kind, currency",
        )
        .fetch_all(self.database.pool());
        let mut books = 0;
        let mut sums = Sums::default();
        for row in self.database.read_at_length(query).await? {
            let (kind, events): (i64, i64) = (row.get(0)?, row.get(2)?);
            let Some(kind) = kind_of(kind) else {
                books = events;
                continue;
            };
            let (millions, rest): (i64, i64) = (row.get(3)?, row.get(4)?);
            let amount = i128::from(millions) * 1_000_000 + i128::from(rest);
            let currency: String = row.get(1)?;
            sums.add(kind, &currency, events, amount);
        }
        Ok(AggregateData::SystemOverview {
            books,
            figures: sums.figures(),
        })
    }

    /// POPULAR_BOOKS: the first `top`.
    pub(super) async fn popular(&self, top: i64) -> Result<AggregateData, sql::Error> {
        let query = sql::query(
            "SELECT book_id, CAST(SUM(CASE kind WHEN 0 THEN events ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE kind WHEN 1 THEN events ELSE 0 END) AS BIGINT), \
             CAST(SUM(CASE kind WHEN 2 THEN events ELSE 0 END) AS BIGINT) \
             FROM analytics_books GROUP BY book_id ORDER BY \
             SUM(CASE kind WHEN 0 THEN events WHEN 1 THEN 3 * events WHEN 2 THEN 5 * events ELSE 0 END) DESC, \
             book_id LIMIT $1",
        )
        .bind(top)
        .fetch_all(self.database.pool());
        let mut books = Vec::new();
        for (row, rank) in self
            .database
            .read_at_length(query)
            .await?
            .into_iter()
            .zip(1..)
        {
            let [views, downloads, purchases]: [i64; 3] = [row.get(1)?, row.get(2)?, row.get(3)?];
            books.push(PopularBook {
                rank,
                book_id: row.get(0)?,
                score: PopularBook::score_of(views, downloads, purchases),
                views,
                downloads,
                purchases,
            });
        }
        Ok(AggregateData::PopularBooks(books))
    }

    /// The next books above `after` that have changed since they were published, at most [`PAGE`].
    pub(super) async fn changed(&self, after: i64) -> Result<Vec<ChangedBook>, sql::Error> {
        let query = sql::query(
            "SELECT topic, partition_no, book_id, currency, kind, events, amount, changed \
             FROM analytics_books WHERE book_id IN (SELECT DISTINCT book_id FROM analytics_books \
             WHERE changed > published AND book_id > $1 ORDER BY book_id LIMIT $2)",
        )
        .bind(after)
        .bind(PAGE as i64)
        .fetch_all(self.database.pool());
        let mut books: BTreeMap<i64, (Sums, Vec<Line>)> = BTreeMap::new();
        for row in self.database.read_at_length(query).await? {
            let line = Line {
                topic: row.get(0)?,
                partition: row.get(1)?,
                book_id: row.get(2)?,
                currency: row.get(3)?,
                kind: row.get(4)?,
                changed: row.get(7)?,
            };
            let (events, amount): (i64, i64) = (row.get(5)?, row.get(6)?);
            let (sums, lines) = books.entry(line.book_id).or_default();
            if let Some(kind) = kind_of(line.kind) {
                sums.add(kind, &line.currency, events, i128::from(amount));
            }
            lines.push(line);
        }
        let book = |(book_id, (sums, lines)): (i64, (Sums, Vec<Line>))| ChangedBook {
            book_id,
            figures: sums.figures(),
            lines,
        };
        Ok(books.into_iter().map(book).collect())
    }

    /// These lines are published as they were read.
    pub(super) async fn published(&self, mut lines: Vec<Line>) -> Result<(), sql::Error> {
        // In the order in which others lock them.
        lines.sort_by(|one, other| one.key().cmp(&other.key()));
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                mark(&mut tx, &lines).await?;
                tx.commit().await
            })
            .await
    }
}

impl Line {
    fn key(&self) -> (&str, i64, i64, &str) {
        (&self.topic, self.partition, self.book_id, &self.currency)
    }
}

async fn is_last_claim(
    connection: &mut Connection,
    place: &TopicPartition,
    epoch: i64,
) -> Result<bool, sql::Error> {
    let found = sql::query(
        "SELECT turn FROM analytics_partitions WHERE topic = $1 AND partition_no = $2 AND turn = $3",
    )
    .bind(&*place.topic)
    .bind(i64::from(place.partition))
    .bind(epoch)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// The lines are all there: nothing is inserted.
async fn mark(tx: &mut Connection, lines: &[Line]) -> Result<(), sql::Error> {
    let mut query = sql::batch(
        "INSERT INTO analytics_books (topic, partition_no, book_id, currency, kind, published) \
         {rows} ON CONFLICT (topic, partition_no, book_id, currency) DO UPDATE SET \
         published = excluded.published WHERE analytics_books.published < excluded.published",
        &{
            use Type::{Bigint, Text};
            [Text, Bigint, Bigint, Text, Bigint, Bigint]
        },
    );
    for line in lines {
        query = query
            .bind(&line.topic)
            .bind(line.partition)
            .bind(line.book_id)
            .bind(&line.currency)
            .bind(line.kind)
            .bind(line.changed);
    }
    query.execute(tx).await?;
    Ok(())
}

/// Lines added up. Money stands still at [`MAX_AMOUNT`].
#[derive(Debug, Default)]
struct Sums {
    /// By [`number`].
    events: [i64; 5],
    revenue: BTreeMap<Currency, i128>,
    stars: i128,
}

impl Sums {
    fn add(&mut self, kind: BookEventKind, currency: &str, events: i64, amount: i128) {
        let sum = &mut self.events[number(kind) as usize];
        *sum = sum.saturating_add(events);
        match (kind, Currency::parse(currency)) {
            (BookEventKind::Purchased, Some(currency)) => {
                *self.revenue.entry(currency).or_default() += amount;
            }
            (BookEventKind::Rated, _) => self.stars += amount,
            _ => {}
        }
    }

    fn figures(self) -> Figures {
        let capped = |amount: i128| amount.clamp(0, i128::from(MAX_AMOUNT)) as i64;
        let [views, downloads, purchases, reviews, ratings] = self.events;
        Figures {
            views,
            downloads,
            purchases,
            revenue: self
                .revenue
                .into_iter()
                .map(|(currency, amount)| (currency, capped(amount)))
                .collect(),
            reviews,
            ratings,
            average_rating: Average::of(capped(self.stars), ratings),
        }
    }
}
