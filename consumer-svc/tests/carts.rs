//! Carts: created by users' events, changed over HTTP, told of on `carts.events`.

#[path = "support/shop.rs"]
mod shop;

use kafka::ConsumerRecord;
use proto::{CartChange, CartEvent};
use serde_json::{Value, json};
use shop::{PATIENCE, Service, Shop};
use testkit::{Kafka, eventually, http};

fn created(user_id: i64) -> String {
    json!({"type": "UserCreated", "userId": user_id, "email": "a@b.c"}).to_string()
}

async fn send_user(shop: &Shop, user_id: i64) {
    let (key, value) = (user_id.to_string(), created(user_id));
    shop.send(&shop.users, Some(&key), value.as_bytes(), &[])
        .await;
}

async fn records(shop: &Shop, topic: &str, number: usize) -> Vec<ConsumerRecord> {
    shop.follow(topic).first(number).await.to_vec()
}

async fn call(service: &Service, method: &str, path: &str, body: &str) -> (u16, Value) {
    call_with(service, method, path, &[], body).await
}

async fn call_with(
    service: &Service,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(more);
    let answer = http::request(service.address, method, path, &headers, body).await;
    let body = match answer.body.is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&answer.body).unwrap(),
    };
    (answer.status, body)
}

/// The user's cart, as soon as there is one.
async fn cart_of(service: &Service, user_id: i64) -> Value {
    let path = format!("/api/cart/user/{user_id}");
    eventually(PATIENCE, || async {
        let (status, cart) = call(service, "GET", &path, "").await;
        (status == 200).then_some(cart)
    })
    .await
}

#[tokio::test]
async fn a_user_gets_one_cart_however_often_the_event_comes() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let (status, problem) = call(&service, "GET", "/api/cart/user/1", "").await;
    assert_eq!((status, &problem["status"]), (404, &json!(404)));
    for _ in 0..3 {
        send_user(&shop, 1).await;
    }
    assert_eq!(
        cart_of(&service, 1).await,
        json!({"id": 1, "userId": 1, "items": []})
    );
    service
        .metric_becomes("carts_total{outcome=\"repeated\"}", 2.0)
        .await;
    send_user(&shop, 2).await;
    assert_eq!(cart_of(&service, 2).await["userId"], 2);

    let events = records(&shop, &shop.carts, 2).await;
    for (event, user_id) in events.iter().zip([1, 2]) {
        let told = CartEvent::decode(event.value.as_deref().unwrap()).unwrap();
        assert_eq!(event.key.as_deref(), Some(user_id.to_string().as_bytes()));
        assert_eq!((told.user_id, told.change), (user_id, CartChange::Created));
        assert_eq!(event.headers.get("ce_type"), Some(&b"CartCreated"[..]));
    }
    service.stop().await;
}

#[tokio::test]
async fn an_item_that_is_sent_again_under_its_key_is_the_same_item() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    for user in [7, 8] {
        send_user(&shop, user).await;
        cart_of(&service, user).await;
    }
    let pen = r#"{"product":"Pen","quantity":1,"price":100}"#;
    let add = async |user: i64, key: &str, body: &str| {
        let path = format!("/api/cart/user/{user}/items");
        let key = [("idempotency-key", key)];
        call_with(&service, "POST", &path, &key, body).await
    };
    let (status, first) = add(7, "one", pen).await;
    assert_eq!(status, 201);
    assert_eq!(add(7, "one", pen).await, (201, first.clone()));
    assert_eq!(cart_of(&service, 7).await["items"], json!([first.clone()]));
    let other = add(7, "one", r#"{"product":"Pen","quantity":2,"price":100}"#).await;
    assert_eq!(other.0, 422, "{}", other.1);
    assert_eq!(add(7, "", pen).await.0, 400);
    // Another key, another cart: other requests.
    assert_ne!(add(7, "two", pen).await.1["id"], first["id"]);
    assert_ne!(add(8, "one", pen).await.1["id"], first["id"]);
    // Whoever took it out again does not get it back by the old request.
    let path = format!("/api/cart/user/7/items/{}", first["id"]);
    assert_eq!(call(&service, "DELETE", &path, "").await.0, 204);
    assert_eq!(add(7, "one", pen).await, (201, first));
    let cart = cart_of(&service, 7).await;
    assert_eq!(cart["items"].as_array().unwrap().len(), 1, "{cart}");
    // Two carts, three items, one removal.
    let events = records(&shop, &shop.carts, 6).await;
    assert_eq!(events.len(), 6);
    service.stop().await;
}

