//! The statistics' tables: what is claimed and written of partitions.

use std::collections::{BTreeMap, HashSet};

use kafka::{TopicId, TopicPartition};
use proto::{BookEventKind, Currency, MAX_AMOUNT};
use service::db::{BatchWrite, Database, Retention};
use sql::{Connection, Row, Type};
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

/// A partition that an instance wants.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) place: TopicPartition,
    /// The id of the topic, where it is known.
    pub(super) topic_id: Option<TopicId>,
    /// Whether it is claimed also where the figures are of a topic with another id.
    pub(super) certain: bool,
}

/// What became of a [`Wanted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Claimed(Claim),
    /// Nothing was changed: the figures are of a topic with another id.
    OfAnother,
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
    ) -> Result<Answer, sql::Error> {
        let wanted = Wanted {
            place: place.clone(),
            topic_id,
            certain: true,
        };
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                let claim = claim_in(&mut tx, &wanted).await?;
                tx.commit().await?;
                Ok(claim)
            })
            .await
    }

    /// Notes that a partition is read from here on, as one of the topic with this id. Answers up to where that topic is
    /// in the figures: `offset`, where nothing of it was; `None` if the claim is over.
    ///
    /// # Errors
    /// The database's. It may be noted nevertheless, and the same again is right.
    pub(super) async fn begin(
        &self,
        place: &TopicPartition,
        epoch: i64,
        topic_id: Option<TopicId>,
        offset: i64,
    ) -> Result<Option<Position>, sql::Error> {
        self.database
            .write(async {
                let mut tx = self.database.begin_write().await?;
                // Locks the row.
                let row = sql::query(
                    "UPDATE analytics_partitions SET turn = turn \
                     WHERE topic = $1 AND partition_no = $2 AND turn = $3 \
                     RETURNING next_offset, leader_epoch, topic_id",
                )
                .bind(&*place.topic)
                .bind(i64::from(place.partition))
                .bind(epoch)
                .fetch_optional(&mut *tx)
                .await?;
                let Some(row) = row else {
                    return Ok(None);
                };
                let was = Counted::read(&row, 0)?;
                let mut is = was.turned_to(&mut tx, place, topic_id).await?;
                if is.next.offset < 0 {
                    is.next = Position::at(offset);
                }
                if is != was {
                    is.store(&mut tx, place).await?;
                }
                tx.commit().await?;
                Ok(Some(is.next))
            })
            .await
    }

    /// Writes all batches in one transaction, but for those whose claim is over.
    ///
    /// # Errors
    /// The database's. It may have been written nevertheless; the same again is then known.
    pub(super) async fn write(&self, batches: &[Batch]) -> Result<Written, sql::Error> {
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

/// Up to where a partition is in the figures, as its row has it.
///
/// Invariant: of each id that the topic has had, one position is kept, in the row or among the earlier ones, and it moves
/// in the transaction that counts the records before it. So no order in which instances learn of an id makes anything
/// count twice: one that still takes an earlier topic for the present one goes on behind what was counted of that one,
/// and finds the present one's position where it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    /// An offset below 0 is [`NOT_READ`] or [`RECREATED`].
    next: Position,
    topic_id: Option<TopicId>,
}

impl Counted {
    /// Reads the columns `next_offset, leader_epoch, topic_id`; `first` is the number of the first of them.
    fn read(row: &Row, first: usize) -> Result<Self, sql::Error> {
        let leader_epoch: i64 = row.get(first + 1)?;
        let topic_id: String = row.get(first + 2)?;
        Ok(Self {
            next: Position {
                offset: row.get(first)?,
                leader_epoch: i32::try_from(leader_epoch).unwrap_or(-1),
            },
            topic_id: topic_id.parse().ok(),
        })
    }

