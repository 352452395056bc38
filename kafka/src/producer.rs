//! The producer: records are encoded straight into the open batch of their partition, batches grow with
//! the load, and every batch carries a sequence number, so that a lost acknowledgement does not
//! duplicate it (KIP-98).
//!
//! Reading path of a record: `placing` → `queue` (pure) → `batch` → `sender`, the task of one broker →
//! `answers` → `verdict` (pure) → `delivery`, which the caller awaits. `core` is what handles and tasks
//! share, `router` the task that watches metadata and deadlines, `sequence` what makes it idempotent.

mod answers;
mod batch;
mod core;
mod delivery;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod identity;
mod inbox;
mod placing;
mod pool;
mod queue;
mod router;
mod sender;
mod sequence;
mod topic;
mod verdict;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

pub(crate) use self::identity::new_producer_id;
use self::{
    core::{Core, Settings},
    queue::Rules,
};
pub use self::{
    delivery::{Delivery, RecordMetadata},
    error::ProduceError,
    sequence::ProducerId,
};
use crate::{
    client::Client,
    error::ConfigError,
    records::{Compression, EncodedHeaders, OutgoingHeaders},
    topic_id::TopicId,
};

/// A record to send, its headers name by name. Names need not be unique; values may be null.
pub type OutgoingRecord<'a> = Outgoing<'a, &'a [(&'a [u8], Option<&'a [u8]>)]>;

/// A record to send whose headers a [`HeaderTemplate`](crate::HeaderTemplate) has encoded.
pub type EncodedRecord<'a> = Outgoing<'a, EncodedHeaders<'a>>;

/// A record to send. Everything is borrowed: it is encoded before the call returns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a, H> {
    /// The topic, which must exist: it is never created by sending to it.
    pub topic: &'a str,
    /// `None`: chosen by the key's murmur2 hash, as in Java; without a key, one partition after another,
    /// a batch each.
    pub partition: Option<i32>,
    /// Records of one key keep their order.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// In their order.
    pub headers: H,
    /// Milliseconds since 1970; `None`: now. [`NO_TIMESTAMP`]: the record has no time.
    pub timestamp: Option<i64>,
}

/// The time of a record that has none (`RecordBatch.NO_TIMESTAMP` of the Java client). A broker takes it
/// whatever it demands of times, and goes by the age of the segment's file when it deletes what is old.
pub const NO_TIMESTAMP: i64 = -1;

/// Settings of a [`Producer`]. Made by [`Client::producer`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before build()"]
pub struct ProducerBuilder {
    client: Client,
    settings: Settings,
    rules: Rules,
}

impl Client {
    /// A producer with Java's defaults, but without its 16 KiB batches: here a batch is what gathered
    /// while the one before was in flight.
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder {
            client: self.clone(),
            settings: Settings {
                max_request_size: 1024 * 1024,
                buffer_memory: 32 * 1024 * 1024,
                request_timeout: self.config().request_timeout,
                max_in_flight_requests: 1,
                idempotence: true,
            },
            rules: Rules {
                max_batch_bytes: 1_000_000,
                delivery_timeout: Duration::from_secs(120),
                linger: Duration::ZERO,
                compression: Compression::None,
                retry_backoff: Duration::from_millis(100),
                retry_backoff_max: Duration::from_secs(1),
            },
        }
    }
}

