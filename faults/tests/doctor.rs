//! "Why is there no cart?": each stage of the way fails on purpose, and is named.

use std::process::Output;

use faults::carts::CartShop;
use faults::process::PATIENCE;
use faults::shop::Stage;
use kafka::OutgoingRecord;
use proto::topics::DEAD_LETTER_SUFFIX;
use serde_json::{Value, json};
use testkit::{eventually, unique};

/// The state of a stage in a report.
fn state<'a>(report: &'a Value, name: &str) -> &'a str {
    let stages = report["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|stage| stage["name"] == name);
    stage.and_then(|stage| stage["state"].as_str()).expect(name)
}

/// Waits until the route says that this stage is the first to fail; gives its report.
async fn blames(shop: &CartShop, user: i64, stage: &str) -> Value {
    eventually(PATIENCE, || async {
        let report = shop.diagnosis(user).await;
        (report["firstFailure"] == stage).then_some(report)
    })
    .await
}

fn text(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(text).expect("text"))
}

/// The command's text, as soon as it ends with `status` and says `part`: each question has a limit, and a
/// server that has just come back may not keep it.
async fn says(shop: &CartShop, user: i64, status: i32, part: &str) -> String {
    eventually(PATIENCE, || async {
        let (ended, said) = text(&shop.doctor(user).await);
        (ended == Some(status) && said.contains(part)).then_some(said)
    })
    .await
}

/// What no report may show.
fn assert_nothing_personal(text: &str) {
    for part in ["example.com", "secret7", "argon2"] {
        assert!(!text.contains(part), "{part} in {text}");
    }
}

