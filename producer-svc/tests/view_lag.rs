//! How far the order view is behind: shown, bridged for those who have just placed an order, and bounded.

#[path = "support/held.rs"]
mod held;
#[path = "support/scene.rs"]
mod support;

use held::HeldPartition;
use serde_json::{Value, json};
use support::{Running, SOON, Scene};
use testkit::tokens::{SECRET, as_user, bearer};
use testkit::{Kafka, eventually, http, metrics};

/// An instance that knows how far the view is.
async fn started(scene: &Scene, more: &[(&str, &str)]) -> Running {
    let service = scene.start_ready(more).await;
    for topic in [&scene.order_topic, &scene.orders_topic, &scene.status_topic] {
        service.metric_becomes(&lag("records", topic), 0.0).await;
    }
    service
}

fn lag(unit: &str, topic: &str) -> String {
    format!("order_view_lag_{unit}{{topic=\"{topic}\"}}")
}

fn order(id: &str) -> String {
    json!({"orderId": id, "product": "Laptop", "quantity": 3, "userId": "ann"}).to_string()
}

async fn shown(service: &Running, id: &str) -> (u16, Value) {
    let answer = http::get(service.address, &format!("/api/orders/{id}")).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

async fn degraded(service: &Running, name: &str) -> Option<String> {
    let report = http::get(service.address, "/readyz").await;
    assert_eq!(report.status, 200, "{report:?}");
    let report: Value = serde_json::from_str(&report.body).unwrap();
    let parts = report["degraded"].as_array().unwrap();
    let part = parts.iter().find(|part| part["name"] == name)?;
    Some(part["problem"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn who_accepted_an_order_shows_it_before_the_view_has_it_and_others_say_how_far_it_is() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = started(&scene, &[]).await;
    let other = started(&scene, &[]).await;
    let held = HeldPartition::of(&kafka, &scene).await;
    let id = held.order_id(0);
    let before = proto::Rfc3339::now();
    let (status, receipt) = service.post("/api/orders", &order(&id)).await;
    assert_eq!(status, 200, "{receipt}");

    let (status, state) = shown(&service, &id).await;
    assert_eq!(
        (status, &state["status"]),
        (200, &json!("ACCEPTED")),
        "{state}"
    );
    assert_eq!(state["product"], "Laptop");
    assert_eq!(state["quantity"], 3);
    assert_eq!(state["userId"], "ann");
    let placed = &state["events"][0];
    for part in ["topic", "partition", "offset"] {
        assert_eq!(placed[part], receipt[part], "{state}");
    }
    let [records, seconds] = ["records", "seconds"].map(|unit| lag(unit, &scene.order_topic));
    for instance in [&service, &other] {
        eventually(SOON, || async {
            let records = metrics::value(instance.address, &records).await?;
            let seconds = metrics::value(instance.address, &seconds).await?;
            (records >= 1.0 && seconds > 0.0).then_some(())
        })
        .await;
    }
    // The view has nothing, and says as of when.
    for id in [&*id, "nobody's"] {
        let (status, problem) = shown(&other, id).await;
        assert_eq!(status, 404, "{problem}");
        let as_of = problem["viewAsOf"].as_str().unwrap();
        assert!(
            as_of.ends_with('Z') && as_of < before.as_str(),
            "{problem} {before}"
        );
        assert!(
            problem["viewLagSeconds"].as_f64().unwrap() > 0.0,
            "{problem}"
        );
    }

    held.release(&scene).await;
    let seen = eventually(SOON, || async {
        let (status, state) = shown(&other, &id).await;
        (status == 200).then_some(state)
    })
    .await;
    assert_eq!(seen, state, "the view shows what was shown before");
    assert_eq!(shown(&service, &id).await.1, state);
    for instance in [&service, &other] {
        instance.metric_becomes(&records, 0.0).await;
        instance.metric_becomes(&seconds, 0.0).await;
    }
    let (_, problem) = shown(&service, "nobody's").await;
    assert!(
        problem["viewAsOf"].as_str().unwrap() > before.as_str(),
        "{problem}"
    );
    service.end().await.unwrap();
    other.end().await.unwrap();
}

#[tokio::test]
async fn an_order_that_the_view_does_not_have_yet_is_its_users() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = started(&scene, &[("AUTH_JWT_SECRET", SECRET)]).await;
    let held = HeldPartition::of(&kafka, &scene).await;
    let id = held.order_id(0);
    let answer = as_user(service.address, "ann", "POST", "/api/orders", &order(&id)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let path = format!("/api/orders/{id}");
    let answer = as_user(service.address, "ann", "GET", &path, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = as_user(service.address, "bob", "GET", &path, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let bob = [("authorization", &*bearer("bob"))];
    let events = format!("{path}/events");
    let answer = http::request(service.address, "GET", &events, &bob, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    held.release(&scene).await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_order_that_is_not_remembered_is_not_seen_before_the_view_has_it() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = started(&scene, &[("INTAKE_MEMORY", "0")]).await;
    let held = HeldPartition::of(&kafka, &scene).await;
    let id = held.order_id(0);
    assert_eq!(service.post("/api/orders", &order(&id)).await.0, 200);
    let (status, problem) = shown(&service, &id).await;
    assert_eq!(status, 404, "{problem}");
    held.release(&scene).await;
    service.order(&id, "ACCEPTED").await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn what_retention_has_deleted_does_not_come_back_from_memory() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("ORDER_VIEW_RETENTION", "1s")]).await;
    let id = service.place().await;
    eventually(SOON, || async {
        (shown(&service, &id).await.0 == 404).then_some(())
    })
    .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn orders_are_refused_while_the_view_is_further_behind_than_is_allowed() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let unbounded = started(&scene, &[]).await;
    let bounded = started(&scene, &[("INTAKE_MAX_VIEW_LAG", "1s")]).await;
    // It has no view of its own, and is to spare that of the others.
    let apart = [
        ("ORDER_VIEW", "false"),
        ("USERS", "false"),
        ("ANALYTICS", "false"),
        ("INTAKE_MAX_VIEW_LAG", "1s"),
    ];
    let apart = started(&scene, &apart).await;
    let held = HeldPartition::of(&kafka, &scene).await;
    let id = held.order_id(0);
    assert_eq!(unbounded.post("/api/orders", &order(&id)).await.0, 200);
    for (service, path, member) in [
        (&bounded, "/api/orders", "orderId"),
        (&bounded, "/orders", "order_id"),
        (&apart, "/api/orders", "orderId"),
    ] {
        let answer = eventually(SOON, || async {
            let answer = http::post(service.address, path, &[], &order("other")).await;
            (answer.status == 503).then_some(answer)
        })
        .await;
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{answer:?}");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem[member], "other", "{problem}");
        assert!(
            problem["viewLagSeconds"].as_f64().unwrap() > 1.0,
            "{problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("INTAKE_MAX_VIEW_LAG allows 1.0 s"),
            "{detail}"
        );
    }
    for service in [&bounded, &apart] {
        let shed = metrics::value(service.address, "orders_shed_total").await;
        assert!(shed.unwrap() >= 1.0, "{shed:?}");
        let said = degraded(service, "order intake").await.unwrap();
        assert!(said.contains("INTAKE_MAX_VIEW_LAG"), "{said}");
    }
    // The others say how far it is, and take orders.
    let said = eventually(SOON, || degraded(&unbounded, "order view, up to date")).await;
    assert!(
        said.contains("records; it has what was in the topics at 20"),
        "{said}"
    );
    assert_eq!(degraded(&unbounded, "order intake").await, None);
    let second = held.order_id(1);
    assert_eq!(unbounded.post("/api/orders", &order(&second)).await.0, 200);
    assert_eq!(
        metrics::value(unbounded.address, "orders_shed_total").await,
        Some(0.0)
    );

    held.release(&scene).await;
    for service in [&bounded, &apart] {
        service.posted("/api/orders", &order(&second), 200).await;
        eventually(SOON, || async {
            let parts = [
                degraded(service, "order intake").await,
                degraded(service, "order view, up to date").await,
            ];
            (parts == [None, None]).then_some(())
        })
        .await;
    }
    for service in [unbounded, bounded, apart] {
        service.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_backlog_counts_from_when_its_first_record_was_written() {
    const HOUR: i64 = 3_600_000;
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    kafka.create_topic(&scene.order_topic, 1).await;
    let value = order("o1");
    let record = kafka::OutgoingRecord {
        topic: &scene.order_topic,
        value: Some(value.as_bytes()),
        timestamp: Some(proto::now_millis() - HOUR),
        ..Default::default()
    };
    scene.producer().send(&record).await.unwrap();
    // Nobody listens there, so no group is joined.
    let away = ("DATABASE_URL", "postgres://127.0.0.1:1/nobody");
    let limit = ("INTAKE_MAX_VIEW_LAG", "59m");
    let service = scene.start(&[away, limit]).await;
    let problem = service.posted("/api/orders", &order("o2"), 503).await;
    let behind = problem["viewLagSeconds"].as_f64().unwrap();
    assert!((3_600.0..3_700.0).contains(&behind), "{problem}");
    service.end().await.unwrap();

    // A group that will begin behind it is not behind.
    let latest = ("KAFKA_AUTO_OFFSET_RESET", "latest");
    let service = scene.start(&[away, limit, latest]).await;
    let seconds = lag("seconds", &scene.order_topic);
    service.metric_becomes(&seconds, 0.0).await;
    assert_eq!(service.post("/api/orders", &order("o2")).await.0, 200);
    service.end().await.unwrap();
}
