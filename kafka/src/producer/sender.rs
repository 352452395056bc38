//! The task that ships batches to one broker: everything that is ready for it goes into one request.
//!
//! While requests are in flight, batches fill up behind them; so the batches grow with the load, and an
//! idle partition's record leaves at once.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse,
    produce_request::{PartitionProduceData, TopicProduceData},
};

use super::{
    ProduceError,
    answers::{Answers, answer_of, unanswered},
    batch::Shipment,
    core::Core,
    inbox::Inbox,
    queue::{Answer, Next},
    sequence::ProducerId,
    topic::Partition,
    verdict::Verdict,
};
use crate::{cluster::Purpose, connection::Connection, error::Error};

/// A request takes no further batch once it has this many bytes: far below what brokers accept
/// (`socket.request.max.bytes`, 100 MiB), yet a batch of every partition of a usual topic.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// A batch under way and where it belongs.
struct Entry {
    partition: Arc<Partition>,
    shipment: Shipment,
}

struct Sender {
    core: Arc<Core>,
    node: i32,
    /// Listed partitions, in the order in which they are served.
    ready: VecDeque<Arc<Partition>>,
    connection: Option<Connection>,
    /// The broker asked for a pause (KIP-219).
    throttled_until: Option<Instant>,
}

/// What is to be sent now.
enum Work {
    Request(ProduceRequest, Vec<Entry>),
    /// Nothing before this.
    Later(Instant),
    Nothing,
}

pub(super) async fn run(core: Arc<Core>, node: i32, inbox: Arc<Inbox>) {
    let mut sender = Sender {
        core,
        node,
        ready: VecDeque::new(),
        connection: None,
        throttled_until: None,
    };
    let mut in_flight = FuturesUnordered::new();
    while !sender.core.is_done() {
        inbox.drain_into(&mut sender.ready);
        let mut wake_at = None;
        while in_flight.len() < sender.core.settings.max_in_flight_requests
            && !sender.ready.is_empty()
        {
            if let Some(until) = sender
                .throttled_until
                .filter(|until| *until > Instant::now())
            {
                wake_at = Some(until);
                break;
            }
            let usable = sender
                .connection
                .as_ref()
                .is_some_and(Connection::is_usable);
            if !usable && !in_flight.is_empty() {
                // Their answers come first: they tell what has to be sent again.
                break;
            }
            let Some((connection, producer)) = sender.prepare().await else {
                // It has waited already; what is still ready is tried again.
                wake_at = Some(Instant::now());
                break;
            };
            match sender.gather(producer) {
                Work::Request(request, entries) => {
                    in_flight.push(ship(sender.core.clone(), connection, request, entries))
                }
                Work::Later(at) => {
                    wake_at = Some(at);
                    break;
                }
                Work::Nothing => break,
            }
        }
        let pause = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((entries, result)) = in_flight.next(), if !in_flight.is_empty() => sender.settle(entries, result),
            () = inbox.wake.notified() => {}
            () = pause => {}
        }
    }
}

/// One request and its answer.
async fn ship(
    core: Arc<Core>,
    connection: Connection,
    request: ProduceRequest,
    entries: Vec<Entry>,
) -> (Vec<Entry>, Result<ProduceResponse, Error>) {
    let result = connection
        .call(request, core.settings.request_timeout)
        .await;
    (entries, result)
}

impl Sender {
    /// A connection and, if the producer is idempotent, its id. `None` if that failed: the partitions
    /// stay ready, or have gone to other senders.
    async fn prepare(&mut self) -> Option<(Connection, Option<ProducerId>)> {
        let core = self.core.clone();
        let node = self.node;
        let connected = match self.connection.take().filter(Connection::is_usable) {
            Some(connection) => Ok(connection),
            None => {
                let cluster = core.cluster.clone();
                self.unless_moved(async move { cluster.connection(node, Purpose::Produce).await })
                    .await?
            }
        };
        let prepared = match connected {
            Ok(connection) if core.settings.idempotence => {
                self.connection = Some(connection.clone());
                let core = core.clone();
                self.unless_moved(async move { core.identity.get(&core.cluster).await })
                    .await?
                    .map(|producer| (connection, Some(producer)))
            }
            Ok(connection) => {
                self.connection = Some(connection.clone());
                Ok((connection, None))
            }
            Err(error) => Err(error),
        };
        match prepared {
            Ok(prepared) => Some(prepared),
            Err(error) => {
                self.note_problem(error).await;
                None
            }
        }
    }

    /// Drives `step`, unless every ready partition moves to another broker meanwhile.
    async fn unless_moved<T>(&mut self, step: impl Future<Output = T>) -> Option<T> {
        let mut view = self.core.cluster.watch();
        let mut step = std::pin::pin!(step);
        loop {
            tokio::select! {
                done = &mut step => return Some(done),
                _ = view.changed() => {
                    self.release_moved();
                    if self.ready.is_empty() {
                        return None;
                    }
                }
            }
        }
    }

    /// Hands over the partitions that have another leader now.
    fn release_moved(&mut self) {
        let view = self.core.cluster.view();
        let (core, node) = (&self.core, self.node);
        self.ready.retain(|partition| {
            let stays = view
                .leader(&partition.topic, partition.index)
                .is_some_and(|(leader, _)| leader == node);
            if !stays {
                core.list(partition.clone());
            }
            stays
        });
    }

