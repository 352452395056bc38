//! The consuming cases. Both see every byte of each value, so that neither skips decoding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use kafka::{AutoOffsetReset, ConsumerRecord, Handler, Outcome};
use rskafka::client::partition::OffsetAt;
use tokio::sync::Notify;

use super::Failure;
use super::load::{Load, connect, ours, partition_client};
use crate::measure::{Cost, Meter};

/// Most bytes of one of rskafka's answers: Java's max.partition.fetch.bytes, which ours keeps to as well.
const RSKAFKA_FETCH_BYTES: i32 = 1 << 20;

/// A fetch loop for each partition, to the end that it had at the start.
pub async fn rskafka(bootstrap: &str, topic: &str, load: &Load) -> Result<Cost, Failure> {
    let client = connect(bootstrap).await?;
    let mut partitions = Vec::new();
    for partition in 0..load.partitions {
        let partition = partition_client(&client, topic, partition).await?;
        let end = partition.get_offset(OffsetAt::Latest).await?;
        partitions.push((partition, end));
    }
    let meter = Meter::start();
    let tasks = partitions.into_iter().map(|(partition, end)| {
        tokio::spawn(async move {
            let (mut offset, mut seen, mut bytes) = (0, 0_u64, 0_usize);
            while offset < end {
                let (records, _) = partition
                    .fetch_records(offset, 1..RSKAFKA_FETCH_BYTES, 500)
                    .await?;
                for record in records {
                    offset = record.offset + 1;
                    seen += 1;
                    bytes += record.record.value.as_ref().map_or(0, Vec::len);
                }
            }
            std::hint::black_box(bytes);
            Ok::<u64, Failure>(seen)
        })
    });
    let mut seen = 0;
    for done in try_join_all(tasks).await? {
        seen += done?;
    }
    let cost = meter.stop()?;
    complete(seen, load)?;
    Ok(cost)
}

struct Count {
    expected: u64,
    seen: AtomicU64,
    bytes: AtomicU64,
    done: Notify,
}

#[derive(Clone)]
struct CountHandler(Arc<Count>);

impl Handler for CountHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let bytes = record.value.as_ref().map_or(0, |value| value.len());
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.0.seen.fetch_add(1, Ordering::Relaxed) + 1 == self.0.expected {
            self.0.done.notify_one();
        }
        Outcome::Done
    }
}

/// Everything a consumer in a group does: joining, fetching, lanes, handling, committing, leaving.
pub async fn group(bootstrap: &str, topic: &str, load: &Load) -> Result<Cost, Failure> {
    let client = ours(bootstrap, load).await?;
    let count = Arc::new(Count {
        expected: load.records,
        seen: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        done: Notify::new(),
    });
    // A group of its own each time: it starts at the first record.
    let group = format!(
        "bench-{}",
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos()
    );
    let meter = Meter::start();
    let consumer = client
        .consumer(&group)
        .topics([topic])
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .discard_rejected()
        .build(CountHandler(Arc::clone(&count)))?;
    let all = Arc::clone(&count);
    consumer
        .run(async move { all.done.notified().await })
        .await?;
    let cost = meter.stop()?;
    complete(count.seen.load(Ordering::Relaxed), load)?;
    Ok(cost)
}

fn complete(seen: u64, load: &Load) -> Result<(), Failure> {
    if seen < load.records {
        return Err(format!("{seen} of {} records were seen", load.records).into());
    }
    Ok(())
}
