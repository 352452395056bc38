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
    Outgoing, ProduceError,
    core::Core,
    delivery::{Delivery, Placed, WaitingSlot},
    queue::Queue,
    topic::{Partition, Topic, WaitingRecord},
};
use crate::{
    cluster::random,
    partitioner,
    records::{
        OutgoingHeaders,
        encoder::{MAX_RECORD_OVERHEAD, RecordParts},
    },
};

/// A record's place in its topic.
#[derive(Clone, Copy)]
enum Choice {
    Partition(usize),
    /// The sticky one.
    Any,
}

/// A record, looked at before anything is done with it.
struct Measured<'a> {
    topic: &'a str,
    partition: Option<i32>,
    parts: RecordParts<'a>,
    payload: usize,
}

impl Topic {
    /// Fails if it is known that there is no such partition.
    fn check_partition(&self, wanted: Option<i32>) -> Result<(), ProduceError> {
        let Some(wanted) = wanted else { return Ok(()) };
        let partitions = self.partitions.read();
        if !partitions.is_empty() {
            self.partition(&partitions, wanted)?;
        }
        Ok(())
    }

    fn partition(&self, partitions: &[Arc<Partition>], wanted: i32) -> Result<usize, ProduceError> {
        let at = usize::try_from(wanted).ok();
        at.filter(|at| *at < partitions.len())
            .ok_or_else(|| ProduceError::UnknownPartition {
                topic: self.name.clone(),
                partition: wanted,
                count: partitions.len() as i32,
            })
    }
}

impl Measured<'_> {
    /// The most bytes it can take in a batch.
    fn largest(&self) -> usize {
        self.payload + MAX_RECORD_OVERHEAD
    }
}

impl Core {
    pub(super) fn enqueue_all<'a, H, const N: usize>(
        self: &Arc<Self>,
        records: &[Outgoing<'a, H>; N],
    ) -> Result<[Delivery; N], ProduceError>
    where
        H: Into<OutgoingHeaders<'a>> + Copy,
    {
        let (measured, largest) = self.measure(records)?;
        let Ok(room) = self.memory.try_acquire_many(largest) else {
            return Err(self.buffer_full(measured[0].topic));
        };
        let deliveries = self.place(&measured)?;
        room.forget();
        Ok(deliveries)
    }

