//! The service against its own document: no request makes it fail, and each answer is one that
//! `/openapi.json` promises.

#[path = "support/shop.rs"]
mod shop;

use serde_json::json;
use shop::{PATIENCE, Shop};
use testkit::openapi::Interface;
use testkit::{Kafka, eventually, http};

#[tokio::test]
async fn every_answer_is_as_documented_whatever_is_asked() {
    // What others have in a shared one is not asked about here.
    let kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&["--request-timeout", "60s"]).await;
    let created = json!({"type": "UserCreated", "userId": 1}).to_string();
    shop.send(&shop.users, Some("1"), created.as_bytes(), &[])
        .await;
    let items = "/api/cart/user/1/items";
    let item = json!({"product": "Laptop", "quantity": 1, "price": 5}).to_string();
    // Ten, so that some are left to change while others are removed.
    for _ in 0..10 {
        eventually(PATIENCE, || async {
            let added = http::post(service.address, items, &[], &item).await;
            (added.status == 201).then_some(())
        })
        .await;
    }
    let interface = Interface::new(include_str!("../src/openapi.json"))
        .known("userId", &["1"])
        .known(
            "itemId",
            &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],
        );
    interface.exercise(service.address).await;
    service.stop().await;
}
