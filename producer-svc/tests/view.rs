//! What becomes of an order: its state, its receipt, its events.

#[path = "support/scene.rs"]
mod support;

use serde_json::{Value, json};
use support::{SOON, Scene};
use testkit::http::{self, Events};
use testkit::{Kafka, eventually};

#[tokio::test]
async fn an_order_is_seen_at_once_and_its_state_never_goes_back() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let (_, receipt) = service
        .post(
            "/api/orders",
            r#"{"product":"Laptop","quantity":3,"userId":"u"}"#,
        )
        .await;
    let id = receipt["orderId"].as_str().unwrap();

    // The first look finds it, without trying again.
    let answer = http::get(service.address, &format!("/api/orders/{id}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let state: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(state["status"], "ACCEPTED");
    assert_eq!(state["product"], "Laptop");
    assert_eq!(state["quantity"], 3);
    assert_eq!(state["userId"], "u");
    let placed = &state["events"][0];
    for part in ["topic", "partition", "offset"] {
        assert_eq!(placed[part], receipt[part]);
    }
    assert!(placed["time"].as_str().unwrap().ends_with('Z'));

    let created = scene.send_status(&producer, id, "CREATED").await;
    service.order(id, "CREATED").await;
    let confirmed = scene.send_status(&producer, id, "CONFIRMED").await;
    let state = service.order_with(id, 3).await;
    assert_eq!(state["status"], "CONFIRMED");
    let events = state["events"].as_array().unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| {
            (
                e["status"].as_str().unwrap(),
                e["partition"].as_i64().unwrap() as i32,
                e["offset"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen[1..],
        [
            ("CREATED", created.0, created.1),
            ("CONFIRMED", confirmed.0, confirmed.1)
        ]
    );

    // A repeat and a contradiction are shown, and change nothing.
    for status in ["CONFIRMED", "REJECTED", "CREATED"] {
        scene.send_status(&producer, id, status).await;
    }
    let state = service.order_with(id, 6).await;
    assert_eq!(
        (&state["status"], &state["reason"]),
        (&json!("CONFIRMED"), &Value::Null)
    );
    service
        .metric_becomes("order_view_contradictions_total", 1.0)
        .await;

    let unknown = http::get(service.address, "/api/orders/unknown").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.body.contains("not seen yet"), "{}", unknown.body);
    // What no order can be called is not waited for, nor is the database asked.
    let impossible = http::get(service.address, "/api/orders/a%00b").await;
    assert_eq!(impossible.status, 404);
    assert!(impossible.body.contains("printable"), "{}", impossible.body);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_what_was_seen_and_goes_on() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let producer = scene.producer();
    let service = scene.start_ready(&[]).await;
    let id = service.place().await;
    scene.send_status(&producer, &id, "CREATED").await;
    let before = service.order_with(&id, 2).await;
    service.end().await.unwrap();

    scene.send_status(&producer, &id, "REJECTED").await;
    let service = scene.start_ready(&[]).await;
    let after = service.order(&id, "REJECTED").await;
    assert_eq!(after["reason"], "too many");
    assert_eq!(
        after["events"].as_array().unwrap()[..2],
        before["events"].as_array().unwrap()[..]
    );
    service.end().await.unwrap();

    // All of it read once more changes nothing: a row is where its record lies.
    let again = Scene {
        group: testkit::unique("order-view"),
        ..scene
    };
    let service = again.start_ready(&[]).await;
    eventually(SOON, || async {
        let done = format!(
            "kafka_consumer_records_total{{group=\"{}\",topic=\"{}\",outcome=\"done\"}}",
            again.group, again.status_topic
        );
        let text = http::get(service.address, "/metrics").await.body;
        text.contains(&format!("{done} 2")).then_some(())
    })
    .await;
    assert_eq!(service.order(&id, "REJECTED").await, after);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_status_that_is_none_goes_to_the_dead_letters_and_others_go_on() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let id = service.place().await;
    scene.send_status(&producer, &id, "").await;
    scene.send_status(&producer, &id, "CREATED").await;
    service.order(&id, "CREATED").await;
    let dead = scene
        .records(&format!("{}-dlt", scene.status_topic), 1)
        .await
        .remove(0);
    assert_eq!(dead.key.as_deref(), Some(id.as_bytes()));
    assert_eq!(
        dead.headers.get("dlt-consumer-group"),
        Some(scene.group.as_bytes())
    );
    let reason = String::from_utf8(dead.headers.get("dlt-reason").unwrap().to_vec()).unwrap();
    assert!(reason.contains("status"), "{reason}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_order_is_streamed_from_its_beginning() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let (id, other) = (service.place().await, service.place().await);
    scene.send_status(&producer, &id, "CREATED").await;
    service.order_with(&id, 2).await;

    let mut events = Events::open(service.address, &format!("/api/orders/{id}/events"), None).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(events.next().await.unwrap());
    }
    scene.send_status(&producer, &other, "CONFIRMED").await;
    scene.send_status(&producer, &id, "CONFIRMED").await;
    seen.push(events.next().await.unwrap());
    let statuses: Vec<Value> = seen
        .iter()
        .map(|event| serde_json::from_str::<Value>(&event.data).unwrap()["status"].clone())
        .collect();
    assert_eq!(statuses, ["ACCEPTED", "CREATED", "CONFIRMED"]);
    assert!(
        seen.iter()
            .all(|event| event.name == "status" && event.data.contains(&id))
    );
    service.end().await.unwrap();
    assert_eq!(
        events.next().await,
        None,
        "the stream ends with the service"
    );
}

#[tokio::test]
async fn a_stream_resumes_on_another_instance_where_it_ended() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let mut events = Events::open(service.address, "/api/orders/events", None).await;
    events.positioned().await;
    for n in 0..5 {
        scene
            .send_status(&producer, &format!("o{n}"), "CREATED")
            .await;
    }
    for _ in 0..3 {
        events.next().await.unwrap();
    }
    let last = events.last_id().unwrap().to_owned();
    // What the first instance would have sent next.
    let rest = [events.next().await.unwrap(), events.next().await.unwrap()];
    drop(events);
    service.end().await.unwrap();
    scene.send_status(&producer, "o5", "CREATED").await;

    let service = scene.start_ready(&[]).await;
    let mut resumed = Events::open(service.address, "/api/orders/events", Some(&last)).await;
    scene.send_status(&producer, "o6", "CREATED").await;
    let mut data = Vec::new();
    for _ in 0..4 {
        data.push(resumed.next().await.unwrap().data);
    }
    // Partitions may come in another order than they were written in; each is whole.
    let mut ids: Vec<String> = data
        .iter()
        .map(|data| {
            serde_json::from_str::<Value>(data).unwrap()["orderId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    ids.sort();
    let mut wanted: Vec<String> = rest
        .iter()
        .map(|event| {
            serde_json::from_str::<Value>(&event.data).unwrap()["orderId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    wanted.extend(["o5".to_owned(), "o6".to_owned()]);
    wanted.sort();
    assert_eq!(ids, wanted);

    let answer = http::request(
        service.address,
        "GET",
        "/api/orders/events",
        &[("last-event-id", "yesterday")],
        "",
    )
    .await;
    assert_eq!(answer.status, 400);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_stream_past_retention_is_told_to_reset() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    scene.send_status(&producer, "o1", "CREATED").await;
    // Offsets that the log does not hold (any more): each partition's end is far below.
    let id = "0.0:900,0.1:900,0.2:900";
    let mut events = Events::open(service.address, "/api/orders/events", Some(id)).await;
    let mut resets = 0;
    while resets < 3 {
        let event = events.next().await.unwrap();
        if event.name == "status" {
            // A partition that was reset before goes on with its first record.
            assert!(event.data.contains("o1"));
            continue;
        }
        assert_eq!(event.name, "reset");
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!((&data["asked"], &data["resumed"]), (&json!(900), &json!(0)));
        resets += 1;
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_is_past_its_retention_is_forgotten() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let id = service.place().await;
    service.order(&id, "ACCEPTED").await;
    service.end().await.unwrap();
    // Only now, so that the order is not gone before it is seen.
    let service = scene.start_ready(&[("ORDER_VIEW_RETENTION", "1s")]).await;
    eventually(SOON, || async {
        let answer = http::get(service.address, &format!("/api/orders/{id}")).await;
        (answer.status == 404).then_some(())
    })
    .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_id_that_no_path_can_carry_is_refused_and_another_systems_is_read_by_query() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    for id in ["events", ".", ".."] {
        let order = format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1}}"#);
        for path in ["/api/orders", "/orders"] {
            let (status, problem) = service.post(path, &order).await;
            assert_eq!(status, 422, "{id}: {problem}");
            assert_eq!(problem["errors"][0]["field"], "orderId", "{problem}");
        }
        // As another system may have sent it.
        support::send(&producer, &scene.order_topic, id, &order).await;
        let path = format!("/api/orders?orderId={id}");
        let order = eventually(SOON, || async {
            let answer = http::get(service.address, &path).await;
            (answer.status == 200).then_some(answer.body)
        })
        .await;
        assert!(order.contains(&format!(r#""orderId":"{id}""#)), "{order}");
        let path = format!("/api/orders/events?orderId={id}");
        let mut events = Events::open(service.address, &path, None).await;
        scene.send_status(&producer, id, "CONFIRMED").await;
        let event = events.next().await.expect("the stream goes on");
        assert!(
            event.data.contains(&format!(r#""orderId":"{id}""#)),
            "{event:?}"
        );
    }
    let unnamed = http::get(service.address, "/api/orders").await;
    assert_eq!(unnamed.status, 422, "{unnamed:?}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn statuses_of_other_systems_are_shown_as_they_are_and_end_nothing() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let id = service.place().await;
    let mut events = Events::open(service.address, "/api/orders/events", None).await;
    events.positioned().await;
    scene.send_status(&producer, &id, "CREATED").await;
    scene.send_status(&producer, &id, "Processing").await;
    // The order and its statuses lie in different topics, so a status may be seen first.
    let state = service.order_with(&id, 3).await;
    assert_eq!(state["status"], "Processing", "{state}");
    assert_eq!(state["events"][2]["status"], "Processing");
    for expected in ["CREATED", "Processing"] {
        let event = events.next().await.unwrap();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["status"], expected);
    }
    // As a Java part may spell it, with a time that is none of ours.
    let confirmed = format!(
        "\u{feff}{{\"orderId\":\"{id}\",\"status\":\"confirmed\",\"updatedAt\":1767323045.678}}"
    );
    support::send(&producer, &scene.status_topic, &id, &confirmed).await;
    scene.send_status(&producer, &id, "SHIPPED").await;
    let state = service.order_with(&id, 5).await;
    assert_eq!(state["status"], "CONFIRMED", "{state}");
    assert_eq!(state["events"][4]["status"], "SHIPPED");
    service.end().await.unwrap();
}

#[tokio::test]
async fn conflicts_are_shown_in_the_order_and_its_events_are_bounded() {
    const REPEATS: usize = 500;
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let producer = scene.producer();
    let mut sent = Vec::new();
    for quantity in 1..=REPEATS {
        let value = format!(r#"{{"orderId":"o1","product":"Laptop","quantity":{quantity}}}"#);
        let record = kafka::OutgoingRecord {
            topic: &scene.order_topic,
            key: Some(b"o1"),
            value: Some(value.as_bytes()),
            ..Default::default()
        };
        sent.push(producer.enqueue(&record).unwrap());
    }
    for delivery in sent {
        delivery.await.unwrap();
    }
    scene.send_status(&producer, "o1", "CONFIRMED").await;
    let state = eventually(SOON, || async {
        let answer = http::get(service.address, "/api/orders/o1").await;
        assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
        let state: Value = serde_json::from_str(&answer.body).unwrap();
        let shown = state["events"].as_array().map_or(0, Vec::len);
        let all = state["conflicts"] == REPEATS - 1
            && state["status"] == "CONFIRMED"
            && state["eventsLeftOut"] == REPEATS + 1 - shown;
        all.then_some(state)
    })
    .await;
    // The first one counts, and the answer says what it leaves out.
    assert_eq!(
        (&state["product"], &state["quantity"]),
        (&json!("Laptop"), &json!(1))
    );
    let events = state["events"].as_array().unwrap();
    assert_eq!(events[0].get("conflict"), None);
    assert_eq!(events[1]["conflict"], true);
    assert_eq!(events.last().unwrap()["status"], "CONFIRMED");
    // An order without any says nothing of it.
    let fine = service.place().await;
    let state = service.order(&fine, "ACCEPTED").await;
    assert_eq!(
        (state.get("conflicts"), state.get("eventsLeftOut")),
        (None, None)
    );
    service.end().await.unwrap();
}