#[tokio::test]
async fn items_are_added_changed_and_removed_and_each_change_is_told_in_order() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    send_user(&shop, 7).await;
    cart_of(&service, 7).await;
    let items = "/api/cart/user/7/items";
    let (status, book) = call(
        &service,
        "POST",
        items,
        r#"{"product":"Книга","quantity":2,"price":45000}"#,
    )
    .await;
    assert_eq!(status, 201);
    let id = book["id"].as_i64().unwrap();
    assert_eq!(
        book,
        json!({"id": id, "product": "Книга", "quantity": 2, "price": 45000})
    );
    let (status, pen) = call(
        &service,
        "POST",
        items,
        r#"{"product":"Pen","quantity":1,"price":0}"#,
    )
    .await;
    assert_eq!(status, 201);
    let of_book = format!("{items}/{id}");
    let (status, changed) = call(&service, "PUT", &of_book, r#"{"quantity":3}"#).await;
    assert_eq!(
        (status, &changed["quantity"], &changed["price"]),
        (200, &json!(3), &json!(45000))
    );
    let cart = cart_of(&service, 7).await;
    assert_eq!(cart["items"], json!([changed, pen]));
    assert_eq!(
        call(&service, "DELETE", &of_book, "").await,
        (204, Value::Null)
    );
    assert_eq!(call(&service, "DELETE", &of_book, "").await.0, 404);
    assert_eq!(
        call(&service, "PUT", &of_book, r#"{"quantity":1}"#).await.0,
        404
    );
    assert_eq!(cart_of(&service, 7).await["items"], json!([pen]));

    let events = records(&shop, &shop.carts, 5).await;
    let told: Vec<String> = events
        .iter()
        .map(|event| {
            let told = CartEvent::decode(event.value.as_deref().unwrap()).unwrap();
            match told.change {
                CartChange::Created => "created".to_owned(),
                CartChange::ItemAdded(item) => format!("added {} {}", item.product, item.quantity),
                CartChange::ItemChanged(item) => format!("changed {}", item.quantity),
                CartChange::ItemRemoved(item) => format!("removed {}", item.quantity),
            }
        })
        .collect();
    assert_eq!(
        told,
        [
            "created",
            "added Книга 2",
            "added Pen 1",
            "changed 3",
            "removed 3"
        ]
    );
    service.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_problems_and_change_nothing() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    send_user(&shop, 1).await;
    cart_of(&service, 1).await;
    let good = r#"{"product":"Pen","quantity":1,"price":1}"#;
    for (method, path, body, status) in [
        (
            "POST",
            "/api/cart/user/1/items",
            r#"{"product":"","quantity":0}"#,
            422,
        ),
        ("POST", "/api/cart/user/1/items", "[]", 400),
        ("POST", "/api/cart/user/2/items", good, 404),
        ("POST", "/api/cart/user/x/items", good, 422),
        ("POST", "/api/cart/user/0/items", good, 422),
        ("PUT", "/api/cart/user/1/items/1", good, 404),
        ("PUT", "/api/cart/user/1/items/1", "{}", 422),
        ("PUT", "/api/cart/user/1/items/x", good, 422),
        (
            "DELETE",
            "/api/cart/user/1/items/99999999999999999999",
            "",
            422,
        ),
        ("GET", "/api/cart/user/-1", "", 422),
        ("DELETE", "/api/cart/user/1", "", 405),
    ] {
        let (got, problem) = call(&service, method, path, body).await;
        assert_eq!(got, status, "{method} {path} {body}: {problem}");
        assert_eq!(problem["status"], status, "{problem}");
    }
    assert_eq!(cart_of(&service, 1).await["items"], json!([]));
    service.stop().await;
}

#[tokio::test]
async fn what_is_no_users_event_becomes_a_dead_letter_and_other_types_are_passed() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    for value in [
        "no json",
        r#"{"type":"UserCreated"}"#,
        r#"{"type":"UserDeleted","userId":1}"#,
        r#"{"userId":"3"}"#,
    ] {
        let headers: &[(&str, &str)] = match value.contains("type") {
            true => &[],
            false => &[("ce_type", "UserCreated")],
        };
        shop.send(&shop.users, Some("k"), value.as_bytes(), headers)
            .await;
    }
    // The type of the header counts where the body has none.
    assert_eq!(cart_of(&service, 3).await["userId"], 3);
    let letters = records(&shop, &format!("{}-dlt", shop.users), 2).await;
    let reason = |index: usize| {
        let reason = letters[index].headers.get("dlt-reason").unwrap();
        String::from_utf8(reason.to_vec()).unwrap()
    };
    assert!(reason(0).contains("not JSON"), "{}", reason(0));
    assert!(reason(1).contains("userId is missing"), "{}", reason(1));
    service.stop().await;
}

#[tokio::test]
async fn without_carts_orders_are_processed_without_a_database() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&["--carts=false"]).await;
    shop.order("1", "Laptop", 1).await;
    assert_eq!(records(&shop, &shop.statuses, 2).await.len(), 2);
    let (status, problem) = call(&service, "GET", "/api/cart/user/1", "").await;
    assert_eq!(status, 404);
    assert!(problem["detail"].as_str().unwrap().contains("CARTS=false"));
    service.stop().await;
    let made: Vec<_> = std::fs::read_dir(shop.database.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "consumer-svc.instance")
        .collect();
    assert!(made.is_empty(), "a database nobody asked for: {made:?}");
}

#[tokio::test]
async fn a_user_created_under_another_name_gets_a_cart_and_what_is_passed_over_is_counted() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let send = async |value: &str, headers: &[(&str, &str)]| {
        shop.send(&shop.users, None, value.as_bytes(), headers)
            .await;
    };
    send(
        r#"{"type":"USER_CREATED","userId":"1","createdAt":1767323045678}"#,
        &[],
    )
    .await;
    send(
        r#"{"userId":2.0,"createdAt":[2026,1,2,3,4,5]}"#,
        &[("__TypeId__", "com.example.UserCreatedEvent")],
    )
    .await;
    send("\u{feff}{\"type\":\"user.created\",\"user_id\":3}", &[]).await;
    send(r#"{"type":"UserDeleted","userId":1}"#, &[]).await;
    send(r#"{"type":"UserDeleted","userId":2}"#, &[]).await;
    for user in 1..=3 {
        assert_eq!(cart_of(&service, user).await["userId"], user);
    }
    service
        .metric_becomes("user_events_passed_over_total", 2.0)
        .await;
    service.stop().await;
}