    /// Like `enqueue_all`, but waits for room, in the order of calls.
    pub(super) async fn enqueue_all_waiting<'a, H, const N: usize>(
        self: &Arc<Self>,
        records: &[Outgoing<'a, H>; N],
    ) -> Result<[Delivery; N], ProduceError>
    where
        H: Into<OutgoingHeaders<'a>> + Copy,
    {
        let (measured, largest) = self.measure(records)?;
        let waiting = self.memory.acquire_many(largest);
        let room = match tokio::time::timeout(self.rules.delivery_timeout, waiting).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Err(self.buffer_full(measured[0].topic)),
        };
        let deliveries = self.place(&measured)?;
        room.forget();
        Ok(deliveries)
    }

    fn buffer_full(&self, topic: &str) -> ProduceError {
        ProduceError::BufferFull {
            topic: topic.into(),
            limit: self.settings.buffer_memory,
        }
    }

    /// The records, and the memory that they hold together.
    fn measure<'a, H, const N: usize>(
        &self,
        records: &[Outgoing<'a, H>; N],
    ) -> Result<([Measured<'a>; N], u32), ProduceError>
    where
        H: Into<OutgoingHeaders<'a>> + Copy,
    {
        const { assert!(N > 0) };
        let measured = records.each_ref().map(|record| {
            let parts = RecordParts {
                timestamp: record.timestamp.unwrap_or_else(now_ms),
                key: record.key,
                value: record.value,
                headers: record.headers.into(),
            };
            Measured {
                topic: record.topic,
                partition: record.partition,
                parts,
                payload: parts.payload_size(),
            }
        });
        let limit = self
            .settings
            .max_request_size
            .min(self.settings.buffer_memory);
        let mut together = 0;
        for record in &measured {
            together += record.largest();
            if record.largest() > limit {
                return Err(ProduceError::RecordTooLarge {
                    topic: record.topic.into(),
                    size: record.largest(),
                    limit,
                });
            }
        }
        match u32::try_from(together) {
            Ok(together_u32) if together <= self.settings.buffer_memory => {
                Ok((measured, together_u32))
            }
            // There will never be room for all of them.
            _ => Err(ProduceError::RecordTooLarge {
                topic: measured[0].topic.into(),
                size: together,
                limit: self.settings.buffer_memory,
            }),
        }
    }

    /// The partitions asked for are checked before the first record is placed, so that all are or none.
    fn place<const N: usize>(
        self: &Arc<Self>,
        records: &[Measured<'_>; N],
    ) -> Result<[Delivery; N], ProduceError> {
        loop {
            let topics = self.topics.read();
            self.check_open(records[0].topic)?;
            let found = records.each_ref().map(|record| topics.get(record.topic));
            let mut unknown = None;
            for (record, topic) in records.iter().zip(found) {
                match topic {
                    Some(topic) => topic.check_partition(record.partition)?,
                    None => unknown = Some(record.topic),
                }
            }
            if let Some(name) = unknown {
                drop(topics);
                self.add_topic(name);
                continue;
            }
            let mut topics = found.into_iter().flatten();
            return Ok(records.each_ref().map(|record| {
                let topic = topics.next().expect("none is unknown");
                self.place_one(topic, record)
            }));
        }
    }

    fn place_one(self: &Arc<Self>, topic: &Topic, record: &Measured<'_>) -> Delivery {
        let placed = {
            let partitions = topic.partitions.read();
            if partitions.is_empty() {
                drop(partitions);
                return self.place_waiting(topic, record);
            }
            self.append(topic, &partitions, record, None)
        };
        self.delivery(placed, record)
    }

    fn delivery(&self, placed: Result<Placed, ProduceError>, record: &Measured<'_>) -> Delivery {
        match placed {
            Ok(placed) => Delivery::new(placed.batch, placed.index, placed.timestamp),
            Err(error) => {
                self.not_placed(record);
                let slot = WaitingSlot::new(self.untold.clone());
                slot.resolve(Err(error));
                Delivery::waiting(slot)
            }
        }
    }

    /// A record failed that holds memory already.
    fn not_placed(&self, record: &Measured<'_>) {
        self.memory.add_permits(record.largest());
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
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
    fn add_topic(&self, name: &str) {
        let name: Arc<str> = name.into();
        self.topics.write().entry(name.clone()).or_insert_with(|| {
            Arc::new(Topic {
                name,
                partitions: RwLock::default(),
                sticky: AtomicU32::new(random() as u32),
                waiting: Mutex::default(),
            })
        });
    }

    /// Keeps a record until the topic's partitions are known.
    #[cold]
    fn place_waiting(self: &Arc<Self>, topic: &Topic, record: &Measured<'_>) -> Delivery {
        let mut waiting = topic.waiting.lock();
        // They may have become known meanwhile.
        let partitions = topic.partitions.read();
        if !partitions.is_empty() {
            return self.delivery(self.append(topic, &partitions, record, None), record);
        }
        let slot = WaitingSlot::new(self.untold.clone());
        waiting.push(WaitingRecord {
            partition: record.partition,
            key: record.parts.key.map(<[u8]>::to_vec),
            value: record.parts.value.map(<[u8]>::to_vec),
            headers: record.parts.headers.to_owned(),
            timestamp: record.parts.timestamp,
            payload: record.payload,
            since: Instant::now(),
            slot: slot.clone(),
        });
        self.router.notify_one();
        Delivery::waiting(slot)
    }

    fn append(
        self: &Arc<Self>,
        topic: &Topic,
        partitions: &[Arc<Partition>],
        record: &Measured<'_>,
        since: Option<Instant>,
    ) -> Result<Placed, ProduceError> {
        let choice = match (record.partition, record.parts.key) {
            (Some(wanted), _) => Choice::Partition(topic.partition(partitions, wanted)?),
            (None, Some(key)) => Choice::Partition(partitioner::partition_for_key(
                key,
                partitions.len() as i32,
            ) as usize),
            (None, None) => Choice::Any,
        };
        let add = |queue: &mut Queue| {
            let buffer = || self.pool.take();
            queue.append(
                &record.parts,
                record.payload,
                record.largest(),
                since,
                buffer,
            )
        };
        let (partition, appended) = match choice {
            Choice::Partition(at) => (&partitions[at], add(&mut partitions[at].queue.lock())),
            Choice::Any => {
                // One partition until its batch is full or gone, then another: batches stay large.
                let partition =
                    &partitions[topic.sticky.load(Ordering::Relaxed) as usize % partitions.len()];
                let mut queue = partition.queue.lock();
                if queue.has_room(record.largest()) {
                    (partition, add(&mut queue))
                } else {
                    drop(queue);
                    let partition = self.next_sticky(topic, partitions);
                    (partition, add(&mut partition.queue.lock()))
                }
            }
        };
        if appended.unlisted {
            self.list(partition.clone());
        }
        Ok(Placed {
            batch: appended.state,
            index: appended.index,
            timestamp: record.parts.timestamp,
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

    /// The topic has `count` partitions now. Records that waited for them are placed; those of partitions
    /// that are gone, as the topic was deleted and created again, fail: placed again they would come
    /// behind later ones of their keys, which their callers can tell and nobody here.
    pub(super) fn resize(self: &Arc<Self>, topic: &Topic, count: usize) {
        let known = topic.partitions.read().len();
        if known > count && count > 0 {
            self.shrink(topic, count);
        } else if known < count {
            self.grow(topic, count);
        }
    }

    fn shrink(&self, topic: &Topic, count: usize) {
        // Nothing is appended to them any more once the lock is free.
        let gone = topic.partitions.write().split_off(count);
        tracing::warn!(
            topic = %topic.name, partitions = count, before = count + gone.len(),
            "the topic was created anew with fewer partitions"
        );
        for partition in gone {
            let error = ProduceError::PartitionGone {
                topic: topic.name.clone(),
                partition: partition.index,
                count: count as i32,
            };
            let outcome = partition.queue.lock().fail_all(&error);
            self.conclude(outcome);
        }
    }

    fn grow(self: &Arc<Self>, topic: &Topic, count: usize) {
        let mut waiting = topic.waiting.lock();
        let mut partitions = topic.partitions.read().clone();
        let wire_topic = TopicName(StrBytes::from_string(topic.name.to_string()));
        for index in partitions.len()..count {
            partitions.push(Arc::new(Partition {
                topic: topic.name.clone(),
                wire_topic: wire_topic.clone(),
                index: index as i32,
                queue: Mutex::new(Queue::new(
                    topic.name.clone(),
                    index as i32,
                    &self.rules,
                    self.untold.clone(),
                )),
            }));
        }
        // Those who wait go first: nobody else sees the partitions yet.
        for waiter in waiting.drain(..) {
            let record = Measured {
                topic: &topic.name,
                partition: waiter.partition,
                parts: RecordParts {
                    timestamp: waiter.timestamp,
                    key: waiter.key.as_deref(),
                    value: waiter.value.as_deref(),
                    headers: waiter.headers.encoded().into(),
                },
                payload: waiter.payload,
            };
            let placed = self.append(topic, &partitions, &record, Some(waiter.since));
            if placed.is_err() {
                self.not_placed(&record);
            }
            waiter.slot.resolve(placed);
        }
        *topic.partitions.write() = partitions;
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
