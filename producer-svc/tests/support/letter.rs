use kafka::{NewTopic, OutgoingRecord};
use proto::Rfc3339;
use proto::dead_letter::Place;

use crate::scene::Scene;

/// Adds a letter of a record on the snake_case topic that was no order, as a consumer leaves it.
pub async fn add(scene: &Scene, value: &str, reason: &str) -> Place {
    let topic = format!("{}-dlt", scene.orders_topic);
    let admin = scene.client().admin();
    admin
        .create_topics(&[NewTopic::new(&*topic, 3, 1)])
        .await
        .unwrap();
    let now = Rfc3339::now();
    let headers = [
        ("dlt-original-topic", &*scene.orders_topic),
        ("dlt-original-partition", "2"),
        ("dlt-original-offset", "17"),
        ("dlt-consumer-group", "order-processing"),
        ("dlt-reason", reason),
        ("dlt-attempts", "1"),
        ("dlt-time", now.as_str()),
    ]
    .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
    let record = OutgoingRecord {
        topic: &topic,
        partition: Some(2),
        key: Some(b"7"),
        value: Some(value.as_bytes()),
        headers: &headers,
        ..OutgoingRecord::default()
    };
    let place = scene.producer().send(&record).await.unwrap();
    Place {
        topic,
        partition: place.partition,
        offset: place.offset,
    }
}
