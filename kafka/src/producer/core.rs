//! What a producer's handles and tasks share: topics, their partitions' queues, memory and counters.
//!
//! Locks are taken in the order topics → waiting → partitions → queue, and never held across an await.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore};

use super::{
    ProduceError,
    batch::Outcome,
    delivery::{BatchState, Delivery, Untold},
    identity::Identity,
    inbox::Inbox,
    pool::BufferPool,
    queue::Rules,
    sender,
    topic::{Partition, Topic, WaitingRecord},
};
use crate::{
    cluster::{Cluster, ClusterView},
    records::encoder::MAX_RECORD_OVERHEAD,
};

/// What does not concern the queues.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) max_request_size: usize,
    pub(super) buffer_memory: usize,
    pub(super) request_timeout: Duration,
    pub(super) max_in_flight_requests: usize,
    pub(super) idempotence: bool,
}

pub(super) struct Core {
    pub(super) cluster: Arc<Cluster>,
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) identity: Identity,
    pub(super) counters: Counters,
    pub(super) untold: Arc<Untold>,
    pub(super) topics: RwLock<HashMap<Arc<str>, Arc<Topic>, foldhash::fast::RandomState>>,
    pub(super) memory: Semaphore,
    pub(super) pool: BufferPool,
    senders: Mutex<HashMap<i32, Arc<Inbox>>>,
    /// Listed partitions without a leader.
    orphans: Mutex<Vec<Arc<Partition>>>,
    /// Wakes the router.
    pub(super) router: Notify,
    router_awake: AtomicBool,
    pub(super) flushing: AtomicUsize,
    pub(super) closed: AtomicBool,
    stopping: AtomicBool,
    runtime: tokio::runtime::Handle,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) acknowledged: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) retried: AtomicU64,
}

