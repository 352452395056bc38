//! The statistics on a database, without Kafka: claims, lost answers, repeats, sums.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kafka::{NewPartition, PartitionListener, StartAt, TopicId, TopicPartition};
use proto::{AggregateData, Average, BookEventKind, Currency, Figures, identity};
use service::clock::Clock;
use service::config::{DatabaseConfig, Secret};
use service::db::{Database, DatabaseKind, Migration};
use service::metrics::Metrics;
use testkit::database::OwnDatabase;

use super::fact::{Effect, Fact};
use super::keeper::{Keeper, Partitions, Recorded};
use super::metrics::AnalyticsMetrics;
use super::store::{Answer, Batch, Claim, DEDUP_RETENTION, Position, Store};
use crate::schema::MIGRATIONS;

struct World {
    own: OwnDatabase,
    store: Store,
}

impl World {
    async fn new() -> Self {
        Self::on(OwnDatabase::new().await, &MIGRATIONS).await
    }

    async fn on(own: OwnDatabase, migrations: &'static [Migration]) -> Self {
        let config = DatabaseConfig {
            kind: match own.url.starts_with("sqlite:") {
                true => DatabaseKind::Sqlite,
                false => DatabaseKind::Postgres,
            },
            url: Secret::new(own.url.clone()),
            pool_size: 4,
        };
        let database = Database::new(&config, migrations).unwrap();
        database.migrate().await.unwrap();
        Self {
            own,
            store: Store { database },
        }
    }

    /// Another instance.
    fn keeper(&self) -> Arc<Keeper> {
        self.keeper_with(100)
    }

    fn keeper_with(&self, room: usize) -> Arc<Keeper> {
        let kinds: HashMap<_, _> = BookEventKind::ALL
            .into_iter()
            .map(|kind| (kind.plural().to_owned(), kind))
            .collect();
        let metrics = AnalyticsMetrics::new(&Metrics::new());
        Arc::new(Keeper::new(self.store.clone(), kinds, room, metrics))
    }

    async fn figures(&self, book: i64) -> Figures {
        let books = self.store.changed(0).await.unwrap();
        let found = books.into_iter().find(|found| found.book_id == book);
        found.map(|found| found.figures).unwrap_or_default()
    }
}

fn place(kind: BookEventKind, partition: i32) -> TopicPartition {
    TopicPartition::new(kind.plural(), partition)
}

async fn claim(keeper: &Keeper, place: &TopicPartition, committed: Option<i64>) -> StartAt {
    claim_of(keeper, place, None, committed).await
}

/// Of a topic with this id.
async fn claim_of(
    keeper: &Keeper,
    place: &TopicPartition,
    topic_id: Option<TopicId>,
    committed: Option<i64>,
) -> StartAt {
    let new = NewPartition {
        partition: place.clone(),
        topic_id,
        committed,
    };
    match keeper.claim(&new).await {
        Ok(start) => start,
        // The id was looked up again, and is the same.
        Err(doubt) => {
            assert!(doubt.contains("another id"), "{doubt}");
            keeper.claim(&new).await.unwrap()
        }
    }
}

/// That all records here were written in.
const LEADER_EPOCH: i32 = 3;

fn viewed(id: &str, book_id: i64) -> Option<Fact> {
    Some(Fact {
        id: Some(identity::digest(id)),
        book_id,
        effect: Effect::Counts,
    })
}

/// A start behind records of the test's leader epoch.
fn from(offset: i64) -> StartAt {
    StartAt::Offset {
        offset,
        leader_epoch: Some(LEADER_EPOCH),
    }
}

/// A start where nothing is known of the record before.
fn unread(offset: i64) -> StartAt {
    StartAt::Offset {
        offset,
        leader_epoch: None,
    }
}

fn behind(offset: i64) -> Position {
    Position {
        offset: offset + 1,
        leader_epoch: LEADER_EPOCH,
    }
}

fn take(keeper: &Keeper, place: &TopicPartition, offset: i64, fact: Option<Fact>) {
    let epoch = keeper.epoch(place).expect("it is claimed");
    let taken = keeper.record(place, epoch, None, behind(offset), fact);
    assert_eq!(taken, Recorded::Taken);
}

