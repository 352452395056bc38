//! The statistics' tables: what is claimed and written of partitions.

use std::collections::{BTreeMap, HashSet};

use kafka::{TopicId, TopicPartition};
use proto::{BookEventKind, Currency, MAX_AMOUNT};
use service::db::{BatchWrite, Database, Retention, filled_up, placeholders, powers_of_two};
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use uuid::Uuid;

use super::fact::{Fact, number};
use super::tally::{Added, Tally};

/// Events are known again for so long.
pub(crate) const DEDUP_RETENTION: Retention = Retention {
    what: "ids of book events",
    variable: "ANALYTICS_DEDUP_WINDOW",
    delete: "DELETE FROM analytics_events WHERE (kind, id_high, id_low) IN \
             (SELECT kind, id_high, id_low FROM analytics_events \
             WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)",
    mend: &[
        "UPDATE analytics_events SET seen_at = $1 WHERE (kind, id_high, id_low) IN \
             (SELECT kind, id_high, id_low FROM analytics_events WHERE seen_at > $2 LIMIT $3)",
    ],
};

/// Rows of one statement.
pub(super) const ROWS: usize = 512;

/// A partition as an instance claimed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// Of all instances' claims on it (`turn` in its row). An older one's writes fail.
    pub(super) epoch: i64,
    /// None if nobody ever read a record of it.
    pub(super) next: Option<Position>,
    /// The topic was deleted and created again since somebody read it: nothing of it is in the figures.
    pub(super) recreated: bool,
    /// The id of the topic, as far as it was ever known.
    pub(super) topic_id: Option<TopicId>,
}

/// `next_offset` of a partition that nobody has read a record of: it starts where the group says.
const NOT_READ: i64 = -1;

/// `next_offset` of a partition of a topic that was deleted and created again: it starts at its first record.
const RECREATED: i64 = -2;

/// Up to where a partition is in the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Of the next record.
    pub(super) offset: i64,
    /// The leader epoch of the record before it; -1: not known.
    pub(super) leader_epoch: i32,
}

impl Position {
    /// Where nothing is known of the record before.
    pub(super) fn at(offset: i64) -> Self {
        Self {
            offset,
            leader_epoch: -1,
        }
    }
}

/// What is to be written of one partition.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) place: TopicPartition,
    pub(super) kind: BookEventKind,
    pub(super) epoch: i64,
    pub(super) topic_id: Option<TopicId>,
    /// Writes of this claim before this one: one whose answer was lost is known by it.
    pub(super) write: i64,
    /// Behind these facts.
    pub(super) next: Position,
    /// In the order of the partition.
    pub(super) facts: Vec<Fact>,
}

/// What became of some batches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Of a claim that is not the last one any more: not written.
    pub(super) fenced: Vec<TopicPartition>,
    pub(super) counted: u64,
    pub(super) repeated: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(super) database: Database,
}

impl Store {
    /// Takes the partition, as another instance would.
    #[cfg(test)]
    pub(super) async fn claim(
        &self,
        place: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<Claim, sqlx::Error> {
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                let claim = claim_in(&mut tx, place, topic_id).await?;
                tx.commit().await?;
                Ok(claim)
            })
            .await
    }

    /// Notes where the figures of a partition begin that nobody has read before; `false` if its claim is over.
    ///
    /// # Errors
    /// The database's. It may be noted nevertheless, and the same again is right.
    pub(super) async fn begin(
        &self,
        place: &TopicPartition,
        epoch: i64,
        offset: i64,
    ) -> Result<bool, sqlx::Error> {
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                let noted = sqlx::query(
                    "UPDATE analytics_partitions SET next_offset = $1 \
                     WHERE topic = $2 AND partition_no = $3 AND turn = $4 AND writes = 0",
                )
                .bind(offset)
                .bind(&*place.topic)
                .bind(i64::from(place.partition))
                .bind(epoch)
                .execute(&mut *tx)
                .await?
                .rows_affected();
                tx.commit().await?;
                Ok(noted == 1)
            })
            .await
    }

    /// Writes all batches in one transaction, but for those whose claim is over.
    ///
    /// # Errors
    /// The database's. It may have been written nevertheless; the same again is then known.
    pub(super) async fn write(&self, batches: &[Batch]) -> Result<Written, sqlx::Error> {
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                let written = write_in(&mut tx, batches, self.database.stamp()).await?;
                tx.commit().await?;
                Ok(written)
            })
            .await
    }
}

/// A topic's id as it is stored; empty: not known.
fn stored(topic_id: Option<TopicId>) -> String {
    topic_id.map_or_else(String::new, |id| id.to_string())
}

