//! Follows whole topics without a group: every reader sees every record, from the offsets it is
//! given, and commits nothing.
//!
//! For event streams to browsers, where each instance follows the topic by itself, and for looking
//! at what lies in a topic.

mod builder;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};

use crate::backoff::{Backoff, Jitter};
use crate::cluster::{Cluster, ClusterView};
use crate::consumer::fetcher::{Chunk, Divergence, Fetched, Fetcher, Reservation, Ticket, What};
use crate::consumer::lineage::Lineage;
use crate::consumer::positions::{End, positions};
use crate::consumer::{ConsumerRecord, TopicPartition};
use crate::error::Error;
use crate::records::walker::{IsolationLevel, MAX_DECOMPRESSED, WalkOptions, Walked, Walker};
use crate::topic_id::TopicId;

pub use self::builder::{ReaderBuilder, Start};

/// First and longest wait before something that failed is tried again.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// What a [`Reader`] comes across.
#[derive(Clone, Debug)]
pub enum ReaderEvent {
    /// Records of one partition, in order, at least one.
    Records(Vec<ConsumerRecord>),
    /// The log does not hold the offset that was due (retention passed it, or the log was cut
    /// back): reading goes on at its first record, and what lay between is not to be had. Or it
    /// was cut back and written anew since: reading goes on at the first offset known to differ.
    Reset {
        /// Where.
        partition: TopicPartition,
        /// The offset that was due.
        asked: i64,
        /// Where reading goes on.
        resumed: i64,
    },
}

/// What lies in a log and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The partition.
    pub partition: TopicPartition,
    /// The record, or the first one of a batch.
    pub offset: i64,
    /// Why.
    pub problem: String,
    /// A whole batch: the partition is held at it, and tried again. Else a record that was passed over.
    pub holds: bool,
}

/// Records passed over that a reader remembers for [`Reader::unreadable`].
const PASSED_OVER: usize = 100;

/// Follows whole topics. See the [module](self) and [`Client::reader`](crate::Client::reader).
pub struct Reader {
    cluster: Arc<Cluster>,
    views: watch::Receiver<Arc<ClusterView>>,
    isolation: IsolationLevel,
    topics: Vec<(Arc<str>, Sight)>,
    start: Start,
    /// Topics whose [`Start::Offsets`] are of an earlier topic of the same name.
    recreated: HashSet<Arc<str>>,
    fetcher: Fetcher,
    fetched: mpsc::UnboundedReceiver<Vec<Fetched>>,
    /// The index is the fetcher's slot.
    partitions: Vec<Followed>,
    chunks: VecDeque<(usize, Chunk)>,
    /// The chunk that is being returned, a part at a time.
    reading: Option<Reading>,
    /// The last records that could not be read.
    passed_over: VecDeque<Unreadable>,
    events: VecDeque<ReaderEvent>,
    operations: FuturesUnordered<BoxFuture<'static, Done>>,
    jitter: Jitter,
}

/// Most records of one event (Java `max.poll.records`): a small answer may hold millions.
const MAX_RECORDS: usize = 500;

struct Reading {
    slot: usize,
    walker: Walker,
    /// Where it stands: void once the partition's position is another.
    position: i64,
    /// The record behind those returned.
    ahead: Option<ConsumerRecord>,
    _reservation: Reservation,
}

/// What is known of a topic. What it has when the reader begins starts by `start`; what comes later
/// is new, and read from its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Unknown,
    /// It did not exist when the reader began.
    Absent,
    Seen,
}

struct Followed {
    name: TopicPartition,
    /// Of the topic that the position is of; `None` = not known.
    topic_id: Option<TopicId>,
    /// The next offset to be returned; `None` until it is known.
    position: Option<i64>,
    ticket: Option<Ticket>,
    /// Of what was read.
    lineage: Lineage,
    high_watermark: Option<i64>,
    /// Counts how often it was asked where to read: only the answer to the last question counts.
    asked: u64,
    failures: u32,
    /// Why it is held where it stands.
    problem: Option<String>,
}

