//! Users who have to say who they are: every route that reads or changes a cart, one test each.

#[path = "support/shop.rs"]
mod shop;

use serde_json::{Value, json};
use service::config::{Secret, Value as _};
use service::http::ServiceUrl;
use shop::{PATIENCE, Service, Shop};
use testkit::http::Answer;
use testkit::openapi::Interface;
use testkit::tokens::{SECRET, as_user, owners_alone};
use testkit::{Kafka, eventually};

const TOKEN: &str = "the-services-of-this-shop-know-each-other";
const PEN: &str = r#"{"product":"Pen","quantity":1,"price":100}"#;

/// A service with the cart of user 7.
async fn open(kafka: &Kafka) -> (Shop, Service) {
    let shop = Shop::new(kafka).await;
    let flags = ["--auth-jwt-secret", SECRET, "--auth-service-token", TOKEN];
    let service = shop.start(&flags).await;
    let created = json!({"type": "UserCreated", "userId": 7, "email": "a@b.c"}).to_string();
    shop.send(&shop.users, Some("7"), created.as_bytes(), &[])
        .await;
    eventually(PATIENCE, || async {
        let answer = as_user(service.address, "7", "GET", "/api/cart/user/7", "").await;
        (answer.status == 200).then_some(())
    })
    .await;
    (shop, service)
}

/// User 7 has an item; gives its path.
async fn item(service: &Service) -> String {
    let path = "/api/cart/user/7/items";
    let added = as_user(service.address, "7", "POST", path, PEN).await;
    let item: Value = serde_json::from_str(&added.body).unwrap();
    format!("{path}/{}", item["id"])
}

async fn sevens_alone(service: &Service, method: &str, path: &str, body: &str) -> Answer {
    owners_alone(service.address, "7", method, path, body).await
}

#[tokio::test]
async fn a_cart_is_shown_to_its_user() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    for path in ["/api/cart/user/7", "/api/cart/user/007"] {
        let answer = sevens_alone(&service, "GET", path, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // Who is nobody is not told what is wrong with a path either.
    let answer = testkit::http::get(service.address, "/api/cart/user/x").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn an_item_is_added_by_the_carts_user() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    let path = "/api/cart/user/7/items";
    let answer = sevens_alone(&service, "POST", path, PEN).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn an_item_is_changed_by_the_carts_user() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    let path = item(&service).await;
    let answer = sevens_alone(&service, "PUT", &path, r#"{"quantity":3}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn an_item_is_removed_by_the_carts_user() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    let path = item(&service).await;
    let answer = sevens_alone(&service, "DELETE", &path, "").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    service.stop().await;
}

#[tokio::test]
async fn another_service_of_the_shop_sees_every_cart() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    let url = ServiceUrl::from(service.address);
    let path = "/api/cart/user/7";
    let token = Secret::parse(TOKEN).unwrap();
    let answer = url.get_as(path, Some(&token)).await.unwrap();
    assert_eq!(answer.status, 200);
    let wrong = Secret::parse("another-token-which-is-as-long-as-it-must-be").unwrap();
    for token in [None, Some(&wrong)] {
        let answer = url.get_as(path, token).await.unwrap();
        assert_eq!(answer.status, 401);
    }
    service.stop().await;
}

#[tokio::test]
async fn the_document_says_where_a_token_is_wanted() {
    let kafka = Kafka::start().await;
    let (_shop, service) = open(&kafka).await;
    let interface = Interface::new(include_str!("../src/openapi.json"));
    interface.wants_tokens(service.address).await;
    service.stop().await;
}
