//! A record's way into a batch: its topic, its partition, or the line of those who wait for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use kafka_protocol::{messages::TopicName, protocol::StrBytes};
use parking_lot::{Mutex, RwLock};

use super::{
    OutgoingRecord, ProduceError,
    core::Core,
    delivery::{Delivery, Placed, WaitingSlot},
    queue::Queue,
    topic::{Partition, Topic, WaitingRecord},
};
use crate::{
    cluster::random,
    partitioner,
    records::encoder::{MAX_RECORD_OVERHEAD, RecordParts},
};

/// A record's place in its topic.
#[derive(Clone, Copy)]
enum Choice {
    Partition(usize),
    /// The sticky one.
    Any,
}

impl Core {
    pub(super) fn enqueue(
        self: &Arc<Self>,
        record: &OutgoingRecord<'_>,
    ) -> Result<Delivery, ProduceError> {
        let (parts, payload) = self.measure(record)?;
        let largest = payload + MAX_RECORD_OVERHEAD;
        let Ok(room) = self.memory.try_acquire_many(largest as u32) else {
            return Err(ProduceError::BufferFull {
                topic: record.topic.into(),
                limit: self.settings.buffer_memory,
            });
        };
        let delivery = self.place(record, &parts, payload)?;
        room.forget();
        Ok(delivery)
    }