/// A record that is known by its place alone.
async fn take_of(keeper: &Keeper, place: &TopicPartition, topic_id: Option<TopicId>, offset: i64) {
    let epoch = keeper.epoch(place).expect("it is claimed");
    let begun = keeper.begin_at(place, epoch, topic_id, offset);
    begun.await.unwrap();
    let fact = viewed("", 1).map(|fact| Fact { id: None, ..fact });
    let taken = keeper.record(place, epoch, topic_id, behind(offset), fact);
    assert_eq!(taken, Recorded::Taken);
}

#[tokio::test]
async fn a_topic_created_again_is_counted_from_its_first_record_on() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let [first, second, third] = [1, 2, 3].map(TopicId::from_u128);
    let keeper = world.keeper();
    // From before ids were kept, or from a broker without.
    assert_eq!(claim(&keeper, &views, None).await, StartAt::Commit);
    take_of(&keeper, &views, None, 0).await;
    keeper.flush().await.unwrap();
    // The first id that is known is the one of what was counted.
    assert_eq!(claim_of(&keeper, &views, first, Some(1)).await, from(1));
    for offset in 1..5 {
        take_of(&keeper, &views, first, offset).await;
    }
    keeper.flush().await.unwrap();
    assert_eq!(claim_of(&keeper, &views, first, Some(5)).await, from(5));
    assert_eq!(claim(&keeper, &views, Some(5)).await, from(5));
    assert_eq!(world.figures(1).await.views, 5);

    // Another one while nobody was there, again and again until its first record.
    for _ in 0..2 {
        assert_eq!(
            claim_of(&keeper, &views, second, None).await,
            StartAt::First
        );
    }
    let epoch = keeper.epoch(&views).unwrap();
    keeper.begin_at(&views, epoch, second, 0).await.unwrap();
    for offset in 0..7 {
        take_of(&keeper, &views, second, offset).await;
    }
    keeper.flush().await.unwrap();
    assert_eq!(claim_of(&keeper, &views, second, Some(7)).await, from(7));
    assert_eq!(world.figures(1).await.views, 5 + 7);

    // And another one while it is read, beyond the offset that it had.
    take_of(&keeper, &views, second, 7).await;
    take_of(&keeper, &views, third, 9).await;
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 5 + 7 + 2);
    assert_eq!(claim_of(&keeper, &views, third, None).await, from(10));
    assert_eq!(claim_of(&keeper, &views, second, None).await, from(8));
}

#[tokio::test]
async fn who_takes_an_earlier_topic_for_the_present_one_makes_nothing_count_twice() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let [old, new] = [1, 2].map(TopicId::from_u128);
    let (first, second) = (world.keeper(), world.keeper());
    claim_of(&first, &views, old, None).await;
    for offset in 0..5 {
        take_of(&first, &views, old, offset).await;
    }
    // Made again while it is read.
    for offset in 0..7 {
        take_of(&first, &views, new, offset).await;
    }
    first.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 5 + 7);

    // The second has not heard of it: it claims nothing before it has looked the id up again.
    let stale = NewPartition {
        partition: views.clone(),
        topic_id: old,
        committed: Some(7),
    };
    second.claim(&stale).await.unwrap_err();
    take_of(&first, &views, new, 7).await;
    first.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 5 + 8);
    // Nor then: it reads on where the old topic stood, and then all of the new one, by the reset policy.
    assert_eq!(second.claim(&stale).await, Ok(from(5)));
    for offset in 0..10 {
        take_of(&second, &views, new, offset).await;
    }
    second.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 5 + 10);

    // Between the stale claim and the first record of the new topic it dies, again and again.
    let third = world.keeper();
    for _ in 0..2 {
        assert_eq!(claim_of(&third, &views, old, Some(10)).await, from(5));
        assert_eq!(claim_of(&first, &views, new, Some(10)).await, from(10));
    }
    take_of(&first, &views, new, 10).await;
    first.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 5 + 11);
}