/// Claims partitions, all that were assigned together in one transaction: each of its own would cost a start as many
/// forced writes as there are partitions.
#[derive(Debug)]
pub(super) struct Claims;

impl BatchWrite for Claims {
    /// With the topic's id, where it is known.
    type Item = (TopicPartition, Option<TopicId>);
    type Output = Claim;

    async fn write(
        &self,
        connection: &mut AnyConnection,
        places: &[(TopicPartition, Option<TopicId>)],
    ) -> Result<Vec<Claim>, sqlx::Error> {
        // In everybody's order of locks.
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|at| &places[*at].0);
        let mut claims = Vec::with_capacity(places.len());
        for at in order {
            let (place, topic_id) = &places[at];
            claims.push((at, claim_in(connection, place, *topic_id).await?));
        }
        claims.sort_by_key(|(at, _)| *at);
        Ok(claims.into_iter().map(|(_, claim)| claim).collect())
    }
}

/// Takes the partition: from now on nobody who claimed it before writes any more. If `topic_id` is another one than the
/// offset is of, the offset goes.
async fn claim_in(
    connection: &mut AnyConnection,
    place: &TopicPartition,
    topic_id: Option<TopicId>,
) -> Result<Claim, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO analytics_partitions \
         (topic, partition_no, turn, writes, next_offset, topic_id) \
         VALUES ($1, $2, 1, 0, $3, $4) ON CONFLICT (topic, partition_no) \
         DO UPDATE SET turn = analytics_partitions.turn + 1, writes = 0, \
         next_offset = CASE WHEN analytics_partitions.next_offset >= 0 \
         AND excluded.topic_id <> '' AND analytics_partitions.topic_id <> '' \
         AND excluded.topic_id <> analytics_partitions.topic_id \
         THEN $5 ELSE analytics_partitions.next_offset END, \
         topic_id = CASE WHEN excluded.topic_id = '' \
         THEN analytics_partitions.topic_id ELSE excluded.topic_id END \
         RETURNING turn, next_offset, leader_epoch, topic_id",
    )
    .bind(&*place.topic)
    .bind(i64::from(place.partition))
    .bind(NOT_READ)
    .bind(stored(topic_id))
    .bind(RECREATED)
    .fetch_one(connection)
    .await?;
    let (offset, leader_epoch): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    let topic_id: String = row.try_get(3)?;
    let next = Position {
        offset,
        leader_epoch: i32::try_from(leader_epoch).unwrap_or(-1),
    };
    Ok(Claim {
        epoch: row.try_get(0)?,
        next: (offset >= 0).then_some(next),
        recreated: offset == RECREATED,
        topic_id: topic_id.parse().ok(),
    })
}

/// Locks are taken in one order by everybody: partitions, ids, ratings, books, each by their keys.
async fn write_in(
    tx: &mut AnyConnection,
    batches: &[Batch],
    now: i64,
) -> Result<Written, sqlx::Error> {
    let mut batches: Vec<&Batch> = batches.iter().collect();
    batches.sort_by(|one, other| one.place.cmp(&other.place));
    let mut written = Written::default();
    let mut held = Vec::new();
    for batch in batches {
        match advance(tx, batch).await? {
            Advance::Held => held.push(batch),
            Advance::Known => {}
            Advance::Fenced => written.fenced.push(batch.place.clone()),
        }
    }
    let mut fresh = BTreeMap::new();
    for kind in BookEventKind::ALL {
        let facts = held
            .iter()
            .filter(|batch| batch.kind == kind)
            .flat_map(|batch| &batch.facts);
        fresh.insert(kind, insert_ids(tx, kind, facts, now).await?);
    }
    let mut tallies = Vec::new();
    for batch in held {
        let fresh = fresh.entry(batch.kind).or_default();
        let tally = Tally::of(&batch.facts, fresh);
        written.counted += tally.counted;
        written.repeated += tally.repeated;
        tallies.push((batch, tally));
    }
    for (_, tally) in &mut tallies {
        rate(tx, tally).await?;
    }
    for (batch, tally) in &tallies {
        let lines: Vec<_> = tally.books.iter().collect();
        for lines in powers_of_two(&lines, ROWS) {
            add(tx, batch, lines).await?;
        }
    }
    Ok(written)
}

enum Advance {
    /// The partition is this claim's, and now at the batch's end.
    Held,
    /// This very write was made before.
    Known,
    /// Somebody has claimed it since.
    Fenced,
}

