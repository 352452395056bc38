//! The service against its own document: no request makes it fail, and each answer is one that
//! `/openapi.json` promises.

#[path = "support/scene.rs"]
mod support;

use serde_json::json;
use support::{SOON, Scene};
use testkit::openapi::Interface;
use testkit::{Kafka, eventually};

#[tokio::test]
async fn every_answer_is_as_documented_whatever_is_asked() {
    // What others have in a shared one is not asked about here.
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    // On a busy machine nothing is taken for being away.
    let service = scene
        .start_ready(&[
            ("REQUEST_TIMEOUT", "60s"),
            ("CART_SERVICE_URL", "http://127.0.0.1:1"),
        ])
        .await;
    let producer = scene.producer();
    let order = json!({"orderId": "there", "product": "Laptop", "quantity": 1}).to_string();
    let (status, placed) = service.post("/api/orders", &order).await;
    assert_eq!(status, 200, "{placed}");
    let figures = json!({"bookId": 3, "books": 1, "views": 1, "downloads": 0, "purchases": 1,
                         "revenue": {"RUB": 99_900}, "reviews": 0, "ratings": 0,
                         "averageRating": null});
    let line =
        json!({"rank": 1, "bookId": 3, "score": 6, "views": 1, "downloads": 0, "purchases": 1});
    for (kind, data) in [
        ("BOOK_STATS", figures.clone()),
        ("SYSTEM_OVERVIEW", figures),
        ("POPULAR_BOOKS", json!([line])),
    ] {
        let at = "2026-01-02T00:00:00Z";
        let aggregate = json!({"aggregationType": kind, "generatedAt": at, "data": data});
        let topic = &scene.aggregates_topic;
        support::send(&producer, topic, kind, &aggregate.to_string()).await;
    }
    for path in ["overview", "popular", "books/3"] {
        let path = format!("/api/admin/analytics/{path}");
        eventually(SOON, || async {
            (service.admin_get(&path).await.0 == 200).then_some(())
        })
        .await;
    }
    service.order("there", "ACCEPTED").await;
    // A dead letter to look at and to replay.
    let (partition, _) = support::send(&producer, &scene.status_topic, "there", "{").await;
    let letters = format!("{}-dlt", scene.status_topic);
    scene.records(&letters, 1).await;

    // A batch that nobody can read, to be passed over.
    let held = testkit::unique("held");
    for topic in [held.clone(), format!("{held}-dlt")] {
        kafka.create_topic(&topic, partition + 1).await;
    }
    let mut garbage = vec![0xa5; 121];
    garbage[..8].fill(0);
    garbage[8..12].copy_from_slice(&109_i32.to_be_bytes());
    garbage[16] = 2;
    garbage[23..27].copy_from_slice(&2_i32.to_be_bytes());
    let broker = kafka.broker().unwrap();
    broker.plant(&held, partition, 0, garbage).unwrap();

    let interface = Interface::new(include_str!("../src/openapi.json"))
        .known("orderId", &["there"])
        .known("bookId", &["3"])
        .known("topic", &[&letters])
        .known("partition", &[&partition.to_string()])
        .known("offset", &["0"])
        .known("first", &[&format!("{held}/{partition}/0")])
        .known("last", &["2"])
        .opaque(&["Last-Event-ID", "after"]);
    interface.exercise(service.address).await;
    service.end().await.unwrap();
}