#[tokio::test]
async fn what_came_of_the_topic_before_is_written_as_its_own() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let [old, new] = [1, 2].map(TopicId::from_u128);
    let keeper = world.keeper();
    claim_of(&keeper, &views, old, None).await;
    take_of(&keeper, &views, old, 0).await;
    let epoch = keeper.epoch(&views).unwrap();
    // Not begun: nothing of it is taken in.
    assert_eq!(
        keeper.record(&views, epoch, new, behind(9), viewed("", 1)),
        Recorded::Gone
    );
    // Its answer is lost after the old one's was written: the same again is right.
    for _ in 0..2 {
        let begun = world.store.begin(&views, epoch, new, 9).await.unwrap();
        assert_eq!(begun, Some(Position::at(9)));
    }
    // The old one's write comes late, and would stand for the new one's.
    keeper.flush().await.unwrap();
    keeper.fenced().await;
    assert_eq!(world.figures(1).await.views, 0);
    assert_eq!(claim_of(&keeper, &views, new, None).await, unread(9));
}

#[tokio::test]
async fn what_is_committed_and_not_stored_is_read_again_also_where_nothing_ever_was() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let (first, second) = (world.keeper(), world.keeper());
    // As the group's commit says, which another system may have left.
    assert_eq!(claim(&first, &views, Some(5)).await, StartAt::Commit);
    let epoch = first.epoch(&views).unwrap();
    assert!(first.takes().await);
    first.begin_at(&views, epoch, None, 5).await.unwrap();
    // Its answer was lost.
    first.begin_at(&views, epoch, None, 5).await.unwrap();
    take(&first, &views, 5, viewed("a", 1));
    take(&first, &views, 6, viewed("b", 1));
    // The group's commit went on; the first one died.
    assert_eq!(claim(&second, &views, Some(7)).await, unread(5));
    take(&second, &views, 5, viewed("a", 1));
    second.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 1);
    assert_eq!(claim(&second, &views, Some(7)).await, from(6));
    // Without a claim none begins, and hears of it.
    let downloads = place(BookEventKind::Downloaded, 0);
    claim(&first, &downloads, None).await;
    let epoch = first.epoch(&downloads).unwrap();
    claim(&second, &downloads, None).await;
    first.begin_at(&downloads, epoch, None, 3).await.unwrap();
    first.fenced().await;
    assert_eq!(first.epoch(&downloads), None);
}

#[tokio::test]
async fn without_a_beginning_in_the_database_nothing_is_taken_in() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper();
    claim(&keeper, &views, None).await;
    let epoch = keeper.epoch(&views).unwrap();
    world.store.database.pool().close().await;
    assert!(keeper.begin_at(&views, epoch, None, 0).await.is_err());
    assert!(!keeper.takes().await);
}

#[tokio::test]
async fn a_database_from_before_leader_epochs_goes_on_where_it_was() {
    let before = World::on(OwnDatabase::new().await, &MIGRATIONS[..4]).await;
    let row = "INSERT INTO analytics_partitions (topic, partition_no, turn, writes, next_offset) \
               VALUES ('views', 0, 7, 3, 5)";
    let row = sql::query(row).execute(before.store.database.pool());
    row.await.unwrap();
    before.store.database.close().await;
    let world = World::on(before.own, &MIGRATIONS).await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper();
    assert_eq!(claim(&keeper, &views, Some(5)).await, unread(5));
    assert_eq!(keeper.epoch(&views), Some(8));
    take(&keeper, &views, 5, viewed("a", 1));
    keeper.flush().await.unwrap();
    assert_eq!(claim(&keeper, &views, Some(6)).await, from(6));
}