impl Followed {
    fn new(name: TopicPartition, topic_id: Option<TopicId>) -> Self {
        Self {
            name,
            topic_id,
            position: None,
            ticket: None,
            lineage: Lineage::default(),
            high_watermark: None,
            asked: 0,
            failures: 0,
            problem: None,
        }
    }
}

enum Done {
    Topics {
        found: Result<(), Error>,
        failures: u32,
    },
    Located {
        slots: Vec<Question>,
        end: End,
        offsets: Vec<Result<i64, Error>>,
        failures: u32,
    },
    Resume {
        slot: usize,
    },
}

/// The question where a partition is to be read from.
struct Question {
    slot: usize,
    /// Which of the partition's questions it is.
    number: u64,
    /// The offset that was due, if it is about that.
    due: Option<i64>,
}

impl Reader {
    /// The next records, or what came between. Waits as long as there is nothing; brokers that are
    /// away are waited for. A record that cannot be read is logged and passed over; a whole batch
    /// that cannot be read is logged and holds its partition.
    ///
    /// # Cancellation
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next_batch(&mut self) -> ReaderEvent {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let reading = match self.reading.take() {
                Some(reading) => Some(reading),
                None => self
                    .chunks
                    .pop_front()
                    .map(|(slot, chunk)| self.open(slot, chunk)),
            };
            if let Some(reading) = reading {
                let records = self.read(reading);
                if !records.is_empty() {
                    return ReaderEvent::Records(records);
                }
                continue;
            }
            self.step().await;
        }
    }

    /// What could not be read: the batches that partitions are held at now, and the last records that
    /// were passed over.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let held = self.partitions.iter().filter_map(|followed| {
            Some(Unreadable {
                partition: followed.name.clone(),
                offset: followed.position?,
                problem: followed.problem.clone()?,
                holds: true,
            })
        });
        held.chain(self.passed_over.iter().cloned()).collect()
    }

    /// Waits until it is known where each partition of the topics that exist starts: what is
    /// written from then on will be seen. A topic that does not exist is waited for.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn positioned(&mut self) {
        while self.topics.iter().any(|(_, sight)| *sight != Sight::Seen)
            || self
                .partitions
                .iter()
                .any(|followed| followed.position.is_none())
        {
            self.step().await;
        }
    }

    /// The next offset of each partition: behind the last record returned. Those whose start is
    /// not known yet are missing.
    pub fn positions(&self) -> Vec<(TopicPartition, i64)> {
        let known = |followed: &Followed| Some((followed.name.clone(), followed.position?));
        let mut positions: Vec<_> = self.partitions.iter().filter_map(known).collect();
        positions.sort();
        positions
    }

    /// The id of the topic that the positions are of; `None`: not known. Another one than before means that
    /// the topic was deleted and created again, which [`ReaderEvent::Reset`] has told of each partition.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        let of = self.partitions.iter().find(|of| *of.name.topic == *topic)?;
        of.topic_id
    }

    /// Whether everything has been returned that was in the topics when they were last heard of.
    pub fn is_caught_up(&self) -> bool {
        self.topics.iter().all(|(_, sight)| *sight == Sight::Seen)
            && self.partitions.iter().all(|followed| {
                match (followed.position, followed.high_watermark) {
                    (Some(position), Some(end)) => position >= end,
                    _ => false,
                }
            })
    }

    /// Takes in one thing that happened. Cancel safe.
    async fn step(&mut self) {
        tokio::select! {
            Some(fetched) = self.fetched.recv() => self.on_fetched(fetched),
            Some(done) = self.operations.next(), if !self.operations.is_empty() => self.on_done(done),
            Ok(()) = self.views.changed() => self.add_partitions(),
        }
    }

    fn look_for_topics(&mut self, failures: u32) {
        let cluster = self.cluster.clone();
        let names: Vec<_> = self.topics.iter().map(|(name, _)| name.clone()).collect();
        let wait = self.wait(failures);
        self.operations.push(
            async move {
                tokio::time::sleep(wait).await;
                let found = cluster.ensure_topics(&names).await.map(|_| ());
                Done::Topics { found, failures }
            }
            .boxed(),
        );
    }

    fn wait(&mut self, failures: u32) -> Duration {
        if failures == 0 {
            Duration::ZERO
        } else {
            RETRY.delay(failures, self.jitter.next())
        }
    }

    fn add_partitions(&mut self) {
        let view = self.views.borrow_and_update().clone();
        let mut wanted: HashMap<bool, Vec<(usize, Option<i64>)>> = HashMap::new();
        for (topic, sight) in &mut self.topics {
            let Some(count) = view.partition_count(topic) else {
                continue;
            };
            let id = view.topic_id(topic);
            let first_sight = std::mem::replace(sight, Sight::Seen) == Sight::Unknown;
            for partition in 0..count {
                let name = TopicPartition::new(topic.clone(), partition);
                if self.partitions.iter().any(|followed| followed.name == name) {
                    continue;
                }
                let slot = self.partitions.len();
                let mut followed = Followed::new(name, id);
                match &self.start {
                    Start::Offsets(offsets)
                        if first_sight && offsets.contains_key(&followed.name) =>
                    {
                        let position = offsets[&followed.name];
                        if self.recreated.contains(topic) {
                            // The offset is of the topic that had this name before.
                            wanted
                                .entry(false)
                                .or_default()
                                .push((slot, Some(position)));
                        } else {
                            followed.position = Some(position);
                            let ticket =
                                self.fetcher.start(slot, topic, id, partition, position, -1);
                            followed.ticket = Some(ticket);
                        }
                    }
                    start => wanted
                        .entry(first_sight && *start == Start::Latest)
                        .or_default()
                        .push((slot, None)),
                }
                self.partitions.push(followed);
            }
        }
        for (latest, slots) in wanted {
            self.locate(slots, if latest { End::Latest } else { End::Earliest }, 0);
        }
    }

    fn locate(&mut self, slots: Vec<(usize, Option<i64>)>, end: End, failures: u32) {
        let mut ends = Vec::with_capacity(slots.len());
        let mut questions = Vec::with_capacity(slots.len());
        for (slot, due) in slots {
            let followed = &mut self.partitions[slot];
            followed.asked += 1;
            ends.push((followed.name.clone(), end));
            questions.push(Question {
                slot,
                number: followed.asked,
                due,
            });
        }
        let (cluster, isolation) = (self.cluster.clone(), self.isolation);
        let wait = self.wait(failures);
        self.operations.push(
            async move {
                tokio::time::sleep(wait).await;
                let offsets = positions(&cluster, isolation, &ends).await;
                Done::Located {
                    slots: questions,
                    end,
                    offsets,
                    failures,
                }
            }
            .boxed(),
        );
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Topics { found, failures } => {
                self.add_partitions();
                match found {
                    Ok(()) => {
                        for (_, sight) in &mut self.topics {
                            if *sight == Sight::Unknown {
                                *sight = Sight::Absent;
                            }
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot describe the topics to follow, trying again");
                    }
                }
                if self.topics.iter().any(|(_, sight)| *sight != Sight::Seen) {
                    self.cluster.request_refresh();
                    self.look_for_topics(failures.saturating_add(1));
                }
            }
            Done::Located {
                slots,
                end,
                offsets,
                failures,
            } => {
                let mut again = Vec::new();
                for (Question { slot, number, due }, offset) in slots.into_iter().zip(offsets) {
                    if self.partitions[slot].asked != number {
                        continue;
                    }
                    match offset {
                        Ok(offset) => self.begin(slot, due, offset),
                        Err(error) => {
                            tracing::warn!(partition = %self.partitions[slot].name, %error, "cannot find where to read, trying again");
                            again.push((slot, due));
                        }
                    }
                }
                if !again.is_empty() {
                    self.locate(again, end, failures.saturating_add(1));
                }
            }
            Done::Resume { slot } => self.fetch(slot),
        }
    }

    fn begin(&mut self, slot: usize, asked: Option<i64>, offset: i64) {
        let followed = &mut self.partitions[slot];
        followed.position = Some(offset);
        followed.lineage = Lineage::default();
        if let Some(asked) = asked {
            let partition = followed.name.clone();
            tracing::warn!(%partition, offset = asked, resumed = offset, "offset out of range, reading goes on at the first record");
            self.events.push_back(ReaderEvent::Reset {
                partition,
                asked,
                resumed: offset,
            });
        }
        self.fetch(slot);
    }

    fn fetch(&mut self, slot: usize) {
        let followed = &mut self.partitions[slot];
        if let Some(position) = followed.position {
            let ticket = self.fetcher.start(
                slot,
                &followed.name.topic,
                followed.topic_id,
                followed.name.partition,
                position,
                followed.lineage.before(position),
            );
            followed.ticket = Some(ticket);
        }
    }

    fn on_fetched(&mut self, fetched: Vec<Fetched>) {
        for Fetched { slot, ticket, what } in fetched {
            let followed = &mut self.partitions[slot];
            if followed.ticket != Some(ticket) {
                continue;
            }
            match what {
                What::Records(chunk) => {
                    followed.high_watermark = Some(chunk.high_watermark);
                    followed.topic_id = followed.topic_id.or(chunk.topic_id);
                    self.chunks.push_back((slot, chunk));
                }
                What::Empty { high_watermark } => followed.high_watermark = Some(high_watermark),
                What::OutOfRange { position } => {
                    self.fetcher.stop(slot);
                    followed.ticket = None;
                    self.locate(vec![(slot, Some(position))], End::Earliest, 0);
                }
                What::Diverged(divergence) => self.diverged(slot, divergence),
                What::Recreated { topic_id, .. } => self.recreated(slot, topic_id),
                What::Failed { error, times } => {
                    if times.is_power_of_two() {
                        tracing::warn!(partition = %followed.name, times, %error, "fetching failed, trying again");
                    }
                }
            }
        }
    }

    /// The topic was deleted and created again: each of its partitions is read from its first record. All of
    /// them at once, so that the positions are never partly of the one and partly of the other.
    fn recreated(&mut self, slot: usize, topic_id: Option<TopicId>) {
        let topic = self.partitions[slot].name.topic.clone();
        tracing::warn!(
            %topic, was = ?self.partitions[slot].topic_id, is = ?topic_id,
            "the topic was deleted and created again, reading goes on at its first records"
        );
        let mut again = Vec::new();
        for (slot, followed) in self.partitions.iter_mut().enumerate() {
            if followed.name.topic != topic || followed.topic_id == topic_id {
                continue;
            }
            self.fetcher.stop(slot);
            followed.ticket = None;
            followed.topic_id = topic_id;
            followed.high_watermark = None;
            followed.lineage = Lineage::default();
            self.chunks.retain(|(of, _)| *of != slot);
            self.reading.take_if(|reading| reading.slot == slot);
            again.push((slot, followed.position.take()));
        }
        self.locate(again, End::Earliest, 0);
    }

    /// The log was cut back and written anew: reading goes on where it is known to differ (KIP-320).
    fn diverged(&mut self, slot: usize, divergence: Divergence) {
        let followed = &mut self.partitions[slot];
        self.fetcher.stop(slot);
        followed.ticket = None;
        let asked = followed.position.unwrap_or(divergence.position);
        // What was fetched ahead is dropped; whether what was returned is still there is asked next.
        self.chunks.retain(|(of, _)| *of != slot);
        self.reading.take_if(|reading| reading.slot == slot);
        if asked >= divergence.position {
            let (epoch, end) = (divergence.leader_epoch, divergence.leader_end);
            let resumed = followed.lineage.diverged(asked, epoch, end);
            followed.position = Some(resumed);
            let partition = followed.name.clone();
            tracing::warn!(
                %partition, offset = asked, epoch = divergence.epoch, leader_epoch = epoch, resumed,
                "the log was truncated: what was read up to this offset is not what it holds, reading goes on where it differs"
            );
            self.events.push_back(ReaderEvent::Reset {
                partition,
                asked,
                resumed,
            });
        }
        self.fetch(slot);
    }

    fn open(&mut self, slot: usize, chunk: Chunk) -> Reading {
        let followed = &mut self.partitions[slot];
        followed.lineage.extend(&chunk.lineage);
        let name = &followed.name;
        let options = WalkOptions {
            topic: name.topic.clone(),
            partition: name.partition,
            fetch_offset: chunk.from,
            isolation: self.isolation,
            aborted: chunk.aborted,
            max_decompressed: MAX_DECOMPRESSED,
        };
        Reading {
            slot,
            walker: Walker::new(chunk.records, options),
            position: chunk.from,
            ahead: None,
            _reservation: chunk.reservation,
        }
    }

    /// The next records of what is being read, which stays if there are more.
    fn read(&mut self, mut reading: Reading) -> Vec<ConsumerRecord> {
        let followed = &mut self.partitions[reading.slot];
        if followed.position != Some(reading.position) {
            // What came before it could not be read, or the log was cut back.
            return Vec::new();
        }
        let (name, topic_id) = (followed.name.clone(), followed.topic_id);
        let mut records = Vec::from_iter(reading.ahead.take());
        let mut problem = None;
        while reading.ahead.is_none()
            && let Some(walked) = reading.walker.next()
        {
            match walked {
                Ok(Walked::Record(record)) => {
                    let record =
                        ConsumerRecord::new(name.topic.clone(), topic_id, name.partition, record);
                    if records.len() < MAX_RECORDS {
                        records.push(record);
                    } else {
                        reading.ahead = Some(record);
                    }
                }
                Ok(Walked::Unreadable { offset, reason, .. }) => {
                    tracing::error!(topic = %name.topic, partition = name.partition, offset, "record passed over, it cannot be read: {reason}");
                    if self.passed_over.len() == PASSED_OVER {
                        self.passed_over.pop_front();
                    }
                    self.passed_over.push_back(Unreadable {
                        partition: name.clone(),
                        offset,
                        problem: reason.to_string(),
                        holds: false,
                    });
                }
                Err(error) => problem = Some(error.to_string()),
            }
        }
        if let Some(ahead) = &reading.ahead {
            followed.position = Some(ahead.offset);
            reading.position = ahead.offset;
            self.reading = Some(reading);
            return records;
        }
        followed.position = Some(reading.walker.next_offset());
        if reading.walker.is_cut_off() {
            problem = Some(format!(
                "the batch at {name} offset {} is larger than an answer may be",
                reading.position
            ));
        }
        match problem {
            None => {
                followed.failures = 0;
                followed.problem = None;
            }
            Some(problem) => self.hold(reading.slot, &problem),
        }
        records
    }

    /// Tries again later where the partition stands.
    fn hold(&mut self, slot: usize, problem: &str) {
        let followed = &mut self.partitions[slot];
        followed.failures = followed.failures.saturating_add(1);
        followed.ticket = None;
        followed.problem = Some(problem.to_owned());
        let failures = followed.failures;
        tracing::error!(partition = %followed.name, times = failures, "the partition is held: {problem}");
        self.fetcher.stop(slot);
        let wait = self.wait(failures);
        self.operations.push(
            async move {
                tokio::time::sleep(wait).await;
                Done::Resume { slot }
            }
            .boxed(),
        );
    }
}

#[cfg(test)]
mod tests;