impl ProducerBuilder {
    /// Bytes of records that may wait for their acknowledgement, in batches or in flight. Default
    /// 32 MiB (Java `buffer.memory`).
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.settings.buffer_memory = bytes;
        self
    }

    /// Size at which a batch is full, in bytes before compression. A larger record gets a batch of its
    /// own. Default 1,000,000: what brokers take by default (`message.max.bytes`, 1,048,588) with some
    /// room. Java's `batch.size`, which is 16 KiB, bounds what lingers; here nothing lingers for it.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.rules.max_batch_bytes = bytes;
        self
    }

    /// Largest record that is sent, in bytes. Default 1 MiB (Java `max.request.size`).
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.settings.max_request_size = bytes;
        self
    }

    /// How long a record may take from `enqueue` to its acknowledgement, all retries included. Default
    /// 120 s (Java `delivery.timeout.ms`).
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.rules.delivery_timeout = timeout;
        self
    }

    /// How long one request may take before it is sent again, at most `delivery_timeout`. Default: the
    /// client's.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// How batches are compressed. Default: not at all (Java `compression.type`).
    pub fn compression(mut self, compression: Compression) -> Self {
        self.rules.compression = compression;
        self
    }

    /// Requests in flight to one broker. Whatever it is, one partition has at most one batch in flight,
    /// so order and idempotence do not depend on it. Default 1, which makes the largest batches: 256
    /// tasks that each await their records took 0.9 µs CPU a record with 1, 1.9 with 2, 2.4 with 5
    /// (Apache Kafka 4.3, 6 partitions, 100 B). More helps where the way to the broker is long. Java has
    /// 5 (`max.in.flight.requests.per.connection`).
    pub fn max_in_flight_requests(mut self, requests: usize) -> Self {
        self.settings.max_in_flight_requests = requests;
        self
    }

    /// How long a batch that is not full waits for more records although it could be sent. Default 0
    /// (Java `linger.ms` before Kafka 4).
    pub fn linger(mut self, linger: Duration) -> Self {
        self.rules.linger = linger;
        self
    }

    /// Whether the broker is made to recognise what is sent again. Default true. Without it, a lost
    /// acknowledgement duplicates a batch.
    pub fn idempotence(mut self, idempotence: bool) -> Self {
        self.settings.idempotence = idempotence;
        self
    }

    /// Starts the producer. Does no I/O; its tasks run on the tokio runtime that this is called in.
    ///
    /// # Errors
    /// A setting that makes no sense, or no tokio runtime.
    pub fn build(self) -> Result<Producer, ConfigError> {
        let Self {
            client,
            mut settings,
            rules,
        } = self;
        /// Enough for an empty record with its batch.
        const LEAST: usize = 256;
        for (setting, bytes) in [
            ("buffer_memory", settings.buffer_memory),
            ("max_batch_bytes", rules.max_batch_bytes),
            ("max_request_size", settings.max_request_size),
        ] {
            if !(LEAST..=i32::MAX as usize).contains(&bytes) {
                let problem = format!("is {bytes} bytes; it must be from {LEAST} to {}", i32::MAX);
                return Err(ConfigError::new(setting, problem));
            }
        }
        for (setting, timeout) in [
            ("delivery_timeout", rules.delivery_timeout),
            ("request_timeout", settings.request_timeout),
        ] {
            if timeout.is_zero() {
                return Err(ConfigError::new(
                    setting,
                    "is zero; nothing could be delivered",
                ));
            }
        }
        if settings.max_in_flight_requests == 0 {
            return Err(ConfigError::new(
                "max_in_flight_requests",
                "is 0; it must be at least 1",
            ));
        }
        // A request that outlasts every deadline would only hold memory.
        settings.request_timeout = settings.request_timeout.min(rules.delivery_timeout);
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            ConfigError::new("runtime", "a producer must be built inside a tokio runtime")
        })?;
        let core = Core::new(client.cluster().clone(), settings, rules, runtime.clone());
        runtime.spawn(router::run(core.clone()));
        Ok(Producer {
            handle: Arc::new(Handle { core }),
        })
    }
}

/// Sends records. A cheap handle; clones share batches and memory.
///
/// Records of one partition keep the order of their `enqueue` calls, also when they are sent again. When
/// the last handle is dropped, what was enqueued is still delivered, as long as the runtime lives.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.stop();
    }
}

