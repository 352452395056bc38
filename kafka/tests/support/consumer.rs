//! What the consumer tests share: a handler that does as it is told and remembers, and a consumer
//! that runs in a task of its own.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka::{
    Client, ClientConfig, ConsumerBuilder, ConsumerError, ConsumerRecord, ConsumerStats,
    ConsumerStatsHandle, DeadLetters, Handler, Outcome, OutgoingRecord, Producer, Report,
};
use testkit::Kafka;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// For whatever has no other bound: a test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One call of the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub attempt: u32,
    pub leader_epoch: i32,
}

impl Seen {
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key.as_deref().unwrap_or_default()).expect("text keys")
    }

    pub fn value(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).expect("text values")
    }
}

type Act = Box<dyn Fn(ConsumerRecord) -> BoxFuture<'static, Outcome> + Send + Sync>;
type Probe = Box<dyn Fn() -> bool + Send + Sync>;

/// Does as it is told; every call and its end can be awaited.
#[derive(Clone)]
pub struct Scripted {
    calls: watch::Sender<Vec<Seen>>,
    act: Arc<Act>,
    probe: Arc<Probe>,
}

impl Scripted {
    pub fn new<F: Future<Output = Outcome> + Send + 'static>(
        act: impl Fn(ConsumerRecord) -> F + Send + Sync + 'static,
    ) -> Self {
        Self {
            calls: watch::Sender::new(Vec::new()),
            act: Arc::new(Box::new(move |record| act(record).boxed())),
            probe: Arc::new(Box::new(|| true)),
        }
    }

    /// Says *done* to everything.
    pub fn done() -> Self {
        Self::new(|_| async { Outcome::Done })
    }

    pub fn with_probe(mut self, probe: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.probe = Arc::new(Box::new(probe));
        self
    }

    pub fn calls(&self) -> Vec<Seen> {
        self.calls.borrow().clone()
    }

    /// Waits until the calls so far are as asked; fails with what they are.
    pub async fn until(&self, what: &str, check: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let mut calls = self.calls.subscribe();
        let waited = tokio::time::timeout(PATIENCE, calls.wait_for(|calls| check(calls))).await;
        match waited {
            Ok(found) => found.expect("the handler is here").clone(),
            Err(_) => {
                let calls = self.calls();
                panic!(
                    "{what} did not happen within {PATIENCE:?}; {} calls, last {:?}",
                    calls.len(),
                    calls.last()
                )
            }
        }
    }

    pub async fn until_calls(&self, count: usize) -> Vec<Seen> {
        self.until(&format!("call {count}"), |calls| calls.len() >= count)
            .await
    }
}

impl Handler for Scripted {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        self.calls.send_modify(|calls| {
            calls.push(Seen {
                topic: record.topic.to_string(),
                partition: record.partition,
                offset: record.offset,
                key: record.key.clone(),
                value: record.value.clone(),
                attempt: record.attempt,
                leader_epoch: record.leader_epoch,
            });
        });
        (self.act)(record.clone()).await
    }

    async fn probe(&self) -> bool {
        (self.probe)()
    }
}

/// A consumer that runs.
pub struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Report, ConsumerError>>,
    pub stats: ConsumerStatsHandle,
}

impl Running {
    pub fn start(builder: ConsumerBuilder, handler: Scripted) -> Self {
        let consumer = builder.build(handler).expect("a good configuration");
        let stats = consumer.stats();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(consumer.run(async {
            let _ = stopped.await;
        }));
        Self {
            stop: Some(stop),
            task,
            stats,
        }
    }

    /// Shuts it down in order.
    pub async fn stop(mut self) -> Report {
        self.begin_stop();
        self.ended().await.expect("a consumer that ends well")
    }

    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn ended(self) -> Result<Report, ConsumerError> {
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the consumer ends")
            .expect("no panic")
    }

    /// Ends it at once, as a crash would (but for the sockets, which are closed).
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Waits until the statistics are as asked.
    pub async fn until(
        &self,
        what: &str,
        check: impl Fn(&ConsumerStats) -> bool,
    ) -> Arc<ConsumerStats> {
        until(&self.stats, what, check).await
    }

    /// Waits until it owns this many partitions.
    pub async fn until_assigned(&self, partitions: usize) {
        until_assigned(&self.stats, partitions).await;
    }
}

/// Waits until the statistics are as asked.
pub async fn until(
    stats: &ConsumerStatsHandle,
    what: &str,
    check: impl Fn(&ConsumerStats) -> bool,
) -> Arc<ConsumerStats> {
    let waited = tokio::time::timeout(
        PATIENCE,
        testkit::eventually(PATIENCE * 2, || async {
            let now = stats.snapshot();
            check(&now).then_some(now)
        }),
    );
    match waited.await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not happen; {:#?}", stats.snapshot()),
    }
}

/// Waits until the consumer owns this many partitions.
pub async fn until_assigned(stats: &ConsumerStatsHandle, partitions: usize) {
    until(stats, &format!("{partitions} partitions"), |stats| {
        stats.partitions.len() == partitions
            && stats
                .partitions
                .iter()
                .all(|partition| partition.committed.is_some())
    })
    .await;
}

/// A consumer with a client and a runtime of its own, so that it can be killed as a process is: nothing of it runs any
/// more, and the broker hears no word.
pub struct Killable {
    runtime: Option<tokio::runtime::Runtime>,
    pub stats: ConsumerStatsHandle,
}

