//! Taking orders: receipts, refusals, identity, and Kafka away.

#[path = "support/scene.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{SOON, Scene, fields};
use testkit::{ApiKey, Kafka, ResponseError, eventually, http, metrics};

#[tokio::test]
async fn an_order_is_answered_with_where_it_lies() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (status, receipt) = service
        .post_with(
            "/api/orders",
            &[("traceparent", trace)],
            r#"{"product":"Laptop","quantity":1,"userId":7}"#,
        )
        .await;
    assert_eq!(status, 200, "{receipt}");
    let id = receipt["orderId"].as_str().unwrap();
    assert_eq!(receipt["status"], "ACCEPTED");
    assert_eq!(receipt["message"], "ваш заказ принят в обработку");
    assert_eq!(receipt["topic"], scene.order_topic);
    assert_eq!(id.as_bytes()[14], b'7', "UUIDv7: {id}");

    let record = scene.records(&scene.order_topic, 1).await.remove(0);
    assert_eq!(receipt["partition"], record.partition);
    assert_eq!(receipt["offset"], record.offset);
    assert_eq!(record.key.as_deref(), Some(id.as_bytes()));
    assert_eq!(record.partition, kafka::partition_for_key(id.as_bytes(), 3));
    let event: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    assert_eq!(event["orderId"], id);
    assert_eq!(event["product"], "Laptop");
    assert_eq!(event["quantity"], 1);
    assert_eq!(event["userId"], "7");
    assert!(event["createdAt"].as_str().unwrap().ends_with('Z'));
    let header =
        |name: &str| String::from_utf8(record.headers.get(name).unwrap().to_vec()).unwrap();
    assert_eq!(header("ce_id"), id);
    assert_eq!(header("ce_type"), "OrderPlaced");
    assert_eq!(header("ce_source"), "/producer-svc");
    assert_eq!(
        header("traceparent")[..35],
        trace[..35],
        "the trace goes on"
    );
    assert_ne!(header("traceparent"), trace, "in a span of its own");
    service
        .metric_becomes("orders_total{outcome=\"accepted\"}", 1.0)
        .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_other_route_writes_and_answers_in_snake_case() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[("KAFKA_TYPE_ID_ORDER_PLACED", "com.shop.Order")])
        .await;
    let (status, receipt) = service
        .post_with(
            "/orders",
            &[("accept-language", "en")],
            r#"{"order_id":"12345","user_id":"user789","item":"laptop","quantity":2}"#,
        )
        .await;
    assert_eq!(status, 200, "{receipt}");
    let record = scene.records(&scene.orders_topic, 1).await.remove(0);
    assert_eq!(
        receipt,
        json!({"order_id": "12345", "status": "ACCEPTED",
               "message": "your order is accepted for processing",
               "topic": scene.orders_topic, "partition": record.partition, "offset": 0})
    );
    let event: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    assert_eq!(
        event,
        json!({"order_id": "12345", "user_id": "user789", "item": "laptop", "quantity": 2})
    );
    assert_eq!(
        record.headers.get("__TypeId__"),
        Some(&b"com.shop.Order"[..])
    );
}

#[tokio::test]
async fn the_same_key_is_the_same_order() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let body = r#"{"product":"Laptop","quantity":1,"userId":"u1"}"#;
    let of_other = r#"{"product":"Laptop","quantity":1,"userId":"u2"}"#;
    let mut ids = Vec::new();
    for (path, key, body) in [
        ("/api/orders", "k1", body),
        ("/api/orders", "k1", body),
        ("/api/orders", "k2", body),
        ("/api/orders", "k1", of_other),
        ("/orders", "k1", body),
    ] {
        let (status, receipt) = service
            .post_with(path, &[("Idempotency-Key", key)], body)
            .await;
        assert_eq!(status, 200, "{receipt}");
        let id = receipt.get("orderId").or(receipt.get("order_id")).unwrap();
        ids.push(id.as_str().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[0].as_bytes()[14], b'5', "UUIDv5: {}", ids[0]);
    let different: std::collections::HashSet<_> = ids[1..].iter().collect();
    assert_eq!(different.len(), 4, "{ids:?}");

    let long = "k".repeat(256);
    let (status, _) = service
        .post_with("/api/orders", &[("Idempotency-Key", &long)], body)
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_is_malformed_never_reaches_kafka() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("MAX_BODY_BYTES", "300")]).await;
    for (body, status, wrong) in [
        (
            r#"{"product":"Laptop","quantity":0}"#,
            422,
            vec!["quantity"],
        ),
        (r#"{"product":"Laptop"}"#, 422, vec!["quantity"]),
        (
            r#"{"product":"Laptop","quantity":1.5}"#,
            422,
            vec!["quantity"],
        ),
        (
            r#"{"product":7,"quantity":"many","userId":[]}"#,
            422,
            vec!["product", "quantity", "userId"],
        ),
        (
            r#"{"product":"a","item":"b","quantity":1}"#,
            422,
            vec!["product"],
        ),
        (r#"{"product":"#, 400, vec![]),
        ("", 400, vec![]),
        ("[]", 400, vec![]),
    ] {
        let (answered, problem) = service.post("/api/orders", body).await;
        assert_eq!(answered, status, "{body}: {problem}");
        assert_eq!(fields(&problem), wrong, "{body}");
        assert_eq!(problem["status"], status);
    }
    let long = format!(r#"{{"product":"{}","quantity":1}}"#, "x".repeat(300));
    assert_eq!(service.post("/api/orders", &long).await.0, 413);
    let typed = [("content-type", "text/plain")];
    let answer = http::request(service.address, "POST", "/api/orders", &typed, "{}").await;
    assert_eq!(answer.status, 415);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let answer = http::get(service.address, "/orders").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));

    let good = service.place().await;
    let record = scene.records(&scene.order_topic, 1).await.remove(0);
    assert_eq!(
        (record.key.as_deref(), record.offset),
        (Some(good.as_bytes()), 0)
    );
    service
        .metric_becomes("orders_total{outcome=\"refused\"}", 10.0)
        .await;
}

