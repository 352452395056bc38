//! An instance that its database refuses for good is not healthy, and takes nothing from the others.

#[path = "support/shop.rs"]
mod shop;

use shop::{PATIENCE, Shop};
use testkit::{Kafka, eventually};

/// A step of a schema newer than any program's.
const NEWER: &str =
    "INSERT INTO schema_migrations (version, name, checksum) VALUES (9999, 'newer', 'x')";

#[tokio::test]
async fn an_instance_below_a_newer_schema_is_not_ready_and_joins_no_group() {
    let kafka = Kafka::start().await;
    let shop = Shop::new(&kafka).await;
    let good = shop.start(&[]).await;
    let pool = testkit::database::pool(&shop.database.url);
    sql::query(NEWER).execute(&pool).await.unwrap();

    let rolled_back = shop.launch(&shop.flags(&[])).await;
    eventually(PATIENCE, || async {
        let (status, body) = rolled_back.get("/readyz").await;
        (status == 503 && body.contains("schema step 9999")).then_some(())
    })
    .await;
    assert_eq!(rolled_back.get("/livez").await.0, 200);

    // The good one has all partitions of both groups, and goes on.
    for user in 1..=20 {
        let event = format!(
            r#"{{"type":"UserCreated","userId":{user},"email":"u{user}@example.com","createdAt":"2026-01-02T00:00:00Z"}}"#
        );
        let key = user.to_string();
        shop.send(&shop.users, Some(&key), event.as_bytes(), &[])
            .await;
        shop.order(&format!("order-{user}"), "Laptop", 1).await;
    }
    for user in 1..=20 {
        let path = format!("/api/cart/user/{user}");
        eventually(PATIENCE, || async {
            (good.get(&path).await.0 == 200).then_some(())
        })
        .await;
    }
    good.metric_becomes(r#"orders_total{outcome="confirmed"}"#, 20.0)
        .await;
    let admin = shop.client.admin();
    let groups = [&*shop.group, &*shop.cart_group];
    for group in admin.describe_groups(&groups).await.unwrap() {
        assert_eq!(group.members.len(), 1, "{group:?}");
    }
    assert_eq!(good.get("/readyz?strict").await.0, 200);
    rolled_back.stop().await;
    good.stop().await;
}