/// The report on a user with a cart, once every stage is well: mark and commit come a moment after the cart.
async fn sound(shop: &CartShop, user: i64) -> Value {
    eventually(PATIENCE, || async {
        let report = shop.diagnosis(user).await;
        let stages = report["stages"].as_array()?;
        let sound = stages.iter().all(|stage| stage["state"] == "ok");
        sound.then_some(report)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_that_is_there_is_found_and_a_user_that_is_not_is_named() {
    let shop = CartShop::open(Stage::any().await).await;
    let user = shop.register("anna@example.com").await;
    shop.has_cart(user).await;
    let report = sound(&shop, user).await;
    assert_eq!(report["verdict"], "there", "{report}");
    assert_eq!(report["firstFailure"], Value::Null);
    assert_nothing_personal(&report.to_string());
    let said = says(&shop, user, 0, &format!("User {user} has cart")).await;
    assert_nothing_personal(&said);

    says(&shop, user + 1, 1, "; user fails").await;
    let (status, said) = text(&shop.doctor(0).await);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("--user"), "{said}");
}

/// A `UserCreated` as another system writes it: no headers, and in whatever partition; gives its offset.
async fn registered_elsewhere(shop: &CartShop, user: i64, partition: i32) -> i64 {
    let value = json!({"type": "UserCreated", "userId": user, "email": "olga@example.com"});
    let (key, value) = (user.to_string(), value.to_string());
    let producer = shop.client.producer().build().expect("good settings");
    let record = OutgoingRecord {
        topic: &shop.users_topic,
        partition: Some(partition),
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        ..OutgoingRecord::default()
    };
    let place = producer.send(&record).await.expect("acknowledged");
    place.offset
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_another_system_is_found_in_the_topic_in_whatever_partition() {
    let mut shop = CartShop::open(Stage::any().await).await;
    let own = shop.register("anna@example.com").await;
    shop.has_cart(own).await;
    for partition in 0..3 {
        // Among events of others.
        registered_elsewhere(&shop, 9_000 + i64::from(partition), partition).await;
        let user = 4_711 + i64::from(partition);
        let offset = registered_elsewhere(&shop, user, partition).await;
        shop.has_cart(user).await;
        let report = sound(&shop, user).await;
        assert_eq!(report["verdict"], "there", "{report}");
        let said = report.to_string();
        let place = format!("{}/{partition}/{offset}", shop.users_topic);
        assert!(said.contains("registered by another system"), "{said}");
        assert!(said.contains(&place), "{place}: {said}");
        assert_nothing_personal(&said);
        let said = says(&shop, user, 0, &format!("User {user} has cart")).await;
        assert!(said.contains(&place), "{place}: {said}");
    }
    // Without a cart, the blame is not the user's.
    shop.consumer.kill();
    registered_elsewhere(&shop, 4_720, 1).await;
    let report = blames(&shop, 4_720, "cart-service").await;
    assert_eq!(state(&report, "user"), "ok", "{report}");
    // One whom nobody registered is told from them.
    let report = shop.diagnosis(4_730).await;
    assert_eq!(state(&report, "user"), "failed", "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn consumer_svc_that_is_down_is_named_and_so_is_its_database() {
    let mut shop = CartShop::open(Stage::any().await).await;
    let first = shop.register("anna@example.com").await;
    shop.has_cart(first).await;

    shop.carts_database.take_away();
    let second = shop.register("boris@example.com").await;
    let report = blames(&shop, second, "carts-database").await;
    assert_ne!(state(&report, "handled"), "ok", "{report}");
    shop.carts_database.give_back();
    shop.has_cart(second).await;

    shop.consumer.kill();
    let third = shop.register("vera@example.com").await;
    let report = blames(&shop, third, "cart-service").await;
    for stage in ["carts-database", "cart"] {
        assert_eq!(state(&report, stage), "unknown", "{report}");
    }
    // The coordinator takes the member for alive until its session is over.
    eventually(PATIENCE, || async {
        (state(&shop.diagnosis(third).await, "group") == "failed").then_some(())
    })
    .await;
    says(&shop, third, 1, "; cart-service fails").await;
    shop.consumer.start_again().await;
    shop.has_cart(third).await;
    says(&shop, third, 0, "has cart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_read_the_topic_is_named_though_consumer_svc_answers() {
    // As with a CART_GROUP_ID or a USERS_EVENTS_TOPIC mistyped.
    let (topic, group) = (unique("mistyped"), unique("mistyped"));
    let topic = ("users-events-topic", topic.as_str());
    let group = ("cart-group-id", group.as_str());
    let elsewhere = CartShop::open_with(Stage::any().await, &[topic, group]).await;
    let user = elsewhere.register("anna@example.com").await;
    let report = blames(&elsewhere, user, "group").await;
    assert!(report.to_string().contains("has no members"), "{report}");
    drop(elsewhere);

    let idle = CartShop::open_with(Stage::any().await, &[topic]).await;
    let user = idle.register("anna@example.com").await;
    let report = blames(&idle, user, "group").await;
    assert!(
        report.to_string().contains("none of the 1 members"),
        "{report}"
    );
    assert_eq!(state(&report, "cart-service"), "ok", "{report}");
    assert_eq!(state(&report, "handled"), "failed", "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_event_is_found_among_the_dead_letters_with_its_reason() {
    let shop = CartShop::open(Stage::any().await).await;
    let user = poisoned_user(&shop).await;
    let topic = format!("{}{DEAD_LETTER_SUFFIX}", shop.users_topic);
    let report = blames(&shop, user, "dead-letters").await;
    for stage in ["record", "handled"] {
        assert_eq!(state(&report, stage), "ok", "{report}");
    }
    let stages = report["stages"].as_array().unwrap();
    let letter = stages.iter().find(|s| s["name"] == "dead-letters").unwrap();
    let seen = letter["seen"].as_str().unwrap();
    assert!(seen.contains("userId is missing"), "{seen}");
    let advice = letter["advice"].as_str().unwrap();
    assert!(advice.contains(&format!("dlt replay {topic} ")), "{advice}");
    assert_nothing_personal(&report.to_string());
    says(&shop, user, 1, "; dead-letters fails").await;
}

/// A user whose event has lost its `userId` on the way into the outbox.
async fn poisoned_user(shop: &CartShop) -> i64 {
    let pool = testkit::database::pool(shop.users_database.own_url());
    let now = proto::now_millis();
    let mut tx = pool.begin().await.expect("a transaction");
    let user = sql::query(
        "INSERT INTO users (email, email_key, password_hash, created_at) \
         VALUES ('anna@example.com', 'anna@example.com', '', $1) RETURNING id",
    )
    .bind(now)
    .fetch_one(&mut *tx)
    .await
    .expect("a user");
    let user: i64 = user.get(0).expect("its id");
    let id = proto::identity::user_created(user);
    sql::query(
        "INSERT INTO outbox (topic, record_key, headers, body, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&shop.users_topic)
    .bind(user.to_string())
    .bind(format!(r#"[["ce_id","{id}"]]"#))
    .bind(r#"{"type":"UserCreated","email":"anna@example.com"}"#)
    .bind(now)
    .execute(&mut *tx)
    .await
    .expect("an event");
    tx.commit().await.expect("a commit");
    user
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_database_that_is_away_is_named() {
    let shop = CartShop::open(Stage::any().await).await;
    let user = shop.register("anna@example.com").await;
    shop.has_cart(user).await;
    shop.users_database.take_away();
    let absent = user + 1;
    let report = eventually(PATIENCE, || async {
        let report = shop.diagnosis(absent).await;
        let others = ["kafka", "cart-service", "carts-database", "group"];
        let fine = others.iter().all(|stage| state(&report, stage) == "ok");
        (fine && report["firstFailure"] == "users-database").then_some(report)
    })
    .await;
    for stage in ["user", "event", "published"] {
        assert_eq!(state(&report, stage), "unknown", "{report}");
    }
    says(&shop, absent, 1, "; users-database fails").await;
    // The cart is there all the same, and that is the answer.
    says(&shop, user, 0, "has cart").await;
    shop.users_database.give_back();
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_is_away_is_named_and_the_relay_that_does_not_publish() {
    let mut shop = CartShop::open(Stage::own(None).await).await;
    let first = shop.register("anna@example.com").await;
    shop.has_cart(first).await;
    shop.stage.kill().await;
    let second = shop.register("boris@example.com").await;
    let report = blames(&shop, second, "kafka").await;
    assert_eq!(state(&report, "published"), "failed", "{report}");
    for stage in ["record", "group", "handled", "dead-letters"] {
        assert_eq!(state(&report, stage), "unknown", "{report}");
    }
    says(&shop, second, 1, "; kafka fails").await;

    // Kafka is back, and nobody publishes.
    shop.producer.kill();
    shop.stage.restart().await;
    let said = says(&shop, second, 1, "; published fails").await;
    assert!(said.contains("it waits since"), "{said}");
    shop.producer.start_again().await;
    shop.has_cart(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_is_named() {
    let shop = CartShop::open(Stage::any().await).await;
    let admin = shop.client.admin();
    admin
        .delete_topics(&[&shop.users_topic])
        .await
        .expect("a sound Kafka");
    let report = eventually(PATIENCE, || async {
        let report = shop.diagnosis(1).await;
        (state(&report, "kafka") == "failed").then_some(report)
    })
    .await;
    assert!(report.to_string().contains("does not exist"), "{report}");
}
