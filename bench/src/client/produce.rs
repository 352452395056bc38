//! The producing cases.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::try_join_all;
use kafka::{OutgoingRecord, ProduceError, Producer};
use rskafka::client::partition::Compression;

use super::Failure;
use super::load::{HEADERS, Load, connect, ours, partition_client};
use crate::measure::{Cost, Meter};

/// Records in one of rskafka's requests: its cost a record no longer falls with more, and with
/// headers they stay below the broker's 1 MB (`message.max.bytes`).
pub const BATCH: usize = 2_000;
/// Deliveries that the enqueueing loop leaves open before it awaits the oldest.
const OPEN_DELIVERIES: usize = 20_000;
/// Records in one of its requests that are to be like those of [`send`]: with one request in flight,
/// each of 6 partitions has a sixth of the senders waiting.
pub const SMALL_BATCH: usize = SENDERS as usize / 6;
/// Tasks that send side by side, each awaiting every record: as many requests in flight.
const SENDERS: u64 = 256;

/// Ready batches, one in flight a partition.
pub async fn rskafka(
    bootstrap: &str,
    topic: &str,
    load: &Load,
    batch_size: usize,
) -> Result<Cost, Failure> {
    let client = connect(bootstrap).await?;
    let mut partitions = Vec::new();
    for partition in 0..load.partitions {
        partitions.push((
            partition,
            partition_client(&client, topic, partition).await?,
        ));
    }
    let meter = Meter::start();
    let tasks = partitions.into_iter().map(|(partition, client)| {
        let load = load.clone();
        tokio::spawn(async move {
            let value = load.value();
            let mut records = load.share(partition).peekable();
            while records.peek().is_some() {
                let batch = records
                    .by_ref()
                    .take(batch_size)
                    .map(|index| load.owned(index, &value))
                    .collect();
                client.produce(batch, Compression::NoCompression).await?;
            }
            Ok::<(), Failure>(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(meter.stop()?)
}

/// One loop, one record at a time; the window of open deliveries is the only batching the caller does.
pub async fn enqueue(bootstrap: &str, topic: &str, load: &Load) -> Result<Cost, Failure> {
    let producer = warm(bootstrap, topic, load).await?;
    let (value, headers) = (load.value(), headers(load));
    let meter = Meter::start();
    let mut open = VecDeque::with_capacity(OPEN_DELIVERIES);
    for index in 0..load.records {
        if open.len() == OPEN_DELIVERIES
            && let Some(oldest) = open.pop_front()
        {
            delivered(oldest).await?;
        }
        let key = Load::key(index);
        let record = record(topic, &key, &value, &headers);
        loop {
            match producer.enqueue(&record) {
                Ok(delivery) => break open.push_back(delivery),
                Err(ProduceError::BufferFull { .. }) => {
                    let oldest = open.pop_front().ok_or("the buffer is full of nothing")?;
                    delivered(oldest).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    for delivery in open {
        delivered(delivery).await?;
    }
    Ok(meter.stop()?)
}

/// Many tasks, each awaiting the acknowledgement of its record before the next.
pub async fn send(bootstrap: &str, topic: &str, load: &Load) -> Result<Cost, Failure> {
    let producer = warm(bootstrap, topic, load).await?;
    let topic: Arc<str> = topic.into();
    let meter = Meter::start();
    let tasks = (0..SENDERS).map(|sender| {
        let (producer, topic, load) = (producer.clone(), Arc::clone(&topic), load.clone());
        tokio::spawn(async move {
            let (value, headers) = (load.value(), headers(&load));
            for index in (sender..load.records).step_by(SENDERS as usize) {
                producer
                    .send(&record(&topic, &Load::key(index), &value, &headers))
                    .await?;
            }
            Ok::<(), ProduceError>(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(meter.stop()?)
}

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

fn headers(load: &Load) -> Vec<Header<'static>> {
    let count = if load.headers { HEADERS.len() } else { 0 };
    HEADERS[..count]
        .iter()
        .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
        .collect()
}

fn record<'a>(
    topic: &'a str,
    key: &'a [u8],
    value: &'a [u8],
    headers: &'a [Header<'a>],
) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: None,
        key: Some(key),
        value: Some(value),
        headers,
        timestamp: None,
    }
}

async fn delivered(delivery: kafka::Delivery) -> Result<(), ProduceError> {
    delivery.await.map(drop)
}

/// Connected and with its leaders known: `client.ready` alone would leave that to the first record.
async fn warm(bootstrap: &str, topic: &str, load: &Load) -> Result<Producer, Failure> {
    let client = ours(bootstrap, load).await?;
    let producer = client.producer().compression(load.compression).build()?;
    let value = [b'w'];
    producer.send(&record(topic, b"warm", &value, &[])).await?;
    Ok(producer)
}