async fn advance(tx: &mut AnyConnection, batch: &Batch) -> Result<Advance, sqlx::Error> {
    let (topic, partition) = (&*batch.place.topic, i64::from(batch.place.partition));
    let moved = sqlx::query(
        "UPDATE analytics_partitions SET next_offset = $1, leader_epoch = $2, writes = writes + 1, topic_id = $7 \
         WHERE topic = $3 AND partition_no = $4 AND turn = $5 AND writes = $6",
    )
    .bind(batch.next.offset)
    .bind(i64::from(batch.next.leader_epoch))
    .bind(topic)
    .bind(partition)
    .bind(batch.epoch)
    .bind(batch.write)
    .bind(stored(batch.topic_id))
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if moved == 1 {
        return Ok(Advance::Held);
    }
    let known = sqlx::query(
        "SELECT writes FROM analytics_partitions WHERE topic = $1 AND partition_no = $2 AND turn = $3",
    )
    .bind(topic)
    .bind(partition)
    .bind(batch.epoch)
    .fetch_optional(&mut *tx)
    .await?;
    match known {
        Some(row) if row.try_get::<i64, _>(0)? == batch.write + 1 => Ok(Advance::Known),
        _ => Ok(Advance::Fenced),
    }
}

/// The ids that were not there.
async fn insert_ids<'f>(
    tx: &mut AnyConnection,
    kind: BookEventKind,
    facts: impl Iterator<Item = &'f Fact>,
    now: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut ids: Vec<Uuid> = facts.filter_map(|fact| fact.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut fresh = HashSet::with_capacity(ids.len());
    for ids in ids.chunks(ROWS) {
        let ids = filled_up(ids);
        let text = format!(
            "INSERT INTO analytics_events (kind, id_high, id_low, seen_at) VALUES {} \
             ON CONFLICT (kind, id_high, id_low) DO NOTHING RETURNING id_high, id_low",
            placeholders(ids.len(), 4)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for id in &ids {
            let (high, low) = id.as_u64_pair();
            query = query
                .bind(number(kind))
                .bind(high.cast_signed())
                .bind(low.cast_signed())
                .bind(now);
        }
        for row in query.fetch_all(&mut *tx).await? {
            let (high, low): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            fresh.insert(Uuid::from_u64_pair(
                high.cast_unsigned(),
                low.cast_unsigned(),
            ));
        }
    }
    Ok(fresh)
}

/// Stores the ratings and adds to the tally what they change.
async fn rate(tx: &mut AnyConnection, tally: &mut Tally) -> Result<(), sqlx::Error> {
    let ratings: Vec<_> = tally
        .ratings
        .iter()
        .map(|((book, user), stars)| (*book, user.clone(), *stars))
        .collect();
    for ratings in powers_of_two(&ratings, ROWS) {
        let text = format!(
            "INSERT INTO analytics_ratings (book_id, user_id, stars) VALUES {} \
             ON CONFLICT (book_id, user_id) DO UPDATE SET \
             earlier = analytics_ratings.stars, stars = excluded.stars \
             RETURNING book_id, stars, earlier",
            placeholders(ratings.len(), 3)
        );
        let mut query = sqlx::query(AssertSqlSafe(text));
        for (book, user, stars) in ratings {
            query = query.bind(*book).bind(&**user).bind(*stars);
        }
        for row in query.fetch_all(&mut *tx).await? {
            tally.rated(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        }
    }
    Ok(())
}

async fn add(
    tx: &mut AnyConnection,
    batch: &Batch,
    lines: &[(&(i64, Option<Currency>), &Added)],
) -> Result<(), sqlx::Error> {
    let text = format!(
        "INSERT INTO analytics_books (topic, partition_no, book_id, currency, kind, events, amount) \
         VALUES {} ON CONFLICT (topic, partition_no, book_id, currency) DO UPDATE SET \
         events = analytics_books.events + excluded.events, \
         amount = CASE WHEN analytics_books.amount > {MAX_AMOUNT} - excluded.amount \
         THEN {MAX_AMOUNT} ELSE analytics_books.amount + excluded.amount END, \
         changed = analytics_books.changed + 1",
        placeholders(lines.len(), 7)
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for ((book_id, currency), added) in lines {
        query = query
            .bind(&*batch.place.topic)
            .bind(i64::from(batch.place.partition))
            .bind(*book_id)
            .bind(currency.map_or_else(String::new, |currency| currency.to_string()))
            .bind(number(batch.kind))
            .bind(added.events)
            .bind(added.amount);
    }
    query.execute(tx).await?;
    Ok(())
}
