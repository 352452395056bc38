//! A batch that nobody can read holds its partition, says so, and is passed over by a command.

#[path = "support/shop.rs"]
mod shop;

use std::process::Command;

use kafka::{OutgoingRecord, TopicPartition};
use shop::{PATIENCE, Service, Shop};
use testkit::Kafka;

/// 121 bytes that call themselves a batch of three records, and are none.
fn garbage() -> Vec<u8> {
    let mut batch = vec![0xa5; 121];
    batch[..8].fill(0);
    batch[8..12].copy_from_slice(&109_i32.to_be_bytes());
    batch[16] = 2;
    // The last offset's distance from the first.
    batch[23..27].copy_from_slice(&2_i32.to_be_bytes());
    batch
}

fn dlt(shop: &Shop, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_consumer-svc"))
        .arg("dlt")
        .args(arguments)
        .args(["--kafka-bootstrap-servers", &shop.bootstrap])
        .env_clear()
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

async fn said(service: &Service, text: &str) {
    testkit::eventually(PATIENCE, || async {
        let (_, said) = service.get("/readyz").await;
        said.contains(text).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_nobody_can_read_is_named_and_passed_over_by_the_command_it_names() {
    let kafka = Kafka::own_broker().await;
    let shop = Shop::new(&kafka).await;
    let service = shop.start(&[]).await;
    let planted = kafka.broker().unwrap().plant(&shop.orders, 0, 0, garbage());
    assert_eq!(planted.unwrap(), 0);
    let producer = shop.client.producer().build().unwrap();
    let behind = OutgoingRecord {
        topic: &shop.orders,
        partition: Some(0),
        key: Some(b"behind"),
        value: Some(br#"{"orderId":"behind","product":"Laptop","quantity":1}"#),
        headers: &[],
        timestamp: None,
    };
    assert_eq!(producer.send(&behind).await.unwrap().offset, 3);

    let (orders, group) = (&shop.orders, &shop.group);
    let command = format!("consumer-svc dlt skip {orders} 0 0 2 --group {group}");
    said(&service, &command).await;
    let metric = format!(
        r#"kafka_consumer_partition_held{{consumergroup="{group}",topic="{orders}",partition="0"}}"#
    );
    service.metric_becomes(&metric, 1.0).await;

    let (status, refused) = dlt(&shop, &["skip", orders, "0", "0", "3", "--group", group]);
    assert_eq!(status, Some(1), "{refused}");
    assert!(refused.contains("ends at offset 2"), "{refused}");
    let (status, refused) = dlt(&shop, &["skip", orders, "0", "3", "3", "--group", group]);
    assert_eq!(status, Some(1), "{refused}");
    assert!(refused.contains("can be read"), "{refused}");

    // As it is named.
    let words: Vec<_> = command.split(' ').skip(2).collect();
    let (status, told) = dlt(&shop, &words);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains(&format!("group {group} is told")), "{told}");
    service.metric_becomes(&metric, 0.0).await;
    let statuses = shop.follow(&shop.statuses).by_key(2).await;
    assert_eq!(statuses["behind"].len(), 2);
    let letters = format!("{orders}-dlt");
    let (status, listed) = dlt(&shop, &["list", "--topic", &letters]);
    assert_eq!(status, Some(0), "{listed}");
    assert!(
        listed.contains(&format!("from {orders}/0/0 to 2, passed over")),
        "{listed}"
    );
    assert!(listed.contains("checksum"), "{listed}");
    let (status, refused) = dlt(&shop, &["replay", &format!("{letters}/0/0")]);
    assert_eq!(status, Some(1), "{refused}");
    assert!(refused.contains("no record to replay"), "{refused}");
    let (status, all) = dlt(&shop, &["replay", "--all", "--topic", &letters]);
    assert_eq!(status, Some(0), "{all}");

    // Without a group it is the one whose commit stands there.
    let planted = kafka.broker().unwrap().plant(&shop.orders, 0, 0, garbage());
    assert_eq!(planted.unwrap(), 4);
    service.metric_becomes(&metric, 1.0).await;
    let (admin, of) = (shop.client.admin(), TopicPartition::new(orders.as_str(), 0));
    testkit::eventually(PATIENCE, || async {
        let committed = admin.committed_offsets(group).await.unwrap();
        (committed.get(&of)?.offset == 4).then_some(())
    })
    .await;
    let (status, told) = dlt(&shop, &["skip", orders, "0", "4", "6"]);
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains(&format!("group {group} is told")), "{told}");
    service.metric_becomes(&metric, 0.0).await;
    service.stop().await;
}