    /// What is known of the topic with this id. The position of the one that it was until now is kept.
    async fn turned_to(
        &self,
        tx: &mut Connection,
        place: &TopicPartition,
        topic_id: Option<TopicId>,
    ) -> Result<Self, sql::Error> {
        if !TopicId::differ(self.topic_id, topic_id) {
            return Ok(Self {
                next: self.next,
                topic_id: topic_id.or(self.topic_id),
            });
        }
        if self.next.offset >= 0 {
            sql::query(
                "INSERT INTO analytics_earlier_topics \
                 (topic, partition_no, topic_id, next_offset, leader_epoch) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (topic, partition_no, topic_id) \
                 DO UPDATE SET next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch",
            )
            .bind(&*place.topic)
            .bind(i64::from(place.partition))
            .bind(stored(self.topic_id))
            .bind(self.next.offset)
            .bind(i64::from(self.next.leader_epoch))
            .execute(&mut *tx)
            .await?;
        }
        let known = sql::query(
            "DELETE FROM analytics_earlier_topics \
             WHERE topic = $1 AND partition_no = $2 AND topic_id = $3 \
             RETURNING next_offset, leader_epoch, topic_id",
        )
        .bind(&*place.topic)
        .bind(i64::from(place.partition))
        .bind(stored(topic_id))
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(known) = known {
            return Self::read(&known, 0);
        }
        Ok(Self {
            next: match self.next.offset {
                NOT_READ => self.next,
                _ => Position::at(RECREATED),
            },
            topic_id,
        })
    }

    /// Writes the row.
    async fn store(&self, tx: &mut Connection, place: &TopicPartition) -> Result<(), sql::Error> {
        sql::query(
            "UPDATE analytics_partitions SET next_offset = $1, leader_epoch = $2, topic_id = $3 \
             WHERE topic = $4 AND partition_no = $5",
        )
        .bind(self.next.offset)
        .bind(i64::from(self.next.leader_epoch))
        .bind(stored(self.topic_id))
        .bind(&*place.topic)
        .bind(i64::from(place.partition))
        .execute(&mut *tx)
        .await?;
        Ok(())
    }
}

/// Claims partitions, all that were assigned together in one transaction: each of its own would cost a start as many
/// forced writes as there are partitions.
#[derive(Debug)]
pub(super) struct Claims;

impl BatchWrite for Claims {
    type Item = Wanted;
    type Output = Answer;

    async fn write(
        &self,
        connection: &mut Connection,
        wanted: &[Wanted],
    ) -> Result<Vec<Answer>, sql::Error> {
        // In everybody's order of locks.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|at| &wanted[*at].place);
        let mut answers = Vec::with_capacity(wanted.len());
        for at in order {
            answers.push((at, claim_in(connection, &wanted[at]).await?));
        }
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }
}

/// Takes the partition: from now on nobody who claimed it before writes any more. What is doubted claims nothing, and
/// fences nobody.
async fn claim_in(connection: &mut Connection, wanted: &Wanted) -> Result<Answer, sql::Error> {
    let Wanted {
        place, topic_id, ..
    } = wanted;
    let row = sql::query(
        "INSERT INTO analytics_partitions \
         (topic, partition_no, turn, writes, next_offset, topic_id) \
         VALUES ($1, $2, 1, 0, $3, $4) ON CONFLICT (topic, partition_no) \
         DO UPDATE SET turn = analytics_partitions.turn + 1, writes = 0 \
         WHERE $5 = 1 OR analytics_partitions.topic_id IN ('', excluded.topic_id) OR excluded.topic_id = '' \
         RETURNING turn, next_offset, leader_epoch, topic_id",
    )
    .bind(&*place.topic)
    .bind(i64::from(place.partition))
    .bind(NOT_READ)
    .bind(stored(*topic_id))
    .bind(i64::from(wanted.certain))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(Answer::OfAnother);
    };
    let was = Counted::read(&row, 1)?;
    let is = was.turned_to(connection, place, *topic_id).await?;
    if is != was {
        is.store(connection, place).await?;
    }
    Ok(Answer::Claimed(Claim {
        epoch: row.get(0)?,
        next: (is.next.offset >= 0).then_some(is.next),
        recreated: is.next.offset == RECREATED,
        topic_id: is.topic_id,
    }))
}