    /// Like `enqueue`, but waits for room, in the order of calls.
    pub(super) async fn enqueue_waiting(
        self: &Arc<Self>,
        record: &OutgoingRecord<'_>,
    ) -> Result<Delivery, ProduceError> {
        let (parts, payload) = self.measure(record)?;
        let largest = payload + MAX_RECORD_OVERHEAD;
        let waiting = self.memory.acquire_many(largest as u32);
        let room = match tokio::time::timeout(self.rules.delivery_timeout, waiting).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => {
                return Err(ProduceError::BufferFull {
                    topic: record.topic.into(),
                    limit: self.settings.buffer_memory,
                });
            }
        };
        let delivery = self.place(record, &parts, payload)?;
        room.forget();
        Ok(delivery)
    }

    fn measure<'a>(
        &self,
        record: &OutgoingRecord<'a>,
    ) -> Result<(RecordParts<'a>, usize), ProduceError> {
        let parts = RecordParts {
            timestamp: record.timestamp.unwrap_or_else(now_ms),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        let payload = parts.payload_size();
        let limit = self
            .settings
            .max_request_size
            .min(self.settings.buffer_memory);
        if payload + MAX_RECORD_OVERHEAD > limit {
            return Err(ProduceError::RecordTooLarge {
                topic: record.topic.into(),
                size: payload + MAX_RECORD_OVERHEAD,
                limit,
            });
        }
        Ok((parts, payload))
    }

    fn place(
        self: &Arc<Self>,
        record: &OutgoingRecord<'_>,
        parts: &RecordParts<'_>,
        payload: usize,
    ) -> Result<Delivery, ProduceError> {
        {
            let topics = self.topics.read();
            self.check_open(record.topic)?;
            if let Some(topic) = topics.get(record.topic) {
                let partitions = topic.partitions.read();
                if !partitions.is_empty() {
                    let placed =
                        self.append(topic, &partitions, record.partition, parts, payload, None)?;
                    return Ok(Delivery::new(placed.batch, placed.index, placed.timestamp));
                }
            }
        }
        self.place_waiting(record, parts, payload)
    }

    /// Closing takes the topics' lock for writing: whoever reads them sees the flag or is waited for.
    fn check_open(&self, topic: &str) -> Result<(), ProduceError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(ProduceError::Closed {
                topic: topic.into(),
            });
        }
        Ok(())
    }

    #[cold]
    fn place_waiting(
        self: &Arc<Self>,
        record: &OutgoingRecord<'_>,
        parts: &RecordParts<'_>,
        payload: usize,
    ) -> Result<Delivery, ProduceError> {
        let name: Arc<str> = record.topic.into();
        self.topics.write().entry(name.clone()).or_insert_with(|| {
            Arc::new(Topic {
                name,
                partitions: RwLock::default(),
                sticky: AtomicU32::new(random() as u32),
                waiting: Mutex::default(),
            })
        });
        let topics = self.topics.read();
        self.check_open(record.topic)?;
        let topic = &topics[record.topic];
        let mut waiting = topic.waiting.lock();
        // They may have become known meanwhile.
        let partitions = topic.partitions.read();
        if !partitions.is_empty() {
            let placed = self.append(topic, &partitions, record.partition, parts, payload, None)?;
            return Ok(Delivery::new(placed.batch, placed.index, placed.timestamp));
        }
        let slot = Arc::new(WaitingSlot::default());
        waiting.push(WaitingRecord {
            partition: record.partition,
            key: parts.key.map(<[u8]>::to_vec),
            value: parts.value.map(<[u8]>::to_vec),
            headers: parts
                .headers
                .iter()
                .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
            timestamp: parts.timestamp,
            payload,
            since: Instant::now(),
            slot: slot.clone(),
        });
        self.router.notify_one();
        Ok(Delivery::waiting(slot))
    }

    fn append(
        self: &Arc<Self>,
        topic: &Topic,
        partitions: &[Arc<Partition>],
        wanted: Option<i32>,
        parts: &RecordParts<'_>,
        payload: usize,
        since: Option<Instant>,
    ) -> Result<Placed, ProduceError> {
        let choice = match (wanted, parts.key) {
            (Some(wanted), _) => match usize::try_from(wanted) {
                Ok(at) if at < partitions.len() => Choice::Partition(at),
                _ => {
                    return Err(ProduceError::UnknownPartition {
                        topic: topic.name.clone(),
                        partition: wanted,
                        count: partitions.len() as i32,
                    });
                }
            },
            (None, Some(key)) => Choice::Partition(partitioner::partition_for_key(
                key,
                partitions.len() as i32,
            ) as usize),
            (None, None) => Choice::Any,
        };
        let largest = payload + MAX_RECORD_OVERHEAD;
        let buffer = || self.pool.take();
        let (partition, appended) = match choice {
            Choice::Partition(at) => {
                let partition = &partitions[at];
                (
                    partition,
                    partition
                        .queue
                        .lock()
                        .append(parts, payload, largest, since, buffer),
                )
            }
            Choice::Any => {
                // One partition until its batch is full or gone, then another: batches stay large.
                let partition =
                    &partitions[topic.sticky.load(Ordering::Relaxed) as usize % partitions.len()];
                let mut queue = partition.queue.lock();
                if queue.has_room(largest) {
                    (
                        partition,
                        queue.append(parts, payload, largest, since, buffer),
                    )
                } else {
                    drop(queue);
                    let partition = self.next_sticky(topic, partitions);
                    (
                        partition,
                        partition
                            .queue
                            .lock()
                            .append(parts, payload, largest, since, buffer),
                    )
                }
            }
        };
        if appended.unlisted {
            self.list(partition.clone());
        }
        Ok(Placed {
            batch: appended.state,
            index: appended.index,
            timestamp: parts.timestamp,
        })
    }

    /// Another partition than the current one, with a leader if one has.
    fn next_sticky<'a>(
        &self,
        topic: &Topic,
        partitions: &'a [Arc<Partition>],
    ) -> &'a Arc<Partition> {
        let view = self.cluster.view();
        let current = topic.sticky.load(Ordering::Relaxed) as usize % partitions.len();
        let led = |at: &usize| view.leader(&topic.name, *at as i32).is_some();
        let others = |at: &usize| *at != current;
        let start = random() as usize % partitions.len();
        let around = || (0..partitions.len()).map(|step| (start + step) % partitions.len());
        let chosen = around()
            .find(|at| others(at) && led(at))
            .or_else(|| around().find(led))
            .unwrap_or(current);
        topic.sticky.store(chosen as u32, Ordering::Relaxed);
        &partitions[chosen]
    }

    /// The topic has `count` partitions now; those who waited for them are placed.
    pub(super) fn grow(self: &Arc<Self>, topic: &Topic, count: usize) {
        if topic.partitions.read().len() >= count {
            return;
        }
        let mut waiting = topic.waiting.lock();
        let mut partitions = topic.partitions.read().clone();
        let wire_topic = TopicName(StrBytes::from_string(topic.name.to_string()));
        for index in partitions.len()..count {
            partitions.push(Arc::new(Partition {
                topic: topic.name.clone(),
                wire_topic: wire_topic.clone(),
                index: index as i32,
                queue: Mutex::new(Queue::new(topic.name.clone(), index as i32, &self.rules)),
            }));
        }
        // Those who wait go first: nobody else sees the partitions yet.
        for record in waiting.drain(..) {
            let headers: Vec<_> = record
                .headers
                .iter()
                .map(|(name, value)| (&name[..], value.as_deref()))
                .collect();
            let parts = RecordParts {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            };
            let placed = self.append(
                topic,
                &partitions,
                record.partition,
                &parts,
                record.payload,
                Some(record.since),
            );
            if placed.is_err() {
                self.memory
                    .add_permits(record.payload + MAX_RECORD_OVERHEAD);
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
            }
            record.slot.resolve(placed);
        }
        *topic.partitions.write() = partitions;
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