#[tokio::test]
async fn who_is_no_owner_any_more_writes_nothing_and_hears_of_it() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let (first, second) = (world.keeper(), world.keeper());
    assert_eq!(claim(&first, &views, None).await, StartAt::Commit);
    take(&first, &views, 0, viewed("a", 1));
    first.flush().await.unwrap();
    take(&first, &views, 1, viewed("b", 1));
    // The second gets the partition, while the first knows nothing of it.
    assert_eq!(claim(&second, &views, Some(2)).await, from(1));
    first.flush().await.unwrap();
    first.fenced().await;
    assert_eq!(first.epoch(&views), None);
    assert_eq!(world.figures(1).await.views, 1, "nothing of the first's");
    take(&second, &views, 1, viewed("b", 1));
    second.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 2);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_made_twice() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let Answer::Claimed(Claim { epoch, .. }) = world.store.claim(&views, None).await.unwrap()
    else {
        panic!("nobody has it");
    };
    let batch = |write, next, id: &str| Batch {
        place: views.clone(),
        kind: BookEventKind::Viewed,
        epoch,
        topic_id: None,
        write,
        next: Position::at(next),
        facts: [Fact {
            id: None,
            ..viewed(id, 1).unwrap()
        }]
        .into(),
    };
    let first = [batch(0, 1, "a")];
    assert_eq!(world.store.write(&first).await.unwrap().counted, 1);
    let again = world.store.write(&first).await.unwrap();
    assert_eq!((again.counted, again.fenced.len()), (0, 0));
    world.store.write(&[batch(1, 2, "b")]).await.unwrap();
    assert_eq!(world.figures(1).await.views, 2);
    // One that comes after a later one of its own claim is no write of now either.
    assert_eq!(world.store.write(&first).await.unwrap().fenced, [views]);
    assert_eq!(world.figures(1).await.views, 2);
}

#[tokio::test]
async fn partitions_that_go_are_stored_first_and_start_there_again() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 1);
    let keeper = world.keeper();
    claim(&keeper, &views, None).await;
    take(&keeper, &views, 5, viewed("a", 1));
    take(&keeper, &views, 6, None);
    let partitions = Partitions(keeper.clone());
    partitions.revoked(std::slice::from_ref(&views)).await;
    assert_eq!(keeper.epoch(&views), None);
    assert_eq!(world.figures(1).await.views, 1);
    // Behind the group's commit a rejected record may have to be read again; the rest is not counted again.
    assert_eq!(claim(&keeper, &views, Some(4)).await, unread(4));
    for offset in 4..7 {
        take(
            &keeper,
            &views,
            offset,
            viewed(&format!("again {offset}"), 1),
        );
    }
    take(&keeper, &views, 7, viewed("b", 1));
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 2);
    // What is lost is dropped.
    take(&keeper, &views, 8, viewed("c", 1));
    partitions.lost(std::slice::from_ref(&views));
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 2);
    assert_eq!(claim(&keeper, &views, Some(99)).await, from(8));
    // A log that was made anew begins below: those are other records.
    take(&keeper, &views, 8, viewed("d", 1));
    take(&keeper, &views, 0, viewed("e", 1));
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 4);
    // Also where it was made anew while nobody looked: from its offset on, or by its epoch.
    take(&keeper, &views, 9, viewed("f", 1));
    partitions.revoked(std::slice::from_ref(&views)).await;
    assert_eq!(claim(&keeper, &views, Some(10)).await, from(10));
    take(&keeper, &views, 2, viewed("g", 1));
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 6);
    assert_eq!(claim(&keeper, &views, Some(1)).await, unread(1));
    let epoch = keeper.epoch(&views).unwrap();
    take(&keeper, &views, 1, viewed("known", 1));
    let anew = Position {
        offset: 3,
        leader_epoch: LEADER_EPOCH + 1,
    };
    let taken = keeper.record(&views, epoch, None, anew, viewed("h", 1));
    assert_eq!(taken, Recorded::Taken);
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 7);
}

#[tokio::test]
async fn repeats_change_nothing_in_whatever_partition_they_lie() {
    let world = World::new().await;
    let keeper = world.keeper();
    let [zero, one] = [0, 1].map(|partition| place(BookEventKind::Viewed, partition));
    let downloads = place(BookEventKind::Downloaded, 0);
    for place in [&zero, &one, &downloads] {
        claim(&keeper, place, None).await;
    }
    take(&keeper, &zero, 0, viewed("a", 1));
    take(&keeper, &zero, 1, viewed("a", 1));
    take(&keeper, &one, 0, viewed("a", 1));
    // Another kind of event is another event.
    take(&keeper, &downloads, 0, viewed("a", 1));
    keeper.flush().await.unwrap();
    take(&keeper, &one, 1, viewed("a", 1));
    keeper.flush().await.unwrap();
    let figures = world.figures(1).await;
    assert_eq!((figures.views, figures.downloads), (1, 1));
}

