//! The bookstore's statistics while instances are killed and databases are away: events wait, orders do not, and
//! each event counts once.

use faults::bookstore::Bookstore;
use faults::process::PATIENCE;
use faults::run::Run;
use faults::scenarios::book_events;
use faults::shop::Stage;
use kafka::{OutgoingRecord, Producer, Reader, ReaderEvent};
use proto::{Aggregate, AggregateData};
use testkit::eventually;

/// Events of one stretch.
const EVENTS: i64 = 500;

/// Views without ids, so that one that is read twice counts twice.
struct Views {
    producer: Producer,
    topic: String,
    published: Reader,
    /// The most that were published.
    most: i64,
}

impl Views {
    fn of(store: &Bookstore) -> Self {
        let published = store.client.reader().topics([&store.aggregated]);
        Self {
            producer: store.client.producer().build().unwrap(),
            topic: store.topics[0].clone(),
            published: published.build().unwrap(),
            most: 0,
        }
    }

    /// One stretch.
    async fn send(&self) {
        for n in 0..EVENTS {
            self.send_one(n % 7 + 1).await;
        }
    }

    async fn send_one(&self, book: i64) {
        let (key, value) = (book.to_string(), format!(r#"{{"bookId":{book}}}"#));
        let record = OutgoingRecord {
            topic: &self.topic,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..OutgoingRecord::default()
        };
        self.producer.send(&record).await.unwrap();
    }

    /// Reads on until so many are published; more may not be.
    async fn until(&mut self, views: i64) {
        let reading = async {
            while self.most < views {
                let ReaderEvent::Records(records) = self.published.next_batch().await else {
                    continue;
                };
                for record in records {
                    let value = record.value.expect("a value");
                    let aggregate = Aggregate::decode(&value)
                        .unwrap()
                        .known()
                        .expect("a known type");
                    if let AggregateData::SystemOverview { figures, .. } = aggregate.data {
                        self.most = self.most.max(figures.views);
                    }
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(
            read.is_ok() && self.most == views,
            "{} of {views}",
            self.most
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn book_events_wait_for_their_database_and_orders_do_not() {
    let mut store = Bookstore::open(Stage::any().await, 1).await;
    let mut views = Views::of(&store);
    views.send().await;
    views.until(EVENTS).await;

    store.statistics.take_away();
    views.send().await;
    store.consumers[0].names_its_database().await;
    store.order().await;
    store.statistics.give_back();
    views.until(2 * EVENTS).await;

    // Killed meanwhile: what it had in memory is read again.
    store.statistics.take_away();
    views.send().await;
    store.consumers[0].names_its_database().await;
    store.order().await;
    store.consumers[0].kill();
    store.statistics.give_back();
    store.consumers[0].start_again().await;
    views.until(3 * EVENTS).await;
    // One more, so that what came late is seen.
    views.send_one(1).await;
    views.until(3 * EVENTS + 1).await;
    store.ready().await;
    assert!(store.consumers[0].end().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_events_of_all_wait_for_their_database_too() {
    let mut store = Bookstore::open(Stage::any().await, 1).await;
    let mut views = Views::of(&store);
    for partition in 0..3 {
        let (group, topic) = (&store.groups[0], &views.topic);
        let lag = format!(
            r#"kafka_consumergroup_lag{{consumergroup="{group}",topic="{topic}",partition="{partition}"}}"#
        );
        eventually(PATIENCE, || store.consumers[0].metric(&lag)).await;
    }
    // Nothing of these partitions is stored, so the group's commit would be where they go on.
    store.statistics.take_away();
    views.send().await;
    store.consumers[0].names_its_database().await;
    store.order().await;
    // What it leaves the group is a commit.
    assert!(store.consumers[0].end().await.success());
    store.statistics.give_back();
    store.consumers[0].start_again().await;
    views.until(EVENTS).await;
    views.send_one(1).await;
    views.until(EVENTS + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_twice_count_once_though_those_who_count_them_are_killed() {
    book_events::consumer_killed(Run::short_of(1_500, 2)).await;
}
