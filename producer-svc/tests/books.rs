//! Taking events of books: where they go, refusals, identity, and Kafka away.

#[path = "support/scene.rs"]
mod support;

use serde_json::{Value, json};
use support::{Scene, fields};
use testkit::{ApiKey, Kafka, http};

/// What each kind needs, and the key of its records.
const EVENTS: [(&str, &str, &str, &str); 5] = [
    ("views", "BookViewed", "{}", "3"),
    ("downloads", "BookDownloaded", r#"{"userId":"u-1"}"#, "u-1"),
    (
        "purchases",
        "BookPurchased",
        r#"{"userId":7,"amount":99900,"currency":"RUB"}"#,
        "7",
    ),
    (
        "reviews",
        "BookReviewed",
        r#"{"userId":"u-1","text":"хорошо","action":"created"}"#,
        "3",
    ),
    (
        "ratings",
        "BookRated",
        r#"{"userId":"u-1","rating":5}"#,
        "3",
    ),
];

#[tokio::test]
async fn each_kind_goes_to_its_topic_under_its_key() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[("KAFKA_TYPE_ID_BOOK_RATED", "com.shop.BookRated")])
        .await;
    for (kind, event_type, body, key) in EVENTS {
        let path = format!("/api/books/3/{kind}");
        let (status, receipt) = service.post(&path, body).await;
        assert_eq!(status, 202, "{kind}: {receipt}");
        let id = receipt["eventId"].as_str().unwrap();
        assert_eq!(id.as_bytes()[14], b'7', "UUIDv7: {id}");

        let topic = scene.book_topic(kind);
        let record = scene.records(&topic, 1).await.remove(0);
        let place = json!({"eventId": id, "status": "ACCEPTED", "topic": topic,
                           "partition": record.partition, "offset": record.offset});
        assert_eq!(receipt, place);
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()), "{kind}");
        let event: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(event["eventId"], id);
        assert_eq!(event["bookId"], 3);
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
        let asked: Value = serde_json::from_str(body).unwrap();
        for name in ["amount", "currency", "text", "action", "rating"] {
            assert_eq!(event.get(name), asked.get(name), "{kind}: {name}");
        }
        let header = |name: &str| std::str::from_utf8(record.headers.get(name).unwrap()).unwrap();
        assert_eq!(header("ce_id"), id);
        assert_eq!(header("ce_type"), event_type);
        assert_eq!(header("ce_source"), "/producer-svc");
        let class = (kind == "ratings").then_some(&b"com.shop.BookRated"[..]);
        assert_eq!(record.headers.get("__TypeId__"), class);
    }
    service
        .metric_becomes("book_events_total{outcome=\"accepted\"}", 5.0)
        .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_view_needs_no_body() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let post = |path, headers: &'static [(&str, &str)], body: &'static str| {
        http::request(service.address, "POST", path, headers, body)
    };
    let bare = post("/api/books/3/views", &[], "").await;
    assert_eq!(bare.status, 202, "{}", bare.body);
    // What has a body says of which type it is, and one of another type is none.
    let untyped = post("/api/books/3/views", &[], "{}").await;
    assert_eq!(untyped.status, 415, "{}", untyped.body);
    let plain = [("content-type", "text/plain")];
    let plain = http::request(service.address, "POST", "/api/books/3/views", &plain, "").await;
    assert_eq!(plain.status, 415, "{}", plain.body);
    let missing = post("/api/books/3/downloads", &[], "").await;
    assert_eq!(missing.status, 422, "{}", missing.body);
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_same_key_or_id_is_the_same_event() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let of = |user: &str| json!({"userId": user, "rating": 4}).to_string();
    let mut ids = Vec::new();
    for (path, key, user) in [
        ("/api/books/3/ratings", "k1", "u1"),
        ("/api/books/03/ratings", "k1", "u1"),
        ("/api/books/3/ratings", "k2", "u1"),
        ("/api/books/3/ratings", "k1", "u2"),
        ("/api/books/4/ratings", "k1", "u1"),
        ("/api/books/3/views", "k1", "u1"),
    ] {
        let headers = [("Idempotency-Key", key)];
        let (status, receipt) = service.post_with(path, &headers, &of(user)).await;
        assert_eq!(status, 202, "{receipt}");
        ids.push(receipt["eventId"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].as_bytes()[14], b'5', "UUIDv5: {}", ids[0]);
    let different: std::collections::HashSet<_> = ids[1..].iter().collect();
    assert_eq!(different.len(), 5, "{ids:?}");

    let given = r#"{"eventId":"e-1"}"#;
    let (_, receipt) = service.post("/api/books/3/views", given).await;
    assert_eq!(receipt["eventId"], "e-1");
    let long = "k".repeat(256);
    let headers = [("Idempotency-Key", long.as_str())];
    let refused = service
        .post_with("/api/books/3/views", &headers, "{}")
        .await;
    assert_eq!(refused.0, 400, "{}", refused.1);
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_is_malformed_never_reaches_kafka() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    for (path, body, status, wrong) in [
        (
            "3/purchases",
            "{}",
            422,
            vec!["userId", "amount", "currency"],
        ),
        (
            "3/purchases",
            r#"{"userId":"u","amount":-1,"currency":"rubles"}"#,
            422,
            vec!["amount", "currency"],
        ),
        ("3/ratings", r#"{"rating":6}"#, 422, vec!["rating"]),
        (
            "3/reviews",
            r#"{"text":" ","action":"deleted"}"#,
            422,
            vec!["text", "action"],
        ),
        ("3/downloads", r#"{"userId":""}"#, 422, vec!["userId"]),
        ("0/views", "{}", 422, vec!["bookId"]),
        ("x/views", "{}", 422, vec!["bookId"]),
        ("9223372036854775808/views", "{}", 422, vec!["bookId"]),
        ("3/views", "[]", 400, vec![]),
        ("3/views", "{", 400, vec![]),
    ] {
        let (answered, problem) = service.post(&format!("/api/books/{path}"), body).await;
        assert_eq!(answered, status, "{path} {body}: {problem}");
        assert_eq!(fields(&problem), wrong, "{path} {body}");
    }
    service
        .metric_becomes("book_events_total{outcome=\"refused\"}", 10.0)
        .await;
    let (_, receipt) = service.post("/api/books/3/views", "{}").await;
    let (partition, offset) = (&receipt["partition"], &receipt["offset"]);
    let record = scene.records(&scene.book_topic("views"), 1).await.remove(0);
    assert_eq!((partition, offset), (&json!(record.partition), &json!(0)));
    service.end().await.unwrap();
}

#[tokio::test]
async fn kafka_away_is_503_with_the_id_to_try_again_with() {
    let mut kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("REQUEST_TIMEOUT", "500ms")]).await;
    let path = "/api/books/3/downloads";
    // The first of all may take longer than that.
    service.posted(path, r#"{"userId":"u"}"#, 202).await;
    kafka.kill_broker().await;
    let answer = http::post(service.address, path, &[], r#"{"userId":"u"}"#).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    let id = problem["eventId"].as_str().expect("the id").to_owned();

    kafka.start_broker().await;
    let again = json!({"userId": "u", "eventId": id}).to_string();
    let receipt = service.posted(path, &again, 202).await;
    assert_eq!(receipt["eventId"], id);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_is_503_at_once() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[("KAFKA_BUFFER_MEMORY", "4KiB"), ("REQUEST_TIMEOUT", "60s")])
        .await;
    let path = "/api/books/3/reviews";
    let text = "x".repeat(1_000);
    let body = json!({"text": text, "action": "created"}).to_string();
    let (status, receipt) = service.post(path, &body).await;
    assert_eq!(status, 202, "{receipt}");
    let slow = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(scene.book_topic("reviews"))
        .always();
    let slow = slow.delay(std::time::Duration::from_secs(30));
    // A refusal: nothing is acknowledged for half a minute.
    let (status, problem) = service.first_of(10, path, &body).await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("too many events"),
        "{problem}"
    );
    assert!(problem["eventId"].is_string());
    slow.clear();
}

