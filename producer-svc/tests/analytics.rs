//! The bookstore's figures: what is stored of the aggregates, and how it is shown.

#[path = "support/scene.rs"]
mod support;

use kafka::{OutgoingRecord, Producer};
use proto::Rfc3339;
use serde_json::{Value, json};
use sql::Pool;
use support::{Running, SOON, Scene, send};
use testkit::{Kafka, eventually, http};

const OVERVIEW: &str = "/api/admin/analytics/overview";
const BOOKS: &str = "/api/admin/analytics/books";
const POPULAR: &str = "/api/admin/analytics/popular";

/// Sends an aggregate as consumer-svc would.
async fn publish(scene: &Scene, producer: &Producer, id: &str, kind: &str, at: &str, data: Value) {
    let aggregate = json!({"aggregationType": kind, "generatedAt": at, "data": data}).to_string();
    let record = OutgoingRecord {
        topic: &scene.aggregates_topic,
        key: Some(kind.as_bytes()),
        value: Some(aggregate.as_bytes()),
        headers: &[(b"ce_id", Some(id.as_bytes()))],
        ..OutgoingRecord::default()
    };
    producer.send(&record).await.unwrap();
}

fn figures(views: i64) -> Value {
    json!({"views": views, "downloads": 2, "purchases": 1, "revenue": {"RUB": 99_900, "USD": 5},
           "reviews": 1, "ratings": 3, "averageRating": 4.33})
}

fn of_book(book_id: i64, views: i64) -> Value {
    with(figures(views), "bookId", book_id)
}

fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    object[name] = value.into();
    object
}

/// What a path answers as soon as it is `wanted`.
async fn shown(service: &Running, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(SOON, || async {
        let (status, answer) = service.admin_get(path).await;
        (status == 200 && wanted(&answer)).then_some(answer)
    })
    .await
}

/// The metric that counts the aggregates that a group is done with.
fn done(scene: &Scene, group: &str) -> String {
    let topic = &scene.aggregates_topic;
    format!("kafka_consumer_records_total{{group=\"{group}\",topic=\"{topic}\",outcome=\"done\"}}")
}

async fn rows(pool: &Pool) -> i64 {
    let count = sql::query("SELECT COUNT(*) FROM book_analytics");
    count.fetch_one(pool).await.unwrap().get(0).unwrap()
}

#[tokio::test]
async fn the_newest_figures_are_shown_with_their_history() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let book = |at: &'static str, views| {
        let (scene, producer) = (&scene, &producer);
        async move {
            let id = format!("book-{at}");
            publish(scene, producer, &id, "BOOK_STATS", at, of_book(3, views)).await;
        }
    };
    book("2026-01-02T00:00:00Z", 1).await;
    book("2026-01-02T00:02:00Z", 3).await;
    // Late, and again: neither is the newest, and the second is not even new.
    book("2026-01-02T00:01:00Z", 2).await;
    book("2026-01-02T00:00:00Z", 1).await;
    let sums = |views| with(figures(views), "books", 1);
    for (at, views) in [("2026-01-02T00:03:00Z", 3), ("2026-01-02T00:00:00Z", 1)] {
        let id = format!("overview-{at}");
        publish(&scene, &producer, &id, "SYSTEM_OVERVIEW", at, sums(views)).await;
    }
    let line =
        json!({"rank": 1, "bookId": 3, "score": 14, "views": 3, "downloads": 2, "purchases": 1});
    let at = "2026-01-02T00:03:00Z";
    publish(
        &scene,
        &producer,
        "popular",
        "POPULAR_BOOKS",
        at,
        json!([line]),
    )
    .await;

    let stored = done(&scene, &scene.analytics_group);
    service.metric_becomes(&stored, 7.0).await;

    let popular = shown(&service, POPULAR, |_| true).await;
    assert_eq!(popular["books"], json!([line]));
    assert_eq!(popular["generatedAt"], "2026-01-02T00:03:00.000Z");
    let overview = shown(&service, OVERVIEW, |answer| {
        answer["history"].as_array().unwrap().len() == 2
    })
    .await;
    assert_eq!(overview["views"], 3);
    assert_eq!(overview["books"], 1);
    assert_eq!(overview["generatedAt"], "2026-01-02T00:03:00.000Z");
    assert_eq!(overview["asOf"], overview["generatedAt"]);
    assert!(overview["ageSeconds"].as_i64().unwrap() > 0);
    assert_eq!(overview["history"][1]["views"], 1);

    let path = format!("{BOOKS}/3");
    let book = shown(&service, &path, |answer| {
        answer["history"].as_array().unwrap().len() == 3
    })
    .await;
    assert_eq!(book["views"], 3);
    assert_eq!(book["generatedAt"], "2026-01-02T00:02:00.000Z");
    assert_eq!(book["asOf"], "2026-01-02T00:03:00.000Z");
    assert_eq!(book["revenue"], json!({"RUB": 99_900, "USD": 5}));
    assert_eq!(book["averageRating"], 4.33);
    let history = book["history"].as_array().unwrap();
    let views: Vec<_> = history.iter().map(|at| at["views"].as_i64()).collect();
    assert_eq!(views, [Some(3), Some(2), Some(1)]);
    let since = format!("{path}?since=2026-01-02T03:01:00+03:00&limit=1");
    let (_, since) = service.admin_get(&since).await;
    assert_eq!(since["history"].as_array().unwrap().len(), 1);
    assert_eq!(since["history"][0]["views"], 3);
    let (_, none) = service
        .admin_get(&format!("{path}?since=2026-01-03T00:00:00Z"))
        .await;
    assert_eq!((&none["views"], &none["history"]), (&json!(3), &json!([])));
    service.end().await.unwrap();
}