impl Core {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        settings: Settings,
        rules: Rules,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            identity: Identity::default(),
            counters: Counters::default(),
            untold: Arc::default(),
            topics: RwLock::default(),
            memory: Semaphore::new(settings.buffer_memory),
            pool: BufferPool::new(settings.buffer_memory / 2),
            senders: Mutex::default(),
            orphans: Mutex::default(),
            router: Notify::new(),
            router_awake: AtomicBool::new(false),
            flushing: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            settings,
            rules,
            runtime,
        })
    }

    /// Bytes of records not acknowledged yet.
    pub(super) fn buffered(&self) -> usize {
        self.settings.buffer_memory - self.memory.available_permits()
    }

    /// Hands a listed partition to the sender of its leader, or to the router if it has none.
    pub(super) fn list(self: &Arc<Self>, partition: Arc<Partition>) {
        let leader = self
            .cluster
            .view()
            .leader(&partition.topic, partition.index);
        match leader {
            Some((node, _)) => self.inbox(node).push(partition),
            None => {
                self.orphans.lock().push(partition);
                self.router.notify_one();
            }
        }
        if !self.router_awake.swap(true, Ordering::AcqRel) {
            self.router.notify_one();
        }
    }

    fn inbox(self: &Arc<Self>, node: i32) -> Arc<Inbox> {
        let mut senders = self.senders.lock();
        if let Some(inbox) = senders.get(&node) {
            return inbox.clone();
        }
        let inbox = Arc::<Inbox>::default();
        senders.insert(node, inbox.clone());
        drop(senders);
        self.spawn_sender(node, inbox.clone());
        inbox
    }

    fn spawn_sender(self: &Arc<Self>, node: i32, inbox: Arc<Inbox>) {
        self.runtime.spawn(sender::run(self.clone(), node, inbox));
    }

    /// Delivers what a queue brought about. The queue must not be locked.
    pub(super) fn conclude(&self, outcome: Outcome) {
        if outcome.retried > 0 {
            self.counters
                .retried
                .fetch_add(outcome.retried, Ordering::Relaxed);
        }
        if let Some(id) = outcome.bad_producer_id {
            self.identity.discard(id);
        }
        if let Some(buffer) = outcome.buffer {
            self.pool.put(buffer);
        }
        self.release(outcome.released);
        // Last: whoever is woken finds the counters and the memory as they are then.
        for finished in outcome.finished {
            let count = finished.count as u64;
            let counter = if finished.is_failure() {
                &self.counters.failed
            } else {
                &self.counters.acknowledged
            };
            finished.deliver(|| {
                counter.fetch_add(count, Ordering::Relaxed);
            });
        }
    }

    fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.memory.add_permits(bytes);
        if self.is_stopping() && self.buffered() == 0 {
            self.wake_all();
        }
    }

    /// Takes in the cluster's picture: partitions that became known or were added, topics made anew with
    /// fewer of them, new leaders.
    pub(super) fn adopt(self: &Arc<Self>, view: &ClusterView) {
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        for topic in topics {
            if let Some(seen) = view.topics.get(&topic.name) {
                self.resize(&topic, seen.partitions.len());
            }
        }
        let mut orphans = std::mem::take(&mut *self.orphans.lock());
        orphans.retain(|orphan| {
            let mut queue = orphan.queue.lock();
            // Its records may have passed their deadline.
            queue.listed = queue.has_work();
            queue.listed
        });
        let (led, orphans): (Vec<_>, Vec<_>) = orphans
            .into_iter()
            .partition(|orphan| view.leader(&orphan.topic, orphan.index).is_some());
        self.orphans.lock().extend(orphans);
        for partition in led {
            self.list(partition);
        }
    }

    /// Topics and partitions that only fresh metadata can move.
    pub(super) fn stuck_topics(&self) -> Vec<Arc<str>> {
        let topics = self.topics.read();
        let mut stuck: Vec<_> = topics
            .values()
            .filter(|topic| !topic.waiting.lock().is_empty())
            .map(|topic| topic.name.clone())
            .collect();
        stuck.extend(
            self.orphans
                .lock()
                .iter()
                .map(|orphan| orphan.topic.clone()),
        );
        stuck.sort_unstable();
        stuck.dedup();
        stuck
    }

    /// Fails what has passed its deadline.
    pub(super) fn sweep(&self, now: Instant) {
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        let timeout = self.rules.delivery_timeout;
        for topic in topics {
            let expired: Vec<_> = {
                let mut waiting = topic.waiting.lock();
                // In the order of their arrival.
                let count = waiting.partition_point(|record| {
                    now.saturating_duration_since(record.since) >= timeout
                });
                waiting.drain(..count).collect()
            };
            for record in expired {
                let elapsed = now.saturating_duration_since(record.since);
                self.fail_waiting(
                    record,
                    ProduceError::Timeout {
                        topic: topic.name.clone(),
                        partition: None,
                        elapsed,
                        may_be_written: false,
                        cause: None,
                    },
                );
            }
            for partition in topic.partitions.read().iter() {
                let outcome = partition.queue.lock().expire(now, &self.rules);
                self.conclude(outcome);
            }
        }
    }

    fn fail_waiting(&self, record: WaitingRecord, error: ProduceError) {
        self.counters.failed.fetch_add(1, Ordering::Relaxed);
        record.slot.resolve(Err(error));
        self.release(record.payload + MAX_RECORD_OVERHEAD);
    }

    /// Every batch and every waiting record there is now.
    pub(super) fn unfinished(&self) -> (Vec<Arc<BatchState>>, Vec<Delivery>) {
        let mut batches = Vec::new();
        let mut waiting = Vec::new();
        for topic in self.topics.read().values() {
            waiting.extend(
                topic
                    .waiting
                    .lock()
                    .iter()
                    .map(|record| Delivery::observing(record.slot.clone())),
            );
            for partition in topic.partitions.read().iter() {
                partition.queue.lock().unfinished(&mut batches);
            }
        }
        (batches, waiting)
    }

    /// From now on nothing is enqueued any more.
    pub(super) fn close(&self) {
        let _barrier = self.topics.write();
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Fails everything that is not acknowledged yet; returns how many records that were.
    pub(super) fn fail_all(&self) -> u64 {
        let failed_before = self.counters.failed.load(Ordering::Relaxed);
        let topics: Vec<_> = self.topics.read().values().cloned().collect();
        for topic in topics {
            let error = ProduceError::Closed {
                topic: topic.name.clone(),
            };
            let waiting = std::mem::take(&mut *topic.waiting.lock());
            for record in waiting {
                self.fail_waiting(record, error.clone());
            }
            for partition in topic.partitions.read().iter() {
                let outcome = partition.queue.lock().fail_all(&error);
                self.conclude(outcome);
            }
        }
        self.counters.failed.load(Ordering::Relaxed) - failed_before
    }

    /// The tasks end once nothing is left to send.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether a task has nothing left to do.
    pub(super) fn is_done(&self) -> bool {
        self.is_stopping() && self.buffered() == 0
    }

    pub(super) fn wake_all(&self) {
        self.router.notify_one();
        for inbox in self.senders.lock().values() {
            inbox.wake.notify_one();
        }
    }

    /// Whether the router can sleep until it is called: nothing is buffered that has a deadline, and
    /// what is enqueued next will call.
    pub(super) fn router_rests(&self) -> bool {
        if self.buffered() > 0 {
            return false;
        }
        self.router_awake.store(false, Ordering::Release);
        // What was buffered before the flag fell has called nobody. Nor do records of a partition that
        // is listed already: a sender that cannot send holds it, though all it had has expired.
        let rests = self.buffered() == 0 && !self.is_any_listed();
        if !rests {
            self.router_awake.store(true, Ordering::Release);
        }
        rests
    }

    fn is_any_listed(&self) -> bool {
        self.topics.read().values().any(|topic| {
            let partitions = topic.partitions.read();
            partitions
                .iter()
                .any(|partition| partition.queue.lock().listed)
        })
    }
}
