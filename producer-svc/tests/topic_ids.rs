//! Topics that are deleted and created again while the service keeps positions of the old ones.

#[path = "support/scene.rs"]
mod support;

use serde_json::{Value, json};
use support::{SOON, Scene};
use testkit::http::{self, Events};
use testkit::{Kafka, eventually};

/// Deletes topics, and returns once no broker knows them any more.
async fn delete(scene: &Scene, topics: &[&str]) {
    let admin = scene.client().admin();
    admin.delete_topics(topics).await.unwrap();
    eventually(SOON, || async {
        let described = admin.describe_topics(topics).await;
        described.is_ok_and(|found| found.is_empty()).then_some(())
    })
    .await;
}

async fn place(service: &support::Running, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(service.place().await);
    }
    ids
}

#[tokio::test]
async fn orders_of_topics_created_again_are_found_and_those_of_before_as_well() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let producer = scene.producer();
    let service = scene.start_ready(&[]).await;
    let before = place(&service, 6).await;
    for id in &before {
        scene.send_status(&producer, id, "CREATED").await;
        scene.send_status(&producer, id, "CONFIRMED").await;
        service.order_with(id, 3).await;
    }
    service.end().await.unwrap();

    let topics = [
        &*scene.order_topic,
        &scene.orders_topic,
        &scene.status_topic,
    ];
    delete(&scene, &topics).await;
    let service = scene.start_ready(&[]).await;
    // The same partitions and offsets, and some more.
    let anew = place(&service, 8).await;
    let producer = scene.producer();
    for id in &anew {
        scene.send_status(&producer, id, "CREATED").await;
        scene.send_status(&producer, id, "REJECTED").await;
    }
    for (ids, status) in [(&anew, "REJECTED"), (&before, "CONFIRMED")] {
        for id in ids {
            let state = service.order_with(id, 3).await;
            assert_eq!(state["status"], status);
            let of = state["events"].as_array().unwrap();
            let named = |event: &Value| topics.contains(&event["topic"].as_str().unwrap());
            assert!(of.iter().all(named), "{state}");
        }
    }
    service.end().await.unwrap();
}

/// An aggregate without an id is known by its place, and the same place of the new topic is another one.
#[tokio::test]
async fn figures_without_an_id_of_a_topic_created_again_are_stored_beside_those_of_before() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let topic = &scene.aggregates_topic;
    let service = scene.start_ready(&[]).await;
    let publish = async |views: i64, at: &str| {
        let data = json!({"bookId": 3, "views": views, "downloads": 0, "purchases": 0, "revenue": {},
                          "reviews": 0, "ratings": 0, "averageRating": null});
        let aggregate = json!({"aggregationType": "BOOK_STATS", "generatedAt": at, "data": data});
        support::send(&scene.producer(), topic, "3", &aggregate.to_string()).await;
    };
    let views = async |service: &support::Running, wanted: i64| {
        eventually(SOON, || async {
            let (status, book) = service.admin_get("/api/admin/analytics/books/3").await;
            (status == 200 && book["views"] == wanted).then_some(book)
        })
        .await
    };
    publish(7, "2026-01-02T00:00:00Z").await;
    views(&service, 7).await;
    service.end().await.unwrap();

    delete(&scene, &[topic]).await;
    let service = scene.start_ready(&[]).await;
    publish(8, "2026-01-02T00:01:00Z").await;
    let book = views(&service, 8).await;
    assert_eq!(book["history"].as_array().unwrap().len(), 2, "{book}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_ended_in_another_topic_is_told_to_reset_and_misses_nothing() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let producer = scene.producer();
    let service = scene.start_ready(&[]).await;
    scene.send_status(&producer, "old", "CREATED").await;
    // From the beginning, as a client of an earlier version knows it.
    let start = "0.0:0,0.1:0,0.2:0";
    let mut events = Events::open(service.address, "/api/orders/events", Some(start)).await;
    let last = loop {
        let event = events.next().await.unwrap();
        if event.name == "status" {
            break event.id.unwrap();
        }
    };
    drop(events);
    service.end().await.unwrap();

    delete(&scene, &[&scene.status_topic]).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    // More in each partition than the client had read of the old one.
    let orders: Vec<String> = (0..20).map(|n| format!("new {n}")).collect();
    for id in &orders {
        scene.send_status(&producer, id, "CREATED").await;
    }
    let mut events = Events::open(service.address, "/api/orders/events", Some(&last)).await;
    let (mut resets, mut seen, mut newest) = (0, Vec::new(), String::new());
    while seen.len() < orders.len() {
        let event = events.next().await.unwrap();
        newest = event.id.unwrap_or(newest);
        match &*event.name {
            "reset" => resets += 1,
            "status" => {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                seen.push(data["orderId"].as_str().unwrap().to_owned());
            }
            _ => {}
        }
    }
    assert_eq!(resets, 3, "one a partition");
    seen.sort();
    let mut wanted = orders.clone();
    wanted.sort();
    assert_eq!(seen, wanted);
    drop(events);

    // What it was told last is good again.
    let mut events = Events::open(service.address, "/api/orders/events", Some(&newest)).await;
    scene.send_status(&producer, "last", "CREATED").await;
    loop {
        let event = events.next().await.unwrap();
        assert_ne!(event.name, "reset");
        if event.name == "status" {
            assert!(event.data.contains("last"), "{}", event.data);
            break;
        }
    }
    drop(events);
    let answer = http::get(service.address, "/readyz?strict").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    service.end().await.unwrap();
}