#[tokio::test]
async fn kafka_away_is_503_within_the_timeout_and_passes_by_itself() {
    let mut kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("REQUEST_TIMEOUT", "500ms")]).await;
    let body = r#"{"product":"Laptop","quantity":1}"#;
    // The first of all may take longer than that.
    service.posted("/api/orders", body, 200).await;
    kafka.kill_broker().await;

    let begun = Instant::now();
    let answer = http::post(service.address, "/api/orders", &[], body).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let problem: Value = serde_json::from_str(&answer.body).unwrap();
    let id = problem["orderId"]
        .as_str()
        .expect("the id to try again with")
        .to_owned();
    eventually(SOON, || async {
        // It still gets requests, which are told when to come back: all instances have lost Kafka.
        let ready = http::get(service.address, "/readyz").await;
        let strict = http::get(service.address, "/readyz?strict").await;
        let named = ready.body.contains("kafka") && strict.body.contains("kafka");
        (ready.status == 200 && strict.status == 503 && named).then_some(())
    })
    .await;
    assert_eq!(http::get(service.address, "/livez").await.status, 200);

    kafka.start_broker().await;
    let again = format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1}}"#);
    let receipt = service.posted("/api/orders", &again, 200).await;
    assert_eq!(receipt["orderId"], id);
    service.ready().await;
    let unavailable = "orders_total{outcome=\"unavailable\"}";
    assert!(metrics::value(service.address, unavailable).await >= Some(1.0));
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_is_503_at_once() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[("KAFKA_BUFFER_MEMORY", "4KiB"), ("REQUEST_TIMEOUT", "20s")])
        .await;
    service.place().await;
    let slow = kafka
        .faults()
        .on(ApiKey::Produce)
        .topic(&scene.order_topic)
        .always();
    let slow = slow.delay(Duration::from_secs(15));
    let product = "x".repeat(1_000);
    let body = format!(r#"{{"product":"{product}","quantity":1}}"#);
    let begun = Instant::now();
    let (status, problem) = service.first_of(10, "/api/orders", &body).await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("too many"),
        "{problem}"
    );
    assert!(problem["orderId"].is_string());
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    slow.clear();
}

