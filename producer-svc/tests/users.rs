//! Registration: the user, the event, and what is refused.

#[path = "support/scene.rs"]
mod scene;

use proto::{UserEvent, identity};
use scene::{Running, SOON, Scene};
use serde_json::{Value, json};
use sql::Pool;
use testkit::{Kafka, eventually, http};

const PATH: &str = "/api/auth/registration";

async fn register(service: &Running, email: &str) -> (u16, Value) {
    let body = json!({ "email": email, "password": "secret7" }).to_string();
    service.post(PATH, &body).await
}

/// Rows of a statement that counts.
async fn count(pool: &Pool, sql: &'static str) -> i64 {
    let row = sql::query(sql).fetch_one(pool).await.unwrap();
    row.get(0).unwrap()
}

#[tokio::test]
async fn a_registration_makes_a_user_and_its_event() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    assert_eq!(
        register(&service, "Anna@Example.com").await,
        (201, json!({"userId": 1}))
    );
    assert_eq!(register(&service, "boris@example.com").await.0, 201);

    let records = scene.records(&scene.users_topic, 2).await;
    let record = records
        .iter()
        .find(|record| record.key.as_deref() == Some(b"1"))
        .expect("keyed by the user");
    let value = record.value.as_deref().unwrap();
    let header = |name: &str| std::str::from_utf8(record.headers.get(name).unwrap()).unwrap();
    assert_eq!(header("ce_type"), "UserCreated");
    assert_eq!(header("ce_source"), "/producer-svc");
    assert_eq!(header("ce_id"), identity::user_created(1).to_string());
    assert_eq!(header("content-type"), "application/json");
    let Ok(UserEvent::Created(created)) = UserEvent::decode(value, None) else {
        panic!("no UserCreated");
    };
    assert_eq!(
        (created.user_id, created.email.as_deref()),
        (1, Some("Anna@Example.com"))
    );
    assert!(!String::from_utf8_lossy(value).contains("secret7"));

    let pool = scene.pool();
    let hashed = "SELECT COUNT(*) FROM users WHERE password_hash LIKE '$argon2id$%'";
    assert_eq!(count(&pool, hashed).await, 2);
    let unsent = "SELECT COUNT(*) FROM outbox WHERE record_offset IS NULL";
    eventually(SOON, || async {
        (count(&pool, unsent).await == 0).then_some(())
    })
    .await;
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_address_belongs_to_one_user_whatever_its_case() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    // At the same time, so that the insertion has to decide.
    let spellings = [
        "иван@почта.рф",
        "Иван@Почта.РФ",
        "ИВАН@ПОЧТА.РФ",
        " иван@почта.рф ",
    ];
    let answers = spellings.map(|email| register(&service, email));
    let answers = futures::future::join_all(answers).await;
    let mut statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409], "{answers:?}");
    let refused = register(&service, "Иван@почта.рф").await;
    assert_eq!(refused.0, 409);
    assert!(!refused.1.to_string().contains("почта"), "{}", refused.1);
    let pool = scene.pool();
    assert_eq!(count(&pool, "SELECT COUNT(*) FROM outbox").await, 1);
    service.end().await.unwrap();
}

#[tokio::test]
async fn bad_input_is_a_problem_that_names_the_field_and_repeats_no_value() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    for (body, status, fields) in [
        ("{}", 422, vec!["email", "password"]),
        (
            r#"{"email":"nobody","password":"secret7"}"#,
            422,
            vec!["email"],
        ),
        (
            r#"{"email":"a@b.c","password":"short"}"#,
            422,
            vec!["password"],
        ),
        (r#"{"email":"a@b.c","password":7}"#, 422, vec!["password"]),
        ("{\"email\"", 400, vec![]),
        ("[]", 400, vec![]),
    ] {
        let (got, problem) = service.post(PATH, body).await;
        assert_eq!(got, status, "{body}: {problem}");
        let named: Vec<&str> = problem["errors"]
            .as_array()
            .map(|errors| errors.iter().filter_map(|e| e["field"].as_str()).collect())
            .unwrap_or_default();
        assert_eq!(named, fields, "{body}");
        assert!(!problem.to_string().contains("short"), "{problem}");
    }
    let plain = [("content-type", "text/plain")];
    let typed = http::request(service.address, "POST", PATH, &plain, "{}").await;
    assert_eq!(typed.status, 415);
    let pool = scene.pool();
    assert_eq!(count(&pool, "SELECT COUNT(*) FROM users").await, 0);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_user_registered_while_kafka_is_away_is_announced_when_it_is_back() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let away = scene
        .start(&[("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")])
        .await;
    let id = eventually(SOON, || async {
        let (status, answer) = register(&away, "a@b.c").await;
        (status == 201).then(|| answer["userId"].as_i64())
    })
    .await;
    assert_eq!(id, Some(1));
    away.end().await.unwrap();
    let back = scene.start_ready(&[]).await;
    let records = scene.records(&scene.users_topic, 1).await;
    assert_eq!(records[0].key.as_deref(), Some(&b"1"[..]));
    back.end().await.unwrap();
}