/// Locks are taken in one order by everybody: partitions, ids, ratings, books, each by their keys.
async fn write_in(tx: &mut Connection, batches: &[Batch], now: i64) -> Result<Written, sql::Error> {
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
        add(tx, batch, &lines).await?;
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

async fn advance(tx: &mut Connection, batch: &Batch) -> Result<Advance, sql::Error> {
    let (topic, partition) = (&*batch.place.topic, i64::from(batch.place.partition));
    let moved = sql::query(
        "UPDATE analytics_partitions SET next_offset = $1, leader_epoch = $2, writes = writes + 1, \
         topic_id = CASE WHEN $7 = '' THEN topic_id ELSE $7 END \
         WHERE topic = $3 AND partition_no = $4 AND turn = $5 AND writes = $6 \
         AND ($7 = '' OR topic_id IN ('', $7))",
    )
    .bind(batch.next.offset)
    .bind(i64::from(batch.next.leader_epoch))
    .bind(topic)
    .bind(partition)
    .bind(batch.epoch)
    .bind(batch.write)
    .bind(stored(batch.topic_id))
    .execute(&mut *tx)
    .await?;
    if moved == 1 {
        return Ok(Advance::Held);
    }
    let known = sql::query(
        "SELECT writes FROM analytics_partitions WHERE topic = $1 AND partition_no = $2 AND turn = $3",
    )
    .bind(topic)
    .bind(partition)
    .bind(batch.epoch)
    .fetch_optional(&mut *tx)
    .await?;
    match known {
        Some(row) if row.get::<i64>(0)? == batch.write + 1 => Ok(Advance::Known),
        _ => Ok(Advance::Fenced),
    }
}

/// The ids that were not there.
async fn insert_ids<'f>(
    tx: &mut Connection,
    kind: BookEventKind,
    facts: impl Iterator<Item = &'f Fact>,
    now: i64,
) -> Result<HashSet<Uuid>, sql::Error> {
    let mut ids: Vec<Uuid> = facts.filter_map(|fact| fact.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut fresh = HashSet::with_capacity(ids.len());
    let mut insert = sql::batch(
        "INSERT INTO analytics_events (kind, id_high, id_low, seen_at) {rows} \
         ON CONFLICT (kind, id_high, id_low) DO NOTHING RETURNING id_high, id_low",
        &[Type::Bigint; 4],
    );
    for id in &ids {
        let (high, low) = id.as_u64_pair();
        insert = insert
            .bind(number(kind))
            .bind(high.cast_signed())
            .bind(low.cast_signed())
            .bind(now);
    }
    for row in insert.fetch_all(tx).await? {
        let (high, low): (i64, i64) = (row.get(0)?, row.get(1)?);
        fresh.insert(Uuid::from_u64_pair(
            high.cast_unsigned(),
            low.cast_unsigned(),
        ));
    }
    Ok(fresh)
}

/// Stores the ratings and adds to the tally what they change.
async fn rate(tx: &mut Connection, tally: &mut Tally) -> Result<(), sql::Error> {
    let mut insert = sql::batch(
        "INSERT INTO analytics_ratings (book_id, user_id, stars) {rows} \
         ON CONFLICT (book_id, user_id) DO UPDATE SET \
         earlier = analytics_ratings.stars, stars = excluded.stars \
         RETURNING book_id, stars, earlier",
        &[Type::Bigint, Type::Text, Type::Bigint],
    );
    for ((book, user), stars) in &tally.ratings {
        insert = insert.bind(*book).bind(&**user).bind(*stars);
    }
    for row in insert.fetch_all(tx).await? {
        tally.rated(row.get(0)?, row.get(1)?, row.get(2)?);
    }
    Ok(())
}

async fn add(
    tx: &mut Connection,
    batch: &Batch,
    lines: &[(&(i64, Option<Currency>), &Added)],
) -> Result<(), sql::Error> {
    let text = format!(
        "INSERT INTO analytics_books (topic, partition_no, book_id, currency, kind, events, amount) \
         {{rows}} ON CONFLICT (topic, partition_no, book_id, currency) DO UPDATE SET \
         events = analytics_books.events + excluded.events, \
         amount = CASE WHEN analytics_books.amount > {MAX_AMOUNT} - excluded.amount \
         THEN {MAX_AMOUNT} ELSE analytics_books.amount + excluded.amount END, \
         changed = analytics_books.changed + 1"
    );
    let mut query = sql::batch(text, &{
        use Type::{Bigint, Text};
        [Text, Bigint, Bigint, Text, Bigint, Bigint, Bigint]
    });
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