#[tokio::test]
async fn figures_add_up_over_kinds_partitions_and_instances() {
    let world = World::new().await;
    let (first, second) = (world.keeper(), world.keeper());
    let [rub, usd] = ["RUB", "USD"].map(|code| Currency::parse(code).unwrap());
    let fact = |book_id, effect| {
        Some(Fact {
            id: None,
            book_id,
            effect,
        })
    };
    let bought = |book_id, currency, amount| fact(book_id, Effect::Earns { currency, amount });
    let rated = |user: Option<&str>, stars| {
        let user = user.map(Box::from);
        fact(7, Effect::Rates { user, stars })
    };
    let purchases = [0, 1].map(|partition| place(BookEventKind::Purchased, partition));
    let ratings = [0, 1].map(|partition| place(BookEventKind::Rated, partition));
    for (keeper, partition) in [(&first, 0), (&second, 1)] {
        claim(keeper, &purchases[partition], None).await;
        claim(keeper, &ratings[partition], None).await;
    }
    let reviews = place(BookEventKind::Reviewed, 0);
    claim(&first, &reviews, None).await;
    take(&first, &reviews, 0, fact(7, Effect::Counts));
    take(&first, &purchases[0], 0, bought(7, rub, 10));
    take(&first, &purchases[0], 1, bought(7, usd, proto::MAX_AMOUNT));
    take(&first, &ratings[0], 0, rated(Some("u"), 1));
    take(&first, &ratings[0], 1, rated(Some("u"), 2));
    take(&first, &ratings[0], 2, rated(None, 4));
    first.flush().await.unwrap();
    take(&first, &purchases[0], 2, bought(7, usd, 1));
    take(&second, &purchases[1], 0, bought(7, rub, 5));
    take(&second, &purchases[1], 1, bought(8, rub, 1));
    // Partitions were added, and the user's ratings lie in another one now.
    take(&second, &ratings[1], 0, rated(Some("u"), 5));
    take(&second, &ratings[1], 1, rated(Some("v"), 5));
    first.flush().await.unwrap();
    second.flush().await.unwrap();
    let expected = Figures {
        purchases: 4,
        revenue: [(rub, 15), (usd, proto::MAX_AMOUNT)].into(),
        reviews: 1,
        ratings: 3,
        average_rating: Average::of(14, 3),
        ..Figures::default()
    };
    assert_eq!(world.figures(7).await, expected);
    let whole = Figures {
        purchases: 5,
        revenue: [(rub, 16), (usd, proto::MAX_AMOUNT)].into(),
        ..expected
    };
    assert_eq!(
        world.store.overview().await.unwrap(),
        AggregateData::SystemOverview {
            books: 2,
            figures: whole
        }
    );
    let AggregateData::PopularBooks(popular) = world.store.popular(1).await.unwrap() else {
        panic!("other data");
    };
    let [first] = popular[..] else {
        panic!("{popular:?}");
    };
    assert_eq!((first.rank, first.book_id, first.score), (1, 7, 20));
}

#[tokio::test]
async fn what_changes_after_it_was_read_stays_marked() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper();
    claim(&keeper, &views, None).await;
    let epoch = keeper.epoch(&views).unwrap();
    for book in 1..=3 {
        take(&keeper, &views, book, viewed(&book.to_string(), book));
    }
    keeper.flush().await.unwrap();
    let read = world.store.changed(0).await.unwrap();
    assert_eq!(read.len(), 3);
    take(&keeper, &views, 4, viewed("4", 2));
    keeper.flush().await.unwrap();
    let lines = read.into_iter().flat_map(|book| book.lines).collect();
    world.store.published(lines).await.unwrap();
    let left = world.store.changed(0).await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|book| (book.book_id, book.figures.views))
        .collect();
    assert_eq!(left, [(2, 2)]);
    // Times grow, whatever the clock says, and only for the last claim.
    let first = world.store.next_time(&views, epoch).await.unwrap().unwrap();
    let second = world.store.next_time(&views, epoch).await.unwrap().unwrap();
    assert!(second > first);
    claim(&world.keeper(), &views, None).await;
    assert_eq!(world.store.next_time(&views, epoch).await.unwrap(), None);
    assert!(!world.store.holds(&views, epoch).await.unwrap());
}

