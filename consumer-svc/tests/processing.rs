//! Orders through a running consumer-svc, on the embedded broker or on Apache Kafka.

#[path = "support/shop.rs"]
mod shop;

use proto::identity::{Step, derived};
use proto::{FinalStatus, Notification, OrderStatusEvent, Status, dead_letter};
use shop::{PATIENCE, Shop, text};
use testkit::{ApiKey, Kafka, ResponseError, eventually, metrics};
use tokio::task::JoinHandle;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_created_then_confirmed_and_notified() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop
        .start(&["--kafka-type-id-order-result", "com.shop.OrderResult"])
        .await;
    let order = br#"{"order_id":"12345","user_id":"user789","item":"laptop","quantity":2}"#;
    let headers = [("traceparent", TRACE)];
    shop.send(&shop.snake_orders, Some("12345"), order, &headers)
        .await;

    let mut statuses = shop.follow(&shop.statuses);
    let mut notifications = shop.follow(&shop.notifications);
    let statuses = statuses.first(2).await;
    let steps = [Status::Created, Status::Confirmed];
    for (record, status) in statuses.iter().zip(steps) {
        assert_eq!(text(record.key.as_deref()), "12345");
        let event = OrderStatusEvent::decode(record.value.as_deref().unwrap()).unwrap();
        assert_eq!((&*event.order_id, event.status), ("12345", status.into()));
        assert!(event.updated_at.is_some());
        let header = |name| record.headers.get_str(name);
        let id = derived("12345", Step::Status(status)).to_string();
        assert_eq!(header("ce_id"), Some(&*id));
        assert_eq!(header("ce_type"), Some("OrderStatusChanged"));
        assert_eq!(header("ce_source"), Some("/consumer-svc"));
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(header("__TypeId__"), None);
        let trace = header("traceparent").unwrap();
        assert_eq!(trace[..36], TRACE[..36], "the trace goes on");
        assert_ne!(trace, TRACE, "in a span of its own");
    }
    let record = &notifications.first(1).await[0];
    assert_eq!(text(record.key.as_deref()), "12345");
    assert_eq!(
        text(record.value.as_deref()),
        r#"{"order_id":"12345","status":"CONFIRMED","user_id":"user789"}"#
    );
    let id = derived("12345", Step::Result(FinalStatus::Confirmed)).to_string();
    assert_eq!(record.headers.get_str("ce_id"), Some(&*id));
    assert_eq!(record.headers.get_str("ce_type"), Some("OrderResult"));
    assert_eq!(
        record.headers.get_str("__TypeId__"),
        Some("com.shop.OrderResult")
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fulfilled_is_rejected_with_its_reason() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop
        .start(&[
            "--order-unavailable-items",
            "Time Machine",
            "--order-max-quantity",
            "10",
        ])
        .await;
    shop.order("many", "Laptop", 11).await;
    shop.order("none", "Laptop", 0).await;
    shop.order("odd", "time machine", 1).await;
    shop.order("good", "Laptop", 10).await;
    let mut notifications = shop.follow(&shop.notifications);
    let results = notifications.by_key(4).await;
    let result = |id: &str| {
        let [value] = &results[id][..] else {
            panic!("{id}: {:?}", results[id]);
        };
        let notification = Notification::decode(value.as_bytes()).unwrap();
        let outcome = notification.outcome().expect("a final status");
        (outcome, notification.reason.map(String::from))
    };
    let rejected = |reason: &str| (FinalStatus::Rejected, Some(reason.to_owned()));
    assert_eq!(
        result("many"),
        rejected("quantity 11 is above the maximum of 10")
    );
    assert_eq!(result("none"), rejected("quantity 0 is below 1"));
    assert_eq!(result("odd"), rejected("time machine is unavailable"));
    assert_eq!(result("good"), (FinalStatus::Confirmed, None));
    service
        .metric_becomes(r#"orders_total{outcome="rejected"}"#, 3.0)
        .await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_ignored_and_other_content_is_a_conflict() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    shop.order("7", "Laptop", 1).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    // The same order again, spelled otherwise and on the other topic, without its key.
    let again = br#"{"item":"Laptop","quantity":1,"order_id":7}"#;
    shop.send(&shop.snake_orders, None, again, &[]).await;
    service
        .metric_becomes(r#"orders_total{outcome="duplicate"}"#, 1.0)
        .await;
    shop.order("7", "Laptop", 2).await;
    service
        .metric_becomes(r#"orders_total{outcome="conflict"}"#, 1.0)
        .await;

    let mut letters = shop.follow(&format!("{}-dlt", shop.orders));
    let letter = &letters.first(1).await[0];
    let header = |name| letter.headers.get_str(name).unwrap();
    assert!(
        header(dead_letter::REASON).starts_with("conflict: "),
        "{}",
        header(dead_letter::REASON)
    );
    assert_eq!(header(dead_letter::ORIGINAL_TOPIC), shop.orders);
    assert_eq!(header(dead_letter::CONSUMER_GROUP), shop.group);
    assert_eq!(
        text(letter.value.as_deref()),
        r#"{"orderId":"7","product":"Laptop","quantity":2}"#
    );
    service.stop().await;
    let mut statuses = shop.follow(&shop.statuses);
    // Behind all statuses of the order, in its partition.
    shop.send(&shop.statuses, Some("7"), b"end", &[]).await;
    let statuses = statuses.by_key(3).await;
    assert_eq!(statuses["7"][2], "end", "one outcome: {statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_record_again_makes_the_same_events_again() {
    let kafka = Kafka::start().await;
    let mut shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    shop.order("7", "Laptop", 1).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    service.stop().await;
    // Another group begins at the first record, with nothing in its memory.
    shop.group = testkit::unique("order-processing");
    let service = shop.start(&[]).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    service.stop().await;

    let mut statuses = shop.follow(&shop.statuses);
    let ids: Vec<_> = statuses
        .first(4)
        .await
        .iter()
        .map(|record| record.headers.get_str("ce_id").unwrap().to_owned())
        .collect();
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
    let mut notifications = shop.follow(&shop.notifications);
    let notifications = notifications.first(2).await;
    let id = |index: usize| notifications[index].headers.get_str("ce_id");
    assert_eq!(id(0), id(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_order_becomes_a_dead_letter_and_the_next_is_processed() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let poison: [(&[u8], &str); 5] = [
        (b"{not json", "the value is not JSON: "),
        (b"", "the value is empty"),
        (b"\xff\xfe", "the value is not JSON: "),
        (b"[1]", "the value is not a JSON object but an array"),
        (
            br#"{"orderId":"7","quantity":"two"}"#,
            "product is missing; quantity must be an integer",
        ),
    ];
    for (value, _) in poison {
        // All in one partition, with the good one behind them.
        shop.send(&shop.orders, Some("7"), value, &[("x", "kept")])
            .await;
    }
    shop.order("7", "Laptop", 1).await;
    let mut notifications = shop.follow(&shop.notifications);
    assert_eq!(text(notifications.first(1).await[0].key.as_deref()), "7");

    let mut letters = shop.follow(&format!("{}-dlt", shop.orders));
    let letters = letters.first(poison.len()).await;
    for ((value, reason), letter) in poison.iter().zip(letters) {
        assert_eq!(letter.value.as_deref(), Some(*value));
        assert_eq!(letter.headers.get_str("x"), Some("kept"));
        let said = letter.headers.get_str(dead_letter::REASON).unwrap();
        assert!(said.starts_with(reason), "{said}");
    }
    service
        .metric_becomes(r#"orders_total{outcome="invalid"}"#, 5.0)
        .await;
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, 6, "consumption went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_for_another_group_is_passed_over() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let value = |id: &str| format!(r#"{{"orderId":"{id}","product":"x","quantity":1}}"#);
    for (id, group) in [("theirs", "order-view"), ("ours", &*shop.group)] {
        let headers = [
            ("dlt-consumer-group", group),
            ("dlt-replay-of", "orders-dlt/0/1"),
        ];
        shop.send(&shop.orders, Some("k"), value(id).as_bytes(), &headers)
            .await;
    }
    let done = format!(
        r#"kafka_consumer_records_total{{group="{}",topic="{}",outcome="done"}}"#,
        shop.group, shop.orders
    );
    service.metric_becomes(&done, 2.0).await;
    assert_eq!(
        service.metric(r#"orders_total{outcome="confirmed"}"#).await,
        1.0
    );
    let mut notifications = shop.follow(&shop.notifications);
    assert_eq!(text(notifications.first(1).await[0].key.as_deref()), "ours");
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_send_buffer_slows_orders_down_but_keeps_their_steps_in_order() {
    const ORDERS: usize = 2_000;
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    // Room for the events of some twenty orders, for thousands at a time.
    let service = shop.start(&["--kafka-buffer-memory", "16KiB"]).await;
    let ids: Vec<String> = (0..ORDERS).map(|n| format!("order-{n}")).collect();
    let sending = ids.iter().map(|id| shop.order(id, "Laptop", 1));
    futures::future::join_all(sending).await;

    let mut statuses = shop.follow(&shop.statuses);
    let statuses = statuses.by_key(2 * ORDERS).await;
    for id in &ids {
        let steps: Vec<_> = statuses[id]
            .iter()
            .map(|value| OrderStatusEvent::decode(value.as_bytes()).unwrap().status)
            .collect();
        assert_eq!(steps, [Status::Created, Status::Confirmed], "{id}");
    }
    let mut notifications = shop.follow(&shop.notifications);
    assert_eq!(notifications.by_key(ORDERS).await.len(), ORDERS);
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, ORDERS as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_wait_while_kafka_is_away() {
    let mut kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    shop.order("before", "Laptop", 1).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    kafka.kill_broker().await;
    testkit::eventually(shop::PATIENCE, || async {
        (service.get("/readyz?strict").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(service.get("/livez").await.0, 200);
    kafka.start_broker().await;
    shop.order("after", "Laptop", 1).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 2.0)
        .await;
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_done_only_when_its_events_are_acknowledged() {
    let kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    for topic in [&shop.statuses, &shop.notifications] {
        let refused = kafka
            .faults()
            .on(ApiKey::Produce)
            .topic(topic.as_str())
            .always()
            .error(ResponseError::NotEnoughReplicas);
        let id = format!("order for {topic}");
        shop.order(&id, "Laptop", 1).await;
        refused.hit_times(3).await;
        let in_flight = format!(
            r#"kafka_consumer_in_flight_records{{group="{}"}}"#,
            shop.group
        );
        service.metric_becomes(&in_flight, 1.0).await;
        let before = service.metric(r#"orders_total{outcome="confirmed"}"#).await;
        refused.clear();
        service
            .metric_becomes(r#"orders_total{outcome="confirmed"}"#, before + 1.0)
            .await;
    }
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, 2);
}

/// Waits until the service is degraded or not ready for a reason with all of these words.
async fn says(service: &shop::Service, words: &[&str]) {
    testkit::eventually(shop::PATIENCE, || async {
        let (status, body) = service.get("/readyz?strict").await;
        let said = status == 503 && words.iter().all(|word| body.contains(word));
        said.then_some(())
    })
    .await;
}

/// What lies in a topic under one key, which lies in one partition.
async fn values(shop: &Shop, topic: &str, key: &str) -> Vec<String> {
    shop.send(topic, Some(key), b"end", &[]).await;
    let mut topic = shop.follow(topic);
    for count in 1.. {
        let mut values = topic.by_key(count).await;
        if let Some(values) = values
            .get_mut(key)
            .filter(|values| values.ends_with(&["end".into()]))
        {
            values.pop();
            return std::mem::take(values);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_a_topic_that_takes_no_ordinary_event() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let statuses = kafka::NewTopic::new(&shop.statuses, 3, 1).config("max.message.bytes", "100");
    let created = shop.client.admin().create_topics(&[statuses]).await;
    created.unwrap();
    let service = shop.start(&[]).await;
    for id in ["7", "8"] {
        shop.order(id, "Laptop", 1).await;
    }
    says(&service, &[&shop.statuses, "max.message.bytes"]).await;
    assert_eq!(shop.committed(&shop.orders).await, 0);
    kafka
        .set_topic(&shop.statuses, "max.message.bytes", "1048588")
        .await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 2.0)
        .await;
    service.stop().await;
    assert_eq!(shop.committed(&shop.orders).await, 2);
    assert_eq!(values(&shop, &shop.statuses, "7").await.len(), 2);
    assert_eq!(values(&shop, &shop.notifications, "7").await.len(), 1);
    let letters = format!("{}-dlt", shop.orders);
    assert_eq!(values(&shop, &letters, "7").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_events_are_refused_waits_and_its_result_is_told_once() {
    let kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let codes = [
        (
            ResponseError::InvalidTimestamp,
            "message.timestamp.after.max.ms",
        ),
        (ResponseError::InvalidRecord, "cleanup.policy"),
        (ResponseError::PolicyViolation, "policies"),
        (ResponseError::TopicAuthorizationFailed, "ACLs"),
    ];
    let topics = [&shop.statuses, &shop.notifications];
    let mut confirmed = 0;
    for topic in topics {
        for (code, look_at) in codes {
            let produce = kafka.faults().on(ApiKey::Produce).topic(topic.as_str());
            let refused = produce.always().error(code);
            shop.order(&confirmed.to_string(), "Laptop", 1).await;
            // Tried again, and again.
            refused.hit_times(3).await;
            says(&service, &[topic.as_str(), look_at]).await;
            refused.clear();
            confirmed += 1;
            service
                .metric_becomes(r#"orders_total{outcome="confirmed"}"#, f64::from(confirmed))
                .await;
        }
    }
    service.stop().await;
    let letters = format!("{}-dlt", shop.orders);
    for id in (0..confirmed).map(|id| id.to_string()) {
        let statuses = values(&shop, &shop.statuses, &id).await;
        let [.., created, outcome] = &statuses[..] else {
            panic!("{id}: {statuses:?}");
        };
        assert!(created.contains("CREATED") && outcome.contains("CONFIRMED"));
        let notifications = values(&shop, &shop.notifications, &id).await;
        assert_eq!(notifications.len(), 1, "{id}");
        if id.parse::<usize>().unwrap() >= codes.len() {
            // It was the notification that was refused: the statuses were sent once.
            assert_eq!(statuses.len(), 2, "{id}: {statuses:?}");
        }
        assert_eq!(values(&shop, &letters, &id).await.len(), 0, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_kept_until_somebody_deletes_them() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let letters = format!("{}-dlt", shop.orders);
    let settings = |topic: String| {
        let admin = shop.client.admin();
        async move {
            let names = ["message.timestamp.type", "retention.ms", "cleanup.policy"];
            let settings = admin.topic_settings(&[&topic], &names).await.unwrap();
            names.map(|name| settings[&topic][name].clone())
        }
    };
    let made = settings(letters).await;
    assert_eq!(made, ["LogAppendTime", "-1", "delete"]);
    let source = settings(shop.orders.clone()).await;
    assert_eq!(source[0], "CreateTime", "letters alone");
    service.stop().await;

    // Somebody else's choice.
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&["--dead-letter-retention", "90d"]).await;
    let admin = shop.client.admin();
    let letters = format!("{}-dlt", shop.orders);
    let chosen = admin.topic_settings(&[&letters], &["retention.ms"]).await;
    assert_eq!(chosen.unwrap()[&letters]["retention.ms"], "7776000000");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_topic_that_keeps_less_than_its_source_is_named_until_it_is_put_right() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let letters = format!("{}-dlt", shop.orders);
    let existing = kafka::NewTopic::new(&letters, 3, 1).config("retention.ms", "60000");
    let created = shop.client.admin().create_topics(&[existing]).await;
    created.unwrap();
    let service = shop.launch(&shop.flags(&[])).await;
    says(&service, &[&letters, "retention.ms is 60000 ms"]).await;
    kafka.set_topic(&letters, "retention.ms", "-1").await;
    service.ready().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_says_how_it_fares() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    shop.order("7", "Laptop", 1).await;
    service
        .metric_becomes(r#"orders_total{outcome="confirmed"}"#, 1.0)
        .await;
    let labels = format!(
        r#"messaging_process_duration_seconds_count{{messaging_system="kafka",messaging_consumer_group_name="{}",messaging_destination_name="{}"}}"#,
        shop.group, shop.orders
    );
    // Counted when the record's flight ends, which is after its events were counted.
    service.metric_becomes(&labels, 1.0).await;
    let lag = |partition: i32| {
        format!(
            r#"kafka_consumergroup_lag{{consumergroup="{}",topic="{}",partition="{partition}"}}"#,
            shop.group, shop.orders
        )
    };
    for partition in 0..3 {
        service.metric_becomes(&lag(partition), 0.0).await;
    }
    service
        .metric_becomes(
            r#"kafka_producer_records_total{outcome="acknowledged"}"#,
            3.0,
        )
        .await;
    let (status, openapi) = service.get("/openapi.json").await;
    assert_eq!(status, 200);
    let openapi: serde_json::Value = serde_json::from_str(&openapi).unwrap();
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        assert!(openapi["paths"][path]["get"].is_object(), "{path}");
    }
    assert_eq!(service.get("/nothing").await.0, 404);
    service.stop().await;
}

/// Another system's cart service, which knows one strategy.
async fn foreign_member(shop: &Shop) -> (tokio::sync::oneshot::Sender<()>, JoinHandle<()>) {
    struct Nothing;
    impl kafka::Handler for Nothing {
        async fn handle(&self, _: &kafka::ConsumerRecord) -> kafka::Outcome {
            kafka::Outcome::Done
        }
    }
    let consumer = shop
        .client
        .consumer(&shop.cart_group)
        .topics([&shop.users])
        .assignors([kafka::Assignor::Range])
        .heartbeat_interval(std::time::Duration::from_millis(200))
        .discard_rejected()
        .build(Nothing)
        .unwrap();
    let stats = consumer.stats();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(async move {
        let ending = async {
            let _ = stopped.await;
        };
        consumer.run(ending).await.unwrap();
    });
    testkit::eventually(shop::PATIENCE, || async {
        (!stats.snapshot().partitions.is_empty()).then_some(())
    })
    .await;
    (stop, running)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_member_without_a_common_strategy_costs_its_group_alone() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    kafka.create_topic(&shop.users, 3).await;
    let (stop, foreign) = foreign_member(&shop).await;

    let service = shop.launch(&shop.flags(&[])).await;
    let degraded = async || {
        let (status, body) = service.get("/readyz").await;
        let said = body.contains("share no assignment strategy") && body.contains(&shop.cart_group);
        (status == 200 && said).then_some(())
    };
    testkit::eventually(shop::PATIENCE, degraded).await;
    let order = br#"{"orderId":"o-1","product":"Laptop","quantity":1}"#;
    shop.send_when_there(&shop.orders, Some("o-1"), order).await;
    let mut notifications = shop.follow(&shop.notifications);
    assert_eq!(notifications.first(1).await.len(), 1, "orders go on");
    // With a strategy that the other member has, that group alone is eager.
    let strategy = shop.flags(&["--cart-assignment-strategy", "range"]);
    let second = shop.launch(&strategy).await;
    second.ready().await;
    second.stop().await;

    stop.send(()).unwrap();
    foreign.await.unwrap();
    service.ready().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_knows_of_dead_letters_that_were_written_before_its_first_look() {
    const METRIC: &str = "kafka_consumer_last_dead_letter_timestamp_seconds";
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let name = format!(
        "{METRIC}{{group=\"{}\",topic=\"{}\"}}",
        shop.group, shop.orders
    );
    let before = proto::now_millis() as f64 / 1_000.0;
    shop.send(&shop.orders, Some("7"), b"{", &[]).await;
    let at = eventually(PATIENCE, || async {
        let at = metrics::value(service.address, &name).await;
        at.filter(|at| *at > 0.0)
    })
    .await;
    assert!((before..before + 60.0).contains(&at), "{at}");
    service.stop().await;
    let rules = include_str!("../../deploy/compose/alerts.yml");
    assert!(rules.contains(&format!("max by (group, topic) ({METRIC})")));
}
