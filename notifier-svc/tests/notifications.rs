//! Notifications through a running notifier-svc, on the embedded broker or on Apache Kafka.

#[path = "support/desk.rs"]
mod desk;

use desk::{Desk, PATIENCE};
use proto::dead_letter;
use testkit::http::Events;
use testkit::{Kafka, eventually, http, metrics};

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_is_stored_and_listed() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    assert!(service.list("").await.is_empty());
    let (partition, offset) = desk.confirmed("12345", "user789").await;
    let rejected = r#"{"orderId":7,"status":"REJECTED","reason":"too many"}"#;
    desk.send(None, rejected, &[]).await;
    service.counted("stored", 2).await;

    let mine = service.list("?userId=user789&limit=10").await;
    let [mine] = &mine[..] else {
        panic!("{mine:?}");
    };
    assert_eq!(mine["order_id"], "12345");
    assert_eq!(mine["status"], "CONFIRMED");
    assert_eq!(mine["user_id"], "user789");
    assert_eq!(mine["topic"], *desk.topic);
    assert_eq!(
        (&mine["partition"], &mine["offset"]),
        (&partition.into(), &offset.into())
    );
    assert!(mine["received_at"].as_str().unwrap().ends_with('Z'));
    assert!(mine.get("reason").is_none());

    let all = service.list("").await;
    let other = all.iter().find(|row| row["order_id"] == "7").unwrap();
    assert_eq!(other["status"], "REJECTED");
    assert_eq!(other["reason"], "too many");
    assert!(other.get("user_id").is_none());
    assert_eq!(all.len(), 2);
    assert_eq!(service.list("?limit=1").await.len(), 1);
    let refused = http::get(service.address, "/api/notifications?limit=0").await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
    assert!(
        refused.body.contains(r#""field":"limit""#),
        "{}",
        refused.body
    );
    service.stop().await;
    assert_eq!(desk.committed().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_result_stays_repeats_and_contradictions_are_counted() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    desk.confirmed("1", "u").await;
    service.counted("stored", 1).await;
    desk.confirmed("1", "u").await;
    desk.send(Some("1"), r#"{"order_id":"1","status":"REJECTED"}"#, &[])
        .await;
    service.counted("repeated", 1).await;
    service.counted("contradicted", 1).await;
    let rows = service.list("").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["status"], "CONFIRMED");
    service.stop().await;
    // Right through a restart.
    let service = desk.start_ready().await;
    desk.confirmed("1", "u").await;
    service.counted("repeated", 1).await;
    assert_eq!(service.list("").await.len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_notification_becomes_a_dead_letter() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    let none = r#"{"order_id":"1","status":""}"#;
    desk.send(Some("1"), none, &[]).await;
    // A replay that another group asked for is none of ours.
    let headers = [
        ("dlt-consumer-group", "others"),
        ("dlt-replay-of", "x-dlt/0/1"),
    ];
    desk.send(
        Some("1"),
        r#"{"order_id":"1","status":"CONFIRMED"}"#,
        &headers,
    )
    .await;
    desk.confirmed("2", "u").await;
    service.counted("stored", 1).await;
    let letter = &desk.records(&format!("{}-dlt", desk.topic), 1).await[0];
    assert_eq!(letter.value.as_deref(), Some(none.as_bytes()));
    assert_eq!(
        letter.headers.get_str(dead_letter::REASON),
        Some("status must not be empty")
    );
    let rows = service.list("").await;
    assert_eq!((rows.len(), &rows[0]["order_id"]), (1, &"2".into()));
    service.stop().await;
    assert_eq!(desk.committed().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_come_through_and_each_is_stored_once() {
    const ORDERS: usize = 3_000;
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    let ids: Vec<String> = (0..ORDERS).map(|n| format!("o-{n}")).collect();
    // Every notification twice.
    let sending = ids.iter().chain(&ids).map(|id| desk.confirmed(id, "u"));
    futures::future::join_all(sending).await;
    service.counted("stored", ORDERS as u64).await;
    service.counted("repeated", ORDERS as u64).await;
    service.stop().await;
    assert_eq!(desk.committed().await, 2 * ORDERS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumption_waits_while_the_database_is_away() {
    let kafka = Kafka::start().await;
    let mut desk = Desk::new(&kafka).await;
    // A folder that cannot be made: a file is in its place.
    let place = desk.database.folder.path().join("folder");
    std::fs::write(&place, "in the way").unwrap();
    desk.database.url = format!("sqlite:{}", place.join("test.db").display());
    let service = desk.start(&[]).await;
    eventually(PATIENCE, || async {
        let topics = desk.client.admin().topics().await.ok()?;
        topics
            .iter()
            .any(|topic| *topic.name == *desk.topic)
            .then_some(())
    })
    .await;
    desk.confirmed("1", "u").await;
    eventually(PATIENCE, || async {
        let ready = http::get(service.address, "/readyz").await;
        // The group is joined when the database has let this instance in.
        let degraded =
            ready.body.contains(r#""name":"database""#) && ready.body.contains("is starting");
        (ready.status == 200 && degraded).then_some(())
    })
    .await;
    assert_eq!(
        http::get(service.address, "/readyz?strict").await.status,
        503
    );
    let away = http::get(service.address, "/api/notifications").await;
    assert_eq!(away.status, 503, "{}", away.body);
    assert!(away.header("retry-after").is_some());
    assert_eq!(desk.committed().await, 0);

    std::fs::remove_file(&place).unwrap();
    service.counted("stored", 1).await;
    service.ready().await;
    assert_eq!(service.list("").await.len(), 1);
    service.stop().await;
    assert_eq!(desk.committed().await, 1);
    let letters = format!("{}-dlt", desk.topic);
    let partitions: Vec<_> = (0..3)
        .map(|partition| kafka::TopicPartition::new(letters.as_str(), partition))
        .collect();
    let ends = desk
        .client
        .admin()
        .offsets(&partitions, kafka::OffsetAt::Latest)
        .await
        .unwrap();
    assert!(
        ends.values().all(|end| *end == 0),
        "no attempt counted: {ends:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_streamed_and_resumed_on_any_instance() {
    let kafka = Kafka::start().await;
    let mut desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    let path = "/api/notifications/events";
    let mut everybody = Events::open(service.address, path, None).await;
    let mut mine = Events::open(service.address, "/api/notifications/events?userId=me", None).await;
    everybody.positioned().await;
    mine.positioned().await;
    desk.confirmed("1", "me").await;
    let first = everybody.next().await.unwrap();
    assert_eq!(first.name, "notification");
    let data: serde_json::Value = serde_json::from_str(&first.data).unwrap();
    assert_eq!(data["order_id"], "1");
    assert_eq!(data["status"], "CONFIRMED");
    assert_eq!(mine.next().await.unwrap().data, first.data);
    desk.confirmed("2", "you").await;
    desk.confirmed("3", "me").await;
    assert!(
        everybody
            .next()
            .await
            .unwrap()
            .data
            .contains(r#""order_id":"2""#)
    );
    let third = mine.next().await.unwrap();
    assert!(third.data.contains(r#""order_id":"3""#), "{third:?}");

    // Streams end with the service; another instance, of another group, goes on behind the first
    // event.
    service.stop().await;
    everybody.next().await;
    assert_eq!(everybody.next().await, None);
    desk.group = testkit::unique("notification-group");
    let service = desk.start_ready().await;
    let mut resumed = Events::open(service.address, path, first.id.as_deref()).await;
    let mut orders = Vec::new();
    for _ in 0..2 {
        let event = resumed.next().await.unwrap();
        let data: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        orders.push(data["order_id"].as_str().unwrap().to_owned());
    }
    orders.sort();
    assert_eq!(orders, ["2", "3"]);
    let refused = http::request(service.address, "GET", path, &[("last-event-id", "x")], "").await;
    assert_eq!(refused.status, 400);
    drop(resumed);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_how_it_fares() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    desk.confirmed("1", "u").await;
    service.counted("stored", 1).await;
    let processed = format!(
        r#"messaging_process_duration_seconds_count{{messaging_system="kafka",messaging_consumer_group_name="{}",messaging_destination_name="{}"}}"#,
        desk.group, desk.topic
    );
    // Counted when the record's flight ends, which is after it was stored.
    metrics::becomes(service.address, &processed, 1.0, PATIENCE).await;
    let openapi = http::get(service.address, "/openapi.json").await;
    let openapi: serde_json::Value = serde_json::from_str(&openapi.body).unwrap();
    for path in [
        "/api/notifications",
        "/api/notifications/events",
        "/livez",
        "/readyz",
    ] {
        assert!(openapi["paths"][path]["get"].is_object(), "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_another_system_is_shown_and_not_stored() {
    let kafka = Kafka::start().await;
    let desk = Desk::new(&kafka).await;
    let service = desk.start_ready().await;
    let mut events = Events::open(service.address, "/api/notifications/events", None).await;
    events.positioned().await;
    let step = r#"{"order_id":"1","status":"PROCESSING","user_id":"u"}"#;
    desk.send(Some("1"), step, &[]).await;
    service.counted("step", 1).await;
    // It is not the result.
    desk.send(
        Some("1"),
        r#"{"order_id":"1","status":"confirmed","user_id":"u"}"#,
        &[],
    )
    .await;
    service.counted("stored", 1).await;
    let rows = service.list("").await;
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &"CONFIRMED".into()));
    for expected in ["PROCESSING", "CONFIRMED"] {
        let event = events.next().await.unwrap();
        assert!(event.data.contains(expected), "{}", event.data);
    }
    service.stop().await;
    assert_eq!(desk.committed().await, 2);
}
