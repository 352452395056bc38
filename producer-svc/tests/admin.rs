//! The API of operators, and who is let in.

#[path = "support/scene.rs"]
mod scene;

use scene::{Running, Scene};
use serde_json::Value;
use testkit::{Kafka, http, unique};

/// `admin:admin`.
const DEFAULT: (&str, &str) = ("authorization", "Basic YWRtaW46YWRtaW4=");

/// A GET that is let in: status and document.
async fn get(service: &Running, path: &str) -> (u16, Value) {
    let answer = http::request(service.address, "GET", path, &[DEFAULT], "").await;
    let document = serde_json::from_str(&answer.body)
        .unwrap_or_else(|error| panic!("{path}: {error} in {}", answer.body));
    (answer.status, document)
}

#[tokio::test]
async fn who_has_not_the_password_is_asked_for_it() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start_ready(&[("ADMIN_USER", "chief"), ("ADMIN_PASSWORD", "secret7")])
        .await;
    let ask = |headers: &'static [(&str, &str)]| {
        http::request(service.address, "GET", "/api/admin/topics", headers, "")
    };
    for headers in [&[][..], &[DEFAULT]] {
        let answer = ask(headers).await;
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert_eq!(
            answer.header("www-authenticate"),
            Some(r#"Basic realm="shop administration", charset="UTF-8""#)
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert!(!answer.body.contains("secret7"));
    }
    // `chief:secret7`, also forwarded: this password is one's own.
    let right = ("authorization", "Basic Y2hpZWY6c2VjcmV0Nw==");
    for headers in [&[right][..], &[right, ("x-forwarded-for", "192.0.2.7")]] {
        let answer = http::request(service.address, "GET", "/api/admin/topics", headers, "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn with_the_default_password_only_this_machine_is_answered() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    assert_eq!(get(&service, "/api/admin/topics").await.0, 200);
    for header in [("x-forwarded-for", "127.0.0.1"), ("via", "1.1 proxy")] {
        let answer = http::request(
            service.address,
            "GET",
            "/api/admin/topics",
            &[DEFAULT, header],
            "",
        )
        .await;
        assert_eq!(answer.status, 403, "{}", answer.body);
        assert!(answer.body.contains("ADMIN_PASSWORD"), "{}", answer.body);
    }
    // A second Host, and a name that somebody made to lead here.
    for path in ["/api/admin/topics", "http://evil.example/api/admin/topics"] {
        let host = [DEFAULT, ("host", "evil.example")];
        let answer = http::request(service.address, "GET", path, &host, "").await;
        assert_eq!(answer.status, 403, "{}", answer.body);
    }
    service.end().await.unwrap();
}

#[tokio::test]
async fn topics_are_listed_with_their_offsets() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene.start_ready(&[]).await;
    service.place().await;
    let (status, topics) = get(&service, "/api/admin/topics").await;
    assert_eq!(status, 200);
    let orders = topics
        .as_array()
        .unwrap()
        .iter()
        .find(|topic| topic["topic"] == scene.order_topic)
        .expect("the orders' topic");
    let partitions = orders["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    let sum = |name: &str| {
        let of = |p: &Value| p[name].as_i64().unwrap();
        partitions.iter().map(of).sum::<i64>()
    };
    assert_eq!((sum("first"), sum("end")), (0, 1), "{orders}");
    service.end().await.unwrap();
}

#[tokio::test]
async fn without_kafka_the_api_says_so() {
    let kafka = Kafka::start().await;
    let scene = Scene::new(&kafka).await;
    let service = scene
        .start(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("REQUEST_TIMEOUT", "500ms"),
            ("ORDER_TOPIC", &unique("never")),
        ])
        .await;
    let (status, problem) = get(&service, "/api/admin/topics").await;
    assert_eq!(status, 503, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("Kafka did not answer"), "{detail}");
    assert!(detail.contains("127.0.0.1:1"), "{detail}");
    service.end().await.unwrap();
}
