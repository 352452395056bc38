//! Users who have to say who they are: every route that reads a user's data, one test each.

#[path = "support/desk.rs"]
mod desk;

use desk::{Desk, Service};
use serde_json::Value;
use testkit::Kafka;
use testkit::http::{self, Events};
use testkit::openapi::Interface;
use testkit::tokens::{SECRET, as_user, bearer, owners_alone};

const TOKEN: &str = "the-services-of-this-shop-know-each-other";

async fn open(kafka: &Kafka) -> (Desk, Service) {
    let desk = Desk::new(kafka).await;
    let flags = ["--auth-jwt-secret", SECRET, "--auth-service-token", TOKEN];
    let service = desk.start(&flags).await;
    service.ready().await;
    (desk, service)
}

#[tokio::test]
async fn notifications_are_listed_to_their_user() {
    let kafka = Kafka::start().await;
    let (desk, service) = open(&kafka).await;
    desk.confirmed("1", "ann").await;
    desk.confirmed("2", "bob").await;
    service.counted("stored", 2).await;
    let orders = |body: &str| -> Vec<String> {
        let listed: Vec<Value> = serde_json::from_str(body).unwrap();
        let id = |one: &Value| one["order_id"].as_str().unwrap().to_owned();
        let mut ids: Vec<_> = listed.iter().map(id).collect();
        ids.sort();
        ids
    };
    let path = "/api/notifications?userId=ann";
    let own = owners_alone(service.address, "ann", "GET", path, "").await;
    assert_eq!(orders(&own.body), ["1"]);
    // Who names nobody means themselves.
    let own = as_user(service.address, "bob", "GET", "/api/notifications", "").await;
    assert_eq!(orders(&own.body), ["2"]);
    // The shop's own services see everybody's.
    let token = format!("Bearer {TOKEN}");
    let token = [("authorization", &*token)];
    let all = http::request(service.address, "GET", "/api/notifications", &token, "").await;
    assert_eq!(orders(&all.body), ["1", "2"]);
    service.stop().await;
}

#[tokio::test]
async fn the_stream_of_notifications_is_their_users() {
    let kafka = Kafka::start().await;
    let (desk, service) = open(&kafka).await;
    let path = "/api/notifications/events?userId=ann";
    let answer = owners_alone(service.address, "ann", "GET", path, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Who names nobody hears of themselves alone: Bob's comes first, and is not told.
    let headers = [("authorization", &*bearer("ann"))];
    let path = "/api/notifications/events";
    let mut events = Events::open_with(service.address, path, &headers, None).await;
    events.positioned().await;
    desk.confirmed("2", "bob").await;
    desk.confirmed("1", "ann").await;
    let event = events.next().await.expect("the stream goes on");
    assert!(event.data.contains(r#""order_id":"1""#), "{event:?}");
    drop(events);
    service.stop().await;
}

#[tokio::test]
async fn log_records_are_for_the_shops_own_services() {
    let kafka = Kafka::start().await;
    let (_desk, service) = open(&kafka).await;
    let path = "/api/logs";
    assert_eq!(http::get(service.address, path).await.status, 401);
    let user = as_user(service.address, "ann", "GET", path, "").await;
    assert_eq!(user.status, 403, "{user:?}");
    let token = format!("Bearer {TOKEN}");
    let token = [("authorization", &*token)];
    let own = http::request(service.address, "GET", path, &token, "").await;
    assert_eq!(own.status, 200, "{own:?}");
    service.stop().await;
}

#[tokio::test]
async fn the_document_says_where_a_token_is_wanted() {
    let kafka = Kafka::start().await;
    let (_desk, service) = open(&kafka).await;
    let interface = Interface::new(include_str!("../src/openapi.json"));
    interface.wants_tokens(service.address).await;
    service.stop().await;
}