#[tokio::test]
async fn all_books_are_listed_page_by_page() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    // Book 1 to 7; some have as many views, and book 4 has no rating.
    let at = "2026-01-02T00:00:00Z";
    for (book, views) in [(1, 5), (2, 0), (3, 5), (4, 9), (5, 5), (6, 0), (7, 1)] {
        let mut data = of_book(book, views);
        if book == 4 {
            data = with(with(data, "ratings", 0), "averageRating", Value::Null);
        }
        let id = format!("e-{book}");
        publish(&scene, &producer, &id, "BOOK_STATS", at, data).await;
    }
    shown(&service, BOOKS, |answer| {
        answer["books"].as_array().unwrap().len() == 7
    })
    .await;
    let walk = |sort: &'static str| {
        let service = &service;
        async move {
            let (mut listed, mut after) = (Vec::new(), String::new());
            loop {
                let path = format!("{BOOKS}?{sort}&limit=2&after={after}");
                let (status, page) = service.admin_get(&path).await;
                assert_eq!(status, 200, "{page}");
                let books = page["books"].as_array().unwrap();
                assert!((1..=2).contains(&books.len()), "{page}");
                listed.extend(books.iter().map(|book| book["bookId"].as_i64().unwrap()));
                match page["next"].as_str() {
                    Some(next) => after = next.to_owned(),
                    None => return listed,
                }
            }
        }
    };
    assert_eq!(walk("").await, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(walk("sort=views").await, [4, 1, 3, 5, 7, 2, 6]);
    assert_eq!(walk("sort=views&order=asc").await, [2, 6, 7, 1, 3, 5, 4]);
    assert_eq!(walk("sort=averageRating").await, [1, 2, 3, 5, 6, 7, 4]);
    assert_eq!(
        walk("sort=generatedAt&order=asc").await,
        [1, 2, 3, 4, 5, 6, 7]
    );
    // Ids that a double does not hold.
    let large = [0, 1, 2].map(|more| (1 << 53) + 1 + more);
    for book in large {
        let id = format!("e-{book}");
        publish(&scene, &producer, &id, "BOOK_STATS", at, of_book(book, 1)).await;
    }
    shown(&service, BOOKS, |answer| {
        answer["books"].as_array().unwrap().len() == 10
    })
    .await;
    assert_eq!(walk("").await[7..], large);
    assert_eq!(
        walk("order=desc").await[..3],
        [large[2], large[1], large[0]]
    );
    let wrong = service
        .admin_get(&format!("{BOOKS}?sort=price&limit=0"))
        .await;
    assert_eq!(wrong.0, 422, "{}", wrong.1);
    assert_eq!(wrong.1["errors"].as_array().unwrap().len(), 2);
    service.end().await.unwrap();
}

#[tokio::test]
async fn before_the_first_aggregate_there_is_nothing_to_show() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    for path in [OVERVIEW, POPULAR, &format!("{BOOKS}/3")] {
        let (status, problem) = service.admin_get(path).await;
        assert_eq!(status, 404, "{problem}");
        let unguarded = http::get(service.address, path).await;
        assert_eq!(unguarded.status, 401, "{}", unguarded.body);
    }
    let none = json!({"asOf": null, "ageSeconds": null, "books": [], "next": null});
    assert_eq!(service.admin_get(BOOKS).await, (200, none));
    for path in ["/0", "/x", "/3?since=yesterday", "/3?limit=1001"] {
        let (status, problem) = service.admin_get(&format!("{BOOKS}{path}")).await;
        assert_eq!(status, 422, "{path}: {problem}");
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_is_no_aggregate_goes_to_the_dead_letters_and_the_next_is_stored() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let topic = &scene.aggregates_topic;
    let key = "BOOK_STATS";
    send(&producer, topic, key, "{").await;
    let negative = json!({"aggregationType": key, "generatedAt": "2026-01-02T00:00:00Z",
                          "data": with(of_book(3, 1), "views", -1)});
    send(&producer, topic, key, &negative.to_string()).await;
    // A later version's is none of ours, and no mistake.
    send(
        &producer,
        topic,
        key,
        r#"{"aggregationType":"AUTHOR_STATS","data":1}"#,
    )
    .await;
    // Without headers a record is known by its place.
    let good = json!({"aggregationType": key, "generatedAt": "2026-01-02T00:00:00Z",
                      "data": of_book(3, 1)});
    send(&producer, topic, key, &good.to_string()).await;
    shown(&service, &format!("{BOOKS}/3"), |_| true).await;
    let letters = scene.records(&format!("{topic}-dlt"), 2).await;
    let reason = |at: usize| {
        let reason = letters[at].headers.get("dlt-reason").unwrap();
        String::from_utf8_lossy(reason).into_owned()
    };
    assert!(reason(0).contains("not JSON"), "{}", reason(0));
    assert!(reason(1).contains("data.views"), "{}", reason(1));
    service.end().await.unwrap();
}

