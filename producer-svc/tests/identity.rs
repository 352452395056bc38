//! Users who have to say who they are: every route that reads or changes a user's data, one test each.

#[path = "support/scene.rs"]
mod support;

use serde_json::{Value, json};
use support::{Running, SOON, Scene};
use testkit::http::Answer;
use testkit::openapi::Interface;
use testkit::tokens::{SECRET, as_user, bearer, owners_alone};
use testkit::{Kafka, eventually, http};

const LOGIN: (&str, &str) = ("authorization", "Basic YWRtaW46YWRtaW4=");

struct Shop {
    _kafka: Kafka,
    scene: Scene,
    service: Running,
}

impl Shop {
    async fn open() -> Self {
        let kafka = Kafka::start().await;
        let scene = Scene::new(&kafka).await;
        let service = scene.start_ready(&[("AUTH_JWT_SECRET", SECRET)]).await;
        Self {
            _kafka: kafka,
            scene,
            service,
        }
    }

    async fn owners_alone(&self, method: &str, path: &str, body: &str) -> Answer {
        owners_alone(self.service.address, "ann", method, path, body).await
    }

    /// An order of Ann's that the view has seen.
    async fn placed(&self, id: &str) {
        let order = json!({"orderId": id, "product": "Laptop", "quantity": 1}).to_string();
        let at = self.service.address;
        let answer = as_user(at, "ann", "POST", "/api/orders", &order).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        eventually(SOON, || async {
            let answer = as_user(at, "ann", "GET", &format!("/api/orders/{id}"), "").await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Who an accepted order is of, as it lies in Kafka.
    async fn accepted(&self, topic: &str, member: &str, answer: &Answer) {
        assert_eq!(answer.status, 200, "{answer:?}");
        let record = self.scene.records(topic, 1).await.remove(0);
        let order: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(order[member], "ann", "{order}");
    }
}

#[tokio::test]
async fn an_order_is_placed_by_its_user() {
    let shop = Shop::open().await;
    let order = r#"{"product":"Laptop","quantity":1,"userId":"ann"}"#;
    let answer = shop.owners_alone("POST", "/api/orders", order).await;
    let topic = &shop.scene.order_topic;
    shop.accepted(topic, "userId", &answer).await;
}

#[tokio::test]
async fn an_order_in_snake_case_is_placed_by_its_user() {
    let shop = Shop::open().await;
    let order = r#"{"item":"laptop","quantity":1,"user_id":"ann"}"#;
    let answer = shop.owners_alone("POST", "/orders", order).await;
    let topic = &shop.scene.orders_topic;
    shop.accepted(topic, "user_id", &answer).await;
}

#[tokio::test]
async fn an_order_that_names_no_user_is_the_tokens() {
    let shop = Shop::open().await;
    let order = r#"{"product":"Laptop","quantity":1}"#;
    let answer = as_user(shop.service.address, "ann", "POST", "/api/orders", order).await;
    let topic = &shop.scene.order_topic;
    shop.accepted(topic, "userId", &answer).await;
}

#[tokio::test]
async fn an_order_is_shown_to_its_user() {
    let shop = Shop::open().await;
    shop.placed("a").await;
    let answer = shop.owners_alone("GET", "/api/orders/a", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // A status alone does not say whose the order is.
    let producer = shop.scene.producer();
    shop.scene.send_status(&producer, "b", "CREATED").await;
    let at = shop.service.address;
    eventually(SOON, || async {
        let answer = http::request(at, "GET", "/api/orders/b", &[LOGIN], "").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let answer = as_user(at, "ann", "GET", "/api/orders/b", "").await;
    assert_eq!(answer.status, 404, "{answer:?}");
    // One of nobody's is not everybody's.
    let order = r#"{"orderId":"c","product":"Pen","quantity":1}"#;
    support::send(&producer, &shop.scene.order_topic, "c", order).await;
    eventually(SOON, || async {
        let answer = as_user(at, "ann", "GET", "/api/orders/c", "").await;
        (answer.status == 403).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_order_that_is_asked_for_by_query_is_shown_to_its_user() {
    let shop = Shop::open().await;
    shop.placed("a").await;
    let answer = shop.owners_alone("GET", "/api/orders?orderId=a", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_stream_of_an_order_is_its_users() {
    let shop = Shop::open().await;
    shop.placed("a").await;
    let answer = shop.owners_alone("GET", "/api/orders/a/events", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // What is resumed is no less somebody's.
    let resumed = [
        ("authorization", &*bearer("bob")),
        ("last-event-id", "0.0:0"),
    ];
    let at = shop.service.address;
    let answer = http::request(at, "GET", "/api/orders/a/events", &resumed, "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
}

#[tokio::test]
async fn the_stream_of_an_order_that_is_asked_for_by_query_is_its_users() {
    let shop = Shop::open().await;
    shop.placed("a").await;
    let path = "/api/orders/events?orderId=a";
    let answer = shop.owners_alone("GET", path, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_stream_of_all_orders_is_the_operators() {
    let shop = Shop::open().await;
    let answer = shop.owners_alone("GET", "/api/orders/events", "").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    let at = shop.service.address;
    let answer = http::request(at, "GET", "/api/orders/events", &[LOGIN], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn of_a_book(kind: &str, more: &str) {
    let shop = Shop::open().await;
    let body = format!(r#"{{"userId":"ann"{more}}}"#);
    let answer = shop
        .owners_alone("POST", &format!("/api/books/3/{kind}"), &body)
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let topic = shop.scene.book_topic(kind);
    let record = shop.scene.records(&topic, 1).await.remove(0);
    let event: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    assert_eq!(event["userId"], "ann", "{event}");
}

#[tokio::test]
async fn a_book_is_viewed_by_its_user() {
    of_a_book("views", "").await;
}

#[tokio::test]
async fn a_book_is_downloaded_by_its_user() {
    of_a_book("downloads", "").await;
}

#[tokio::test]
async fn a_book_is_bought_by_its_user() {
    of_a_book("purchases", r#","amount":1,"currency":"RUB""#).await;
}

#[tokio::test]
async fn a_book_is_reviewed_by_its_user() {
    of_a_book("reviews", r#","text":"good","action":"created""#).await;
}

#[tokio::test]
async fn a_book_is_rated_by_its_user() {
    of_a_book("ratings", r#","rating":5"#).await;
}

#[tokio::test]
async fn the_document_says_where_a_token_is_wanted() {
    let shop = Shop::open().await;
    let interface = Interface::new(include_str!("../src/openapi.json"));
    interface.wants_tokens(shop.service.address).await;
    shop.service.end().await.unwrap();
}