impl Producer {
    /// The id of a topic as the cluster last told it: of the topic that acknowledged records lie in, unless it
    /// was deleted and created again since. `None`: not known, or a broker before Kafka 2.8.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.handle.core.cluster.view().topic_id(topic)
    }

    /// Encodes a record into the open batch of its partition. Does not wait and needs no runtime.
    ///
    /// If the topic's partitions are not known yet, the record is kept in its order until they are.
    ///
    /// # Errors
    /// [`ProduceError::BufferFull`] at once when `buffer_memory` is used up,
    /// [`ProduceError::RecordTooLarge`], [`ProduceError::UnknownPartition`], [`ProduceError::Closed`]: in
    /// each case the record is not sent. What happens later comes out of the [`Delivery`].
    pub fn enqueue(&self, record: &OutgoingRecord<'_>) -> Result<Delivery, ProduceError> {
        let [delivery] = self.handle.core.enqueue_all(std::array::from_ref(record))?;
        Ok(delivery)
    }

    /// Like [`Producer::enqueue`], but waits up to `delivery_timeout` for room, and then for the
    /// acknowledgement.
    ///
    /// # Cancellation
    /// Dropped while it waits for room, the record is not sent; dropped later, it is delivered all the
    /// same.
    ///
    /// # Errors
    /// Those of `enqueue`, and why the record was not acknowledged.
    pub async fn send(&self, record: &OutgoingRecord<'_>) -> Result<RecordMetadata, ProduceError> {
        let record = std::array::from_ref(record);
        let [delivery] = self.handle.core.enqueue_all_waiting(record).await?;
        delivery.await
    }

    /// [`Producer::enqueue`] for several records, in their order and for less: all of them are enqueued,
    /// or none is.
    ///
    /// # Errors
    /// As `enqueue`, for the first record that is concerned; `buffer_memory` must have room for all.
    pub fn enqueue_all<'a, H, const N: usize>(
        &self,
        records: &[Outgoing<'a, H>; N],
    ) -> Result<[Delivery; N], ProduceError>
    where
        H: Into<OutgoingHeaders<'a>> + Copy,
    {
        self.handle.core.enqueue_all(records)
    }

    /// Like [`Producer::enqueue_all`], but waits up to `delivery_timeout` for room.
    ///
    /// # Cancellation
    /// Dropped while it waits, nothing is sent.
    ///
    /// # Errors
    /// Those of `enqueue_all`.
    pub async fn enqueue_all_waiting<'a, H, const N: usize>(
        &self,
        records: &[Outgoing<'a, H>; N],
    ) -> Result<[Delivery; N], ProduceError>
    where
        H: Into<OutgoingHeaders<'a>> + Copy,
    {
        self.handle.core.enqueue_all_waiting(records).await
    }

    /// Waits until everything enqueued before this call is acknowledged or has failed; nothing lingers
    /// meanwhile. Dropping the future is harmless: the next call tells what this one would have told.
    ///
    /// # Errors
    /// The first failure among those records, and among those before whose [`Delivery`] was dropped before it told its
    /// own failure. Of records that failed together, as one batch does, one call says so; those whose `Delivery` is
    /// dropped after that are not told again. Each record has its own failure in its `Delivery`.
    pub async fn flush(&self) -> Result<(), ProduceError> {
        let core = &self.handle.core;
        let _flushing = Flushing::start(core);
        let (batches, mut waiting) = core.unfinished();
        let mut result = Ok(());
        for delivery in &mut waiting {
            result = result.and(delivery.await.map(|_| ()));
        }
        for batch in &batches {
            result = result.and(batch.wait().await);
        }
        // Nothing is taken as told before this point, so that a flush that is dropped half-way hides no failure.
        for delivery in &waiting {
            delivery.flushed();
        }
        for batch in &batches {
            batch.flushed();
        }
        match core.untold.take() {
            Some(error) => Err(error),
            None => result,
        }
    }

    /// Refuses new records, and waits up to `timeout` for those under way. Every handle is closed with
    /// it. Dropped half-way, the producer is closed to new records, and goes on delivering.
    ///
    /// # Errors
    /// [`ProduceError::CloseTimeout`] with the number of records that were not acknowledged; they have
    /// failed with [`ProduceError::Closed`]. Otherwise the first failure, as from `flush`.
    pub async fn close(&self, timeout: Duration) -> Result<(), ProduceError> {
        let core = &self.handle.core;
        let started = Instant::now();
        core.close();
        let flushed = tokio::time::timeout(timeout, self.flush()).await;
        let result = flushed.unwrap_or_else(|_| {
            Err(ProduceError::CloseTimeout {
                records: core.fail_all(),
                elapsed: started.elapsed(),
            })
        });
        core.stop();
        result
    }

    /// Counts since the producer was built.
    pub fn stats(&self) -> ProducerStats {
        let core = &self.handle.core;
        ProducerStats {
            acknowledged: core.counters.acknowledged.load(Ordering::Relaxed),
            failed: core.counters.failed.load(Ordering::Relaxed),
            retried: core.counters.retried.load(Ordering::Relaxed),
            buffered_bytes: core.buffered() as u64,
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A snapshot of a producer's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerStats {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that failed after they were enqueued.
    pub failed: u64,
    /// Records that were sent again, counted each time.
    pub retried: u64,
    /// Bytes of `buffer_memory` in use.
    pub buffered_bytes: u64,
}

/// Nothing lingers as long as one of these lives.
struct Flushing<'a>(&'a Core);

impl<'a> Flushing<'a> {
    fn start(core: &'a Core) -> Self {
        core.flushing.fetch_add(1, Ordering::AcqRel);
        core.wake_all();
        Self(core)
    }
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.flushing.fetch_sub(1, Ordering::AcqRel);
    }
}