#[tokio::test]
async fn aggregates_wait_for_the_database_and_are_stored_once() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let producer = scene.producer();
    kafka.create_topic(&scene.aggregates_topic, 2).await;
    for minute in 0..30 {
        let at = format!("2026-01-02T00:{minute:02}:00Z");
        let data = of_book(3, minute);
        publish(&scene, &producer, &at, "BOOK_STATS", &at, data).await;
    }
    // No connection can be made to that port.
    let away = [("DATABASE_URL", "postgres://127.0.0.1:1/nobody")];
    let service = scene.start(&away).await;
    eventually(SOON, || async {
        let ready = http::get(service.address, "/readyz").await;
        let strict = http::get(service.address, "/readyz?strict").await;
        (ready.status == 200 && strict.body.contains("\"analytics\"")).then_some(())
    })
    .await;
    assert_eq!(service.admin_get(OVERVIEW).await.0, 503);
    service.end().await.unwrap();
    // Nothing was committed and nothing thrown away; two instances, and all of it once more.
    let one = scene.start(&[]).await;
    let other = scene.start(&[]).await;
    shown(&one, &format!("{BOOKS}/3"), |answer| answer["views"] == 29).await;
    let pool = scene.pool();
    eventually(SOON, || async { (rows(&pool).await == 30).then_some(()) }).await;
    other.end().await.unwrap();
    one.end().await.unwrap();
    let group = format!("{}-again", scene.analytics_group);
    let again = scene.start(&[("AGGREGATES_GROUP_ID", &group)]).await;
    again.metric_becomes(&done(&scene, &group), 30.0).await;
    again.end().await.unwrap();
    assert_eq!(rows(&pool).await, 30);
}

#[tokio::test]
async fn old_figures_go_but_the_newest_of_each_book_stays() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("ANALYTICS_RETENTION", "100d")]).await;
    let producer = scene.producer();
    for (book, at) in [
        (3, "2001-01-01T00:00:00Z"),
        (3, "2001-01-02T00:00:00Z"),
        (4, "2001-01-01T00:00:00Z"),
    ] {
        let id = format!("{book} {at}");
        publish(&scene, &producer, &id, "BOOK_STATS", at, of_book(book, 1)).await;
    }
    for at in ["2001-01-01T00:00:00Z", "2001-01-02T00:00:00Z"] {
        let data = with(figures(1), "books", 2);
        publish(&scene, &producer, at, "SYSTEM_OVERVIEW", at, data).await;
    }
    let stored = done(&scene, &scene.analytics_group);
    service.metric_becomes(&stored, 5.0).await;
    service.end().await.unwrap();
    // Stored long ago, whenever they were made.
    let service = scene.start_ready(&[("ANALYTICS_RETENTION", "1s")]).await;
    let of = |book: i64| format!("{BOOKS}/{book}");
    let history = |answer: &Value| answer["history"].as_array().unwrap().len();
    let book = shown(&service, &of(3), |answer| history(answer) == 1).await;
    assert_eq!(
        book["history"][0]["generatedAt"],
        "2001-01-02T00:00:00.000Z"
    );
    let overview = shown(&service, OVERVIEW, |answer| history(answer) == 1).await;
    assert_eq!(overview["generatedAt"], "2001-01-02T00:00:00.000Z");
    assert_eq!(history(&shown(&service, &of(4), |_| true).await), 1);
    service.end().await.unwrap();
}

#[tokio::test]
async fn figures_of_a_clock_far_ahead_do_not_hide_later_ones() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let stored = done(&scene, &scene.analytics_group);
    // Ahead of when the first is stored, by less than what is doubted.
    let later = Rfc3339::from_millis(proto::now_millis() + 3_600_000).to_string();
    for (count, views, at) in [(1.0, 7, "2099-01-01T00:00:00Z".to_owned()), (2.0, 8, later)] {
        publish(&scene, &producer, &at, "BOOK_STATS", &at, of_book(3, views)).await;
        service.metric_becomes(&stored, count).await;
    }
    let book = shown(&service, &format!("{BOOKS}/3"), |_| true).await;
    assert_eq!(book["views"], 8, "{book}");
    assert_eq!(book["history"].as_array().unwrap().len(), 2);
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_instance_without_analytics_says_so() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("ANALYTICS", "false")]).await;
    let (status, problem) = service.admin_get(OVERVIEW).await;
    assert_eq!(status, 404);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("ANALYTICS=false")
    );
    service.end().await.unwrap();
}