#[tokio::test]
async fn memory_is_bounded_and_room_comes_back() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper_with(2);
    claim(&keeper, &views, None).await;
    take(&keeper, &views, 0, viewed("a", 1));
    take(&keeper, &views, 1, viewed("b", 1));
    let epoch = keeper.epoch(&views).unwrap();
    assert_eq!(
        keeper.record(&views, epoch, None, behind(2), viewed("c", 1)),
        Recorded::Full
    );
    // One that adds nothing needs no room.
    take(&keeper, &views, 2, None);
    assert!(!keeper.has_room());
    keeper.flush().await.unwrap();
    keeper.room().await;
    take(&keeper, &views, 3, viewed("c", 1));
    assert_eq!(
        keeper.record(&views, epoch + 1, None, behind(4), None),
        Recorded::Gone
    );
}

#[tokio::test]
async fn what_the_database_does_not_take_waits_and_is_counted_once() {
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper();
    claim(&keeper, &views, None).await;
    take(&keeper, &views, 0, viewed("a", 1));
    let pool = world.store.database.pool();
    let rename = |from: &str, to: &str| {
        let text = format!("ALTER TABLE {from} RENAME TO {to}");
        sql::query(text).execute(pool)
    };
    rename("analytics_books", "elsewhere").await.unwrap();
    keeper.flush().await.unwrap_err();
    // It goes on taking events in, and tries the same again.
    take(&keeper, &views, 1, viewed("b", 1));
    keeper.flush().await.unwrap_err();
    rename("elsewhere", "analytics_books").await.unwrap();
    keeper.flush().await.unwrap();
    assert_eq!(world.figures(1).await.views, 2);
    assert!(keeper.epoch(&views).is_some());
    // A partition that goes waits for it, but not for ever: the next owner reads it again.
    rename("analytics_books", "elsewhere").await.unwrap();
    take(&keeper, &views, 2, viewed("c", 1));
    let revoking = Partitions(keeper.clone());
    let revoking = async { revoking.revoked(std::slice::from_ref(&views)).await };
    let revoked = tokio::time::timeout(Duration::from_secs(60), revoking).await;
    revoked.expect("the group's patience is longer, and need not be used up");
    rename("elsewhere", "analytics_books").await.unwrap();
    let next = world.keeper();
    assert_eq!(claim(&next, &views, Some(3)).await, from(2));
}

#[tokio::test]
async fn a_clock_ten_years_ahead_pins_no_round_and_forgets_no_id() {
    const YEARS: i64 = 3_650 * 86_400_000;
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::new().await;
    let views = place(BookEventKind::Viewed, 0);
    let keeper = world.keeper();
    claim(&keeper, &views, None).await;
    let epoch = keeper.epoch(&views).unwrap();
    take(&keeper, &views, 0, viewed("a", 1));
    keeper.flush().await.unwrap();

    let ahead = Arc::new(AtomicI64::new(0));
    let clock = {
        let ahead = ahead.clone();
        Clock::new(move || proto::now_millis() + ahead.load(Ordering::SeqCst))
    };
    let store = Store {
        database: world.store.database.clone().with_clock(clock),
    };
    let is_now = |time: i64| time.abs_diff(proto::now_millis()) < 3_600_000;
    let round = async || {
        let time = store.next_time(&views, epoch).await.unwrap();
        time.expect("the claim holds")
    };
    let mut last = 0;
    for leap in [0, YEARS, 0] {
        ahead.store(leap, Ordering::SeqCst);
        let forgotten = DEDUP_RETENTION.round(&store.database, DAY).await;
        assert_eq!(forgotten.unwrap(), 0);
        let time = round().await;
        assert!(is_now(time) && time > last, "{time} after {last}");
        last = time;
    }
    // What an earlier version left.
    let pinned = "UPDATE analytics_clock SET generated_at = $1";
    let pinned = sql::query(pinned).bind(proto::now_millis() + YEARS);
    pinned.execute(store.database.pool()).await.unwrap();
    assert!(is_now(round().await));
}