impl Killable {
    pub fn start(
        world: &World,
        handler: Scripted,
        change: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let inside = runtime.enter();
        let builder = change(world.consumer_of(&client(&world.kafka, |_| {})));
        let consumer = builder.build(handler).expect("a good configuration");
        drop(inside);
        let stats = consumer.stats();
        runtime.spawn(consumer.run(std::future::pending()));
        Self {
            runtime: Some(runtime),
            stats,
        }
    }

    pub async fn until_assigned(&self, partitions: usize) {
        until_assigned(&self.stats, partitions).await;
    }

    pub fn kill(self) {}
}

impl Drop for Killable {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client of a broker, and things to do with it.
pub struct World {
    pub kafka: Kafka,
    pub client: Client,
    pub producer: Producer,
    pub topic: String,
    pub group: String,
}

impl World {
    /// On Apache Kafka or on a broker of its own, as the environment says.
    pub async fn new(partitions: i32) -> Self {
        Self::on(Kafka::start().await, partitions).await
    }

    /// On a broker of its own.
    pub async fn own(partitions: i32) -> Self {
        Self::on(Kafka::own_broker().await, partitions).await
    }

    pub async fn on(kafka: Kafka, partitions: i32) -> Self {
        let topic = testkit::unique("topic");
        kafka.create_topic(&topic, partitions).await;
        let client = client(&kafka, |_| {});
        Self {
            producer: client.producer().build().expect("a good configuration"),
            client,
            kafka,
            topic,
            group: testkit::unique("group"),
        }
    }

    pub async fn with_dead_letters(self, partitions: i32) -> Self {
        self.kafka
            .create_topic(&format!("{}-dlt", self.topic), partitions)
            .await;
        self
    }

    /// Quick to notice what happens; dead letters discarded.
    pub fn consumer(&self) -> ConsumerBuilder {
        self.consumer_of(&self.client)
    }

    pub fn consumer_of(&self, client: &Client) -> ConsumerBuilder {
        client
            .consumer(&self.group)
            .topics([&self.topic])
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(200))
            .commit_interval(Duration::from_millis(50))
            .discard_rejected()
    }

    pub fn letters(&self) -> DeadLetters {
        DeadLetters::new(self.producer.clone())
    }

    pub fn dlt(&self) -> String {
        format!("{}-dlt", self.topic)
    }

    /// Sends to a partition; returns the offset.
    pub async fn send(&self, partition: i32, key: &str, value: &str) -> i64 {
        self.send_record(partition, Some(key.as_bytes()), Some(value.as_bytes()), &[])
            .await
    }

    pub async fn send_record(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> i64 {
        let record = OutgoingRecord {
            topic: &self.topic,
            partition: Some(partition),
            key,
            value,
            headers,
            timestamp: None,
        };
        self.producer
            .send(&record)
            .await
            .expect("the record is taken")
            .offset
    }

    /// Sends `values` to a partition, each under the key that `key` makes of it.
    pub async fn send_all(
        &self,
        partition: i32,
        values: std::ops::Range<usize>,
        key: impl Fn(usize) -> String,
    ) {
        let mut deliveries = Vec::new();
        for value in values {
            let (key, value) = (key(value), value.to_string());
            let record = OutgoingRecord {
                topic: &self.topic,
                partition: Some(partition),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                headers: &[],
                timestamp: None,
            };
            deliveries.push(self.producer.enqueue(&record).expect("room for the record"));
        }
        for delivery in deliveries {
            delivery.await.expect("the record is taken");
        }
    }

    /// What the group has committed, by partition, with the metadata.
    pub async fn committed(&self) -> BTreeMap<i32, (i64, String)> {
        let offsets = self
            .client
            .admin()
            .committed_offsets(&self.group)
            .await
            .expect("offsets");
        let of_topic = offsets
            .into_iter()
            .filter(|(partition, _)| *partition.topic == *self.topic);
        of_topic
            .map(|(place, committed)| (place.partition, (committed.offset, committed.metadata)))
            .collect()
    }

    /// Commits for the group from outside, while it has no members.
    pub async fn commit(&self, partition: i32, offset: i64) {
        use kafka_protocol::messages::offset_commit_request::{
            OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        };
        use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
        use kafka_protocol::protocol::StrBytes;
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(TopicName(text(&self.topic)))
            .with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic]);
        testkit::eventually(PATIENCE, || async {
            let mut connection = self.kafka.connect().await;
            let response = connection.call(&request, 7).await;
            // The coordinator of a group that nobody asked for yet may be loading.
            let stored = response
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .all(|p| p.error_code == 0);
            stored.then_some(())
        })
        .await;
    }

    /// All records of a topic's partitions as they lie there, by partition.
    pub async fn read(&self, topic: &str, count: usize) -> Vec<ConsumerRecord> {
        let mut reader = self
            .client
            .reader()
            .topics([topic])
            .build()
            .expect("a good configuration");
        let mut records = Vec::new();
        while records.len() < count {
            let next = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
            match next
                .unwrap_or_else(|_| panic!("{topic} has {} records, not {count}", records.len()))
            {
                kafka::ReaderEvent::Records(batch) => records.extend(batch),
                reset => panic!("{reset:?}"),
            }
        }
        records
    }
}

pub fn client(kafka: &Kafka, change: impl FnOnce(&mut ClientConfig)) -> Client {
    let mut config = ClientConfig::new(kafka.bootstrap()).expect("an address");
    change(&mut config);
    Client::new(config)
}

/// Something that handlers wait for until it is opened.
#[derive(Clone)]
pub struct Latch(watch::Sender<bool>);

impl Latch {
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn opened(&self) {
        let mut open = self.0.subscribe();
        open.wait_for(|open| *open)
            .await
            .expect("the latch is here");
    }
}