    /// Keeps the reason for deadlines that pass, and waits a little or until something changes.
    async fn note_problem(&mut self, error: Error) {
        tracing::debug!(node = self.node, %error, "cannot produce to the broker");
        if !error.is_retriable() {
            let cause = Arc::new(error);
            for partition in self.ready.drain(..) {
                let error = ProduceError::NoProducerId {
                    topic: partition.topic.clone(),
                    cause: cause.clone(),
                };
                let outcome = {
                    let mut queue = partition.queue.lock();
                    queue.listed = false;
                    queue.fail_all(&error)
                };
                self.core.conclude(outcome);
            }
            return;
        }
        let error = Arc::new(error);
        for partition in &self.ready {
            partition.queue.lock().set_problem(error.clone());
        }
        let pause = tokio::time::sleep(self.core.rules.retry_backoff);
        self.unless_moved(pause).await;
    }

    /// One request of everything that is ready.
    fn gather(&mut self, producer: Option<ProducerId>) -> Work {
        let now = Instant::now();
        let view = self.core.cluster.view();
        let flushing = self.core.flushing.load(Ordering::Acquire) > 0 || self.core.is_stopping();
        let mut entries = Vec::new();
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut bytes = 0;
        let mut later = None;
        for _ in 0..self.ready.len() {
            if bytes >= MAX_REQUEST_BYTES {
                break;
            }
            let Some(partition) = self.ready.pop_front() else {
                break;
            };
            let leader = view.leader(&partition.topic, partition.index);
            if leader.is_none_or(|(leader, _)| leader != self.node) {
                self.core.list(partition);
                continue;
            }
            let next = partition
                .queue
                .lock()
                .next(now, producer, flushing, &self.core.rules);
            match next {
                Next::Nothing => {}
                Next::Later(at) => {
                    later = Some(later.map_or(at, |earlier: Instant| earlier.min(at)));
                    self.ready.push_back(partition);
                }
                Next::Ship(shipment) => {
                    let (shipment, batch) =
                        shipment.seal(self.core.rules.compression, &self.core.pool);
                    bytes += batch.len();
                    let data = PartitionProduceData::default()
                        .with_index(partition.index)
                        .with_records(Some(batch));
                    match topics
                        .iter_mut()
                        .rev()
                        .find(|topic| topic.name == partition.wire_topic)
                    {
                        Some(topic) => topic.partition_data.push(data),
                        None => topics.push(
                            TopicProduceData::default()
                                .with_name(partition.wire_topic.clone())
                                .with_partition_data(vec![data]),
                        ),
                    }
                    entries.push(Entry {
                        partition,
                        shipment,
                    });
                }
            }
        }
        if entries.is_empty() {
            return later.map_or(Work::Nothing, Work::Later);
        }
        // Idempotence needs every in-sync replica to have the record, or a new leader could lack it.
        const ALL_REPLICAS: i16 = -1;
        let request = ProduceRequest::default()
            .with_acks(ALL_REPLICAS)
            .with_timeout_ms(self.replication_timeout_ms())
            .with_topic_data(topics);
        Work::Request(request, entries)
    }

    /// How long the broker waits for its replicas: less than we wait for the broker, so that slow
    /// replicas are answered with an error rather than with a closed connection.
    fn replication_timeout_ms(&self) -> i32 {
        let timeout = self.core.settings.request_timeout.mul_f32(0.75);
        i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
    }

    fn settle(&mut self, entries: Vec<Entry>, result: Result<ProduceResponse, Error>) {
        let mut refresh = false;
        match result {
            Ok(response) => {
                if response.throttle_time_ms > 0 {
                    let pause = Duration::from_millis(response.throttle_time_ms as u64);
                    self.throttled_until = Some(Instant::now() + pause);
                }
                let mut answers = Answers::new(response);
                for entry in entries {
                    let answer = match answers.of(&entry.partition) {
                        Some(answer) => answer_of(answer, &entry.partition),
                        None => unanswered(Error::Malformed {
                            address: self.address(),
                            api: ApiKey::Produce,
                            reason: format!(
                                "{}-{} is not answered",
                                entry.partition.topic, entry.partition.index
                            )
                            .into(),
                        }),
                    };
                    refresh |= matches!(answer.verdict, Verdict::Retry { refresh: true, .. });
                    self.settle_one(entry, answer);
                }
            }
            Err(error) => {
                tracing::debug!(node = self.node, %error, "produce request failed");
                refresh = true;
                for entry in entries {
                    self.settle_one(entry, unanswered(error.clone()));
                }
            }
        }
        if refresh {
            self.core.cluster.request_refresh();
        }
    }

    fn settle_one(&mut self, entry: Entry, answer: Answer) {
        let Entry {
            partition,
            shipment,
        } = entry;
        let outcome = {
            let mut queue = partition.queue.lock();
            let outcome = queue.settle(Instant::now(), shipment, answer, &self.core.rules);
            queue.listed = queue.has_work();
            if queue.listed {
                self.ready.push_back(partition.clone());
            }
            outcome
        };
        self.core.conclude(outcome);
    }

    fn address(&self) -> Arc<str> {
        match &self.connection {
            Some(connection) => connection.address().clone(),
            None => format!("with id {}", self.node).into(),
        }
    }
}
