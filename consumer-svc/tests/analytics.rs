//! The bookstore's statistics: exact, whatever happens to the instances that keep them.

#[path = "support/bookstore.rs"]
mod bookstore;
#[path = "support/shop.rs"]
mod shop;

use bookstore::{Bookstore, event, events, expected};
use proto::{BookDetail, BookEvent, Figures, PopularBook};
use shop::PATIENCE;
use testkit::{Kafka, eventually};

/// Events of the test below, in thousands; more of them by this variable.
const THOUSANDS: &str = "TEST_BOOK_EVENTS_THOUSANDS";

/// Two instances, a rebalance, one of them killed, another one started, and every event sent twice.
#[tokio::test]
async fn totals_are_exact_over_a_rebalance_and_a_kill_and_repeats_change_nothing() {
    let thousands = std::env::var(THOUSANDS).map_or(20, |number| number.parse().unwrap());
    let kafka = Kafka::start().await;
    let store = Bookstore::new(&kafka).await;
    let all: Vec<_> = (0..thousands * 1_000).map(event).collect();
    let (first, rest) = all.split_at(all.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let mut published = store.published();

    let killed = store.spawn();
    store.send(first).await;
    published
        .until("something of the first third", |told| {
            events(told.figures()) > 0
        })
        .await;
    let _survivor = store.spawn();
    // Sent while the partitions move.
    for some in second.chunks(500) {
        store.send(some).await;
    }
    let (_, so_far) = expected(first);
    published
        .until("more than the first third", |told| {
            events(told.figures()) > events(&so_far)
        })
        .await;
    for (index, some) in third.chunks(third.len().div_ceil(4)).enumerate() {
        if index == 1 {
            killed.kill();
            break;
        }
        store.send(some).await;
    }
    let _third = store.spawn();
    // What is left, and everything once more.
    store.send(third).await;
    store.send(&all).await;
    // New ones behind the repeats in each partition: once they are counted, nothing is on its way any more.
    let last: Vec<_> = (0..500).map(|n| event(all.len() as i64 + n)).collect();
    store.send(&last).await;

    let (books, whole) = expected(&[&all[..], &last].concat());
    published
        .until(&format!("{whole:?} of {} books", books.len()), |told| {
            told.number() == books.len() as i64 && *told.figures() == whole
        })
        .await;
    assert_eq!(published.most, events(&whole), "never more");
    published
        .until(&format!("each book: {books:?}"), |told| {
            told.of_books() == books
        })
        .await;
    let mut popular: Vec<_> = books
        .iter()
        .map(|(id, book)| {
            let score = PopularBook::score_of(book.views, book.downloads, book.purchases);
            (-score, *id)
        })
        .collect();
    popular.sort_unstable();
    published
        .until(&format!("the ranks: {popular:?}"), |told| {
            let (_, lines) = told.popular.as_ref().expect("with an overview");
            let ranks = lines.iter().map(|book| (-book.score, book.book_id));
            ranks.eq(popular[..10].iter().copied())
        })
        .await;
}

/// Without ids repeats could not be told: so what is counted once was read once.
#[tokio::test]
async fn a_restart_goes_on_at_the_stored_offset_whatever_the_group_has_committed() {
    let kafka = Kafka::start().await;
    let mut store = Bookstore::new(&kafka).await;
    let nameless = |book_id| BookEvent {
        event_id: None,
        book_id,
        user_id: None,
        timestamp: None,
        detail: BookDetail::Viewed,
    };
    let views = store.topics[0].clone();
    let mut published = store.published();
    let flags = store.flags();
    let service = store.shop.start_with(&flags).await;
    let four = [nameless(1), nameless(2), nameless(1), nameless(1)];
    store.send(&four).await;
    // The last of its partition.
    store
        .shop
        .send(&views, Some("1"), br#"{"bookId":"none"}"#, &[])
        .await;
    published
        .until("four views", |told| told.figures().views == 4)
        .await;
    let letters = format!("{views}-dlt");
    let letter = store.shop.follow(&letters).first(1).await[0].clone();
    let reason = letter.headers.get("dlt-reason").unwrap();
    assert_eq!(reason, b"bookId must be a whole number from 1 on");
    service
        .metric_becomes("analytics_events_total{outcome=\"invalid\"}", 1.0)
        .await;
    service.stop().await;

    // A group without commits would begin at the first record.
    store.group = testkit::unique("another-group");
    let flags = store.flags();
    let service = store.shop.start_with(&flags).await;
    store.send(&[nameless(2)]).await;
    published
        .until("five views", |told| told.figures().views >= 5)
        .await;
    assert_eq!(published.most, 5);
    published
        .until("views of each", |told| {
            let of_books = told.of_books();
            let views_of = |id: i64| of_books.get(&id).map_or(0, |book: &Figures| book.views);
            (views_of(1), views_of(2)) == (3, 2)
        })
        .await;
    let invalid = "analytics_events_total{outcome=\"invalid\"}";
    assert_eq!(service.metric(invalid).await, 0.0, "rejected once");
    eventually(PATIENCE, || async {
        (service.get("/readyz?strict").await.0 == 200).then_some(())
    })
    .await;
    service.stop().await;
}

/// 200 views counted, the topic deleted and created again while nobody is there, 300 views.
#[tokio::test]
async fn a_topic_created_again_adds_to_what_is_counted() {
    let kafka = Kafka::start().await;
    let store = Bookstore::new(&kafka).await;
    let views = store.topics[0].clone();
    let viewed = |id: i64| BookEvent {
        event_id: Some(format!("view-{id}").into()),
        book_id: id % 7 + 1,
        user_id: None,
        timestamp: None,
        detail: BookDetail::Viewed,
    };
    let mut published = store.published();
    let flags = store.flags();
    let service = store.shop.start_with(&flags).await;
    store.send(&(0..200).map(viewed).collect::<Vec<_>>()).await;
    published
        .until("200 views", |told| told.figures().views == 200)
        .await;
    service.stop().await;

    let admin = store.shop.client.admin();
    admin.delete_topics(&[&views]).await.unwrap();
    eventually(PATIENCE, || async {
        let described = admin.describe_topics(&[&views]).await;
        described.is_ok_and(|found| found.is_empty()).then_some(())
    })
    .await;
    kafka.create_topic(&views, 3).await;
    store
        .send(&(200..500).map(viewed).collect::<Vec<_>>())
        .await;
    let service = store.shop.start_with(&flags).await;
    published
        .until("500 views", |told| told.figures().views >= 500)
        .await;
    assert_eq!(published.most, 500);
    service.stop().await;
}

/// A foreign writer's amounts are in the unit that is set, and producer-svc's in minor units in any case.
#[tokio::test]
async fn amounts_of_other_systems_are_in_the_unit_that_is_set() {
    let kafka = Kafka::start().await;
    let store = Bookstore::new(&kafka).await;
    let _instance = store.spawn_with(&["--book-amounts", "major"]);
    let producer = store.shop.client.producer().build().unwrap();
    let ours: &[(&[u8], Option<&[u8]>)] = &[(b"ce_source", Some(b"/producer-svc"))];
    for (value, headers) in [
        (
            r#"{"eventId":"a","bookId":3,"userId":"u","amount":999.99,"currency":"rub","timestamp":1767323045678}"#,
            &[][..],
        ),
        (
            r#"{"eventId":"b","bookId":3,"userId":"u","amount":"1","currency":"RUB"}"#,
            &[],
        ),
        (
            r#"{"eventId":"c","bookId":3,"userId":"u","amount":1,"currency":"RUB"}"#,
            ours,
        ),
    ] {
        let record = kafka::OutgoingRecord {
            topic: &store.topics[2],
            key: Some(b"u"),
            value: Some(value.as_bytes()),
            headers,
            ..Default::default()
        };
        producer.send(&record).await.unwrap();
    }
    let mut published = store.published();
    published
        .until("three purchases", |told| told.figures().purchases == 3)
        .await;
    let earned: Vec<i64> = published.figures().revenue.values().copied().collect();
    assert_eq!(earned, [99_999 + 100 + 1]);
}