#[tokio::test]
async fn a_topic_that_refuses_is_503_with_the_true_reason_until_it_takes_again() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let book_topic = scene.book_topic("views");
    let topics = [&scene.order_topic, &book_topic]
        .map(|topic| kafka::NewTopic::new(topic, 3, 1).config("max.message.bytes", "100"));
    let created = scene.client().admin().create_topics(&topics).await;
    created.unwrap();
    let service = scene.start_ready(&[]).await;
    let order = r#"{"orderId":"7","product":"Laptop","quantity":1}"#;
    for (path, topic, taken, body) in [
        ("/api/orders", &scene.order_topic, 200, order),
        ("/api/books/3/views", &book_topic, 202, r#"{"eventId":"7"}"#),
    ] {
        let (status, problem) = service.post(path, body).await;
        assert_eq!(status, 503, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        for part in [topic, "max.message.bytes", "with the same id"] {
            assert!(detail.contains(part), "{detail}");
        }
        let ready = http::get(service.address, "/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        for part in [&format!("intake of {topic}"), "max.message.bytes"] {
            assert!(ready.body.contains(part), "{}", ready.body);
        }
        kafka.set_topic(topic, "max.message.bytes", "1048588").await;
        service.posted(path, body, taken).await;
        service.ready().await;
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_refusal_names_code_and_what_to_look_at() {
    let kafka = Kafka::own_broker().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    service.place().await;
    for (code, look_at) in [
        (
            ResponseError::InvalidTimestamp,
            "message.timestamp.after.max.ms",
        ),
        (ResponseError::PolicyViolation, "policies"),
        (ResponseError::TopicAuthorizationFailed, "ACLs"),
    ] {
        let produce = kafka.faults().on(ApiKey::Produce);
        produce.topic(&scene.order_topic).error(code);
        let body = r#"{"product":"Laptop","quantity":1}"#;
        let (status, problem) = service.post("/api/orders", body).await;
        assert_eq!(status, 503, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(look_at), "{detail}");
        let begin = format!(
            "Kafka does not take the order: a record for {}",
            scene.order_topic
        );
        assert!(detail.starts_with(&begin), "{detail}");
        service.posted("/api/orders", body, 200).await;
        service.ready().await;
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn orders_are_taken_without_a_database() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    // Nobody listens there.
    let away = [("DATABASE_URL", "postgres://127.0.0.1:1/nobody")];
    let service = scene.start(&away).await;
    eventually(SOON, || async {
        (http::get(service.address, "/readyz").await.status == 200).then_some(())
    })
    .await;
    let id = service.place().await;
    let strict = http::get(service.address, "/readyz?strict").await;
    assert!(
        strict.status == 503 && strict.body.contains("database"),
        "{}",
        strict.body
    );
    let state = http::get(service.address, &format!("/api/orders/{id}")).await;
    assert_eq!(state.status, 503, "{}", state.body);
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_intake_only_instance_has_no_view() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[
            ("ORDER_VIEW", "false"),
            ("USERS", "false"),
            ("ANALYTICS", "false"),
        ])
        .await;
    let id = service.place().await;
    for path in [format!("/api/orders/{id}"), "/api/orders/events".to_owned()] {
        let answer = http::get(service.address, &path).await;
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("ORDER_VIEW=false"), "{}", answer.body);
    }
    let folder = scene.database.folder.path();
    assert_eq!(folder.read_dir().unwrap().count(), 0);
    service.end().await.unwrap();
}

#[tokio::test]
async fn the_same_id_with_other_content_is_refused_where_it_is_known() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    let order =
        |quantity: u32| format!(r#"{{"orderId":"o1","product":"Laptop","quantity":{quantity}}}"#);
    for _ in 0..2 {
        let (status, receipt) = service.post("/api/orders", &order(1)).await;
        assert_eq!(status, 200, "{receipt}");
    }
    let (status, problem) = service.post("/api/orders", &order(2)).await;
    assert_eq!(
        (status, &problem["orderId"]),
        (409, &json!("o1")),
        "{problem}"
    );
    assert_eq!(problem["status"], 409);
    // The same order by the other route, and another one.
    let (status, _) = service.post("/orders", &order(1)).await;
    assert_eq!(status, 200);
    let (status, problem) = service.post("/orders", &order(2)).await;
    assert_eq!(
        (status, &problem["order_id"]),
        (409, &json!("o1")),
        "{problem}"
    );
    // Many at once: one of them is the order.
    let many = (1..=50).map(|quantity| {
        let body = format!(r#"{{"orderId":"o2","product":"Laptop","quantity":{quantity}}}"#);
        let service = &service;
        async move { service.post("/api/orders", &body).await.0 }
    });
    let statuses = futures::future::join_all(many).await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 49);

    // An Idempotency-Key names one request.
    let key = [("Idempotency-Key", "k1")];
    let body =
        |quantity: u32| format!(r#"{{"product":"Laptop","quantity":{quantity},"userId":"u"}}"#);
    let (status, first) = service.post_with("/api/orders", &key, &body(1)).await;
    assert_eq!(status, 200, "{first}");
    let (status, problem) = service.post_with("/api/orders", &key, &body(2)).await;
    assert_eq!(
        (status, &problem["orderId"]),
        (422, &first["orderId"]),
        "{problem}"
    );
    assert_eq!(problem["errors"][0]["field"], "Idempotency-Key");
    let (status, again) = service.post_with("/api/orders", &key, &body(1)).await;
    assert_eq!((status, &again["orderId"]), (200, &first["orderId"]));
    // Nothing of what was refused is in the log: o1 twice, o2, and the key's order twice.
    let records = scene.records(&scene.order_topic, 5).await;
    assert_eq!(records.len(), 5);
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_kafka_did_not_take_leaves_its_id_free() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("MAX_BODY_BYTES", "4MiB")]).await;
    let large = "x".repeat(2 << 20);
    let body = format!(r#"{{"orderId":"o1","product":"{large}","quantity":1}}"#);
    let (status, problem) = service.post("/api/orders", &body).await;
    assert_eq!(status, 413, "{problem}");
    let body = r#"{"orderId":"o1","product":"Laptop","quantity":1}"#;
    let (status, receipt) = service.post("/api/orders", body).await;
    assert_eq!(status, 200, "{receipt}");
    service.end().await.unwrap();
}