async fn register_under(service: &Running, key: &str, email: &str, password: &str) -> (u16, Value) {
    let body = json!({ "email": email, "password": password }).to_string();
    service
        .post_with(PATH, &[("idempotency-key", key)], &body)
        .await
}

#[tokio::test]
async fn a_registration_that_is_sent_again_under_its_key_is_the_same_user() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    // Time for eight passwords, one after the other, on whatever machine.
    let patient = [("REQUEST_TIMEOUT", "60s")];
    let service = scene.start_ready(&patient).await;
    let first = (201, json!({"userId": 1}));
    for email in ["anna@example.com", "Anna@example.com"] {
        let again = register_under(&service, "key", email, "secret7").await;
        assert_eq!(again, first);
    }
    for (key, password) in [("key", "secret8"), ("other", "secret7")] {
        let refused = register_under(&service, key, "anna@example.com", password).await;
        assert_eq!(refused.0, 409, "{}", refused.1);
    }
    assert_eq!(register(&service, "anna@example.com").await.0, 409);
    let unkeyed = register_under(&service, "", "anna@example.com", "secret7").await;
    assert_eq!(unkeyed.0, 400);
    // At the same time, so that the insertion has to decide.
    let both =
        ["boris@example.com"; 4].map(|email| register_under(&service, "b", email, "secret7"));
    let both = futures::future::join_all(both).await;
    assert!(both.iter().all(|answer| *answer == both[0]), "{both:?}");
    assert_eq!(both[0].0, 201);
    let pool = scene.pool();
    assert_eq!(count(&pool, "SELECT COUNT(*) FROM outbox").await, 2);
    service.end().await.unwrap();
}

#[tokio::test]
async fn a_registration_that_cannot_be_stored_in_time_is_refused_and_may_be_sent_again() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("REQUEST_TIMEOUT", "2s")]).await;
    let pool = testkit::database::pool(&scene.database.url);
    // Others may read, and not write.
    let mut lock = pool.begin().await.unwrap();
    if pool.kind() == sql::DatabaseKind::Postgres {
        let locking = sql::query("LOCK TABLE users IN EXCLUSIVE MODE");
        locking.execute(&mut lock).await.unwrap();
    }
    let body = r#"{"email":"anna@example.com","password":"secret7"}"#;
    let headers = [("idempotency-key", "key")];
    let refused = http::post(service.address, PATH, &headers, body).await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.body.contains("Idempotency-Key"), "{}", refused.body);
    lock.rollback().await.unwrap();
    let again = eventually(SOON, || async {
        let again = register_under(&service, "key", "anna@example.com", "secret7").await;
        (again.0 != 503).then_some(again)
    })
    .await;
    assert_eq!(again.0, 201, "{}", again.1);
    let pool = scene.pool();
    assert_eq!(count(&pool, "SELECT COUNT(*) FROM outbox").await, 1);
    service.end().await.unwrap();
}

#[tokio::test]
async fn of_a_flood_of_registrations_each_is_stored_or_told_to_come_again() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("PASSWORD_HASHES", "1")]).await;
    let flood = (0..150).map(|number| {
        let body = json!({ "email": format!("n{number}@example.com"), "password": "secret7" });
        let address = service.address;
        async move { http::post(address, PATH, &[], &body.to_string()).await }
    });
    let mut stored = 0;
    for answer in futures::future::join_all(flood).await {
        match answer.status {
            201 => stored += 1,
            503 => assert_eq!(answer.header("retry-after"), Some("1")),
            other => panic!("{other} {}", answer.body),
        }
    }
    assert!(stored > 0);
    // What was refused in the middle of its commit may be there all the same.
    let pool = scene.pool();
    assert!(count(&pool, "SELECT COUNT(*) FROM users").await >= stored);
    assert_eq!(register(&service, "anna@example.com").await.0, 201);
    service.end().await.unwrap();
}

#[tokio::test]
async fn an_instance_without_users_says_so() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[("USERS", "false")]).await;
    let (status, problem) = register(&service, "a@b.c").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("USERS=false"));
    service.end().await.unwrap();
}
