//! The broker as rskafka sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Broker, Config};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, OffsetAt, UnknownTopicHandling};
use rskafka::record::Record;

fn record(value: &str) -> Record {
    Record {
        key: Some(b"key".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::from([("header".to_owned(), b"1".to_vec())]),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_700_000_000_000).unwrap(),
    }
}

#[tokio::test]
async fn produces_fetches_and_finds_offsets() {
    // rskafka retries for ever what the broker cannot do.
    let whole = tokio::time::timeout(Duration::from_secs(30), async {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(Config::new(dir.path())).await.unwrap();
        let client = ClientBuilder::new(vec![broker.addr().to_string()])
            .build()
            .await
            .unwrap();
        let controller = client.controller_client().unwrap();
        controller
            .create_topic("orders", 2, 1, 5_000)
            .await
            .unwrap();
        let topics = client.list_topics().await.unwrap();
        assert_eq!(topics.len(), 1);
        assert_eq!(topics[0].partitions.len(), 2);

        let partition = client
            .partition_client("orders", 1, UnknownTopicHandling::Error)
            .await
            .unwrap();
        let offsets = partition
            .produce(vec![record("a"), record("b")], Compression::NoCompression)
            .await
            .unwrap();
        assert_eq!(offsets, [0, 1]);
        let offsets = partition
            .produce(vec![record("c")], Compression::NoCompression)
            .await
            .unwrap();
        assert_eq!(offsets, [2]);
        assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 3);
        assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);

        let (records, high_watermark) = partition
            .fetch_records(0, 1..1_000_000, 1_000)
            .await
            .unwrap();
        assert_eq!(high_watermark, 3);
        let values: Vec<_> = records
            .iter()
            .map(|found| (found.offset, found.record.value.as_deref().unwrap()))
            .collect();
        assert_eq!(values, [(0, &b"a"[..]), (1, b"b"), (2, b"c")]);
        assert_eq!(records[0].record, record("a"));
        broker.shutdown().await;
    });
    whole.await.expect("done in time");
}