#[tokio::test]
async fn events_are_taken_without_a_database() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    // No connection can be made to that port.
    let away = [("DATABASE_URL", "postgres://127.0.0.1:1/nobody")];
    let service = scene.start(&away).await;
    service.posted("/api/books/3/views", "{}", 202).await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_instance_without_books_says_so() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("BOOKS", "false")]).await;
    let (status, problem) = service.post("/api/books/3/views", "{}").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("BOOKS=false"));
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_same_id_with_other_content_is_refused_where_it_is_known() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let purchase = |amount: u32| {
        json!({"eventId": "e-1", "userId": "u", "amount": amount, "currency": "RUB"}).to_string()
    };
    for (path, amount, wanted) in [
        ("/api/books/3/purchases", 100, 202),
        ("/api/books/3/purchases", 100, 202),
        // Statistics would pass over either of them as a repeat.
        ("/api/books/3/purchases", 200, 409),
        ("/api/books/4/purchases", 100, 409),
    ] {
        let (status, answer) = service.post(path, &purchase(amount)).await;
        assert_eq!(status, wanted, "{path}: {answer}");
        assert_eq!(answer["eventId"], "e-1");
    }
    // Another kind has ids of its own.
    let (status, _) = service
        .post("/api/books/3/views", r#"{"eventId":"e-1"}"#)
        .await;
    assert_eq!(status, 202);
    let key = [("Idempotency-Key", "k1")];
    for (rating, wanted) in [(4, 202), (4, 202), (5, 422)] {
        let body = json!({"userId": "u", "rating": rating}).to_string();
        let (status, answer) = service.post_with("/api/books/3/ratings", &key, &body).await;
        assert_eq!(status, wanted, "{answer}");
    }
    service.end().await.unwrap();
}
