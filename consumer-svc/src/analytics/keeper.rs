use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kafka::{NewPartition, PartitionListener, StartAt, TopicId, TopicPartition};
use parking_lot::Mutex;
use proto::BookEventKind;
use service::db::{GroupWriter, GroupWriterConfig};
use tokio::sync::{Notify, watch};

use super::fact::Fact;
use super::metrics::AnalyticsMetrics;
use super::store::{Answer, Batch, Claims, Position, Store, Wanted, Written};

/// Facts that may wait to be stored, by default; 150 bytes each with a user's rating.
pub(super) const ROOM: usize = 20_000;

/// How often what is in memory is stored.
const INTERVAL: Duration = Duration::from_secs(1);

/// Pauses after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long the next owner of a partition is kept waiting for a database that does not answer: what is
/// not stored is read again there.
const HANDOVER: Duration = Duration::from_secs(5);

/// The statistics in memory: what came of this instance's partitions and is not stored yet.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Store,
    claims: GroupWriter<Claims>,
    kinds: HashMap<String, BookEventKind>,
    room: usize,
    state: Mutex<State>,
    /// What is being written. Kept through failures and dropped futures, as it may have been written.
    unsettled: tokio::sync::Mutex<Vec<Batch>>,
    /// Half of the room is taken.
    crowded: Notify,
    /// Facts that wait, to be waited for.
    waiting: watch::Sender<usize>,
    /// Another instance has claimed a partition that this one takes for its own.
    fenced: watch::Sender<bool>,
    metrics: AnalyticsMetrics,
}

#[derive(Debug, Default)]
struct State {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Facts in all partitions.
    facts: usize,
    /// Facts that are being written.
    writing: usize,
    /// Partitions whose topic's id was not the one that the figures are of, when they were last wanted.
    doubted: BTreeMap<TopicPartition, TopicId>,
}

#[derive(Debug)]
struct Partition {
    kind: BookEventKind,
    epoch: i64,
    /// Of the topic that the positions are of; `None` = not known.
    topic_id: Option<TopicId>,
    /// Writes that were begun.
    writes: i64,
    /// Below it everything is in the figures, although it is read again: a rejected record behind the group's commit
    /// may have to be.
    counted: Position,
    /// Behind the last record; before the first the start, if it is known.
    next: Option<Position>,
    /// Whether the database has where its figures begin: without it the next owner would start at the group's commit,
    /// behind what was in memory alone.
    begun: bool,
    /// Whether `next` has moved since the last write.
    moved: bool,
    facts: Vec<Fact>,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It is in the statistics.
    Taken,
    /// Too much waits to be stored.
    Full,
    /// The partition is not this instance's any more: whoever has it reads the record.
    Gone,
}

impl Keeper {
    pub(crate) fn new(
        store: Store,
        kinds: HashMap<String, BookEventKind>,
        room: usize,
        metrics: AnalyticsMetrics,
    ) -> Self {
        Self {
            claims: GroupWriter::spawn(
                store.database.clone(),
                Claims,
                GroupWriterConfig::default(),
            ),
            store,
            kinds,
            room,
            state: Mutex::default(),
            unsettled: tokio::sync::Mutex::default(),
            crowded: Notify::new(),
            waiting: watch::Sender::new(0),
            fenced: watch::Sender::new(false),
            metrics,
        }
    }

    pub(super) fn kind(&self, topic: &str) -> Option<BookEventKind> {
        self.kinds.get(topic).copied()
    }

    /// The claim under which a partition is this instance's.
    pub(super) fn epoch(&self, place: &TopicPartition) -> Option<i64> {
        let state = self.state.lock();
        state.partitions.get(place).map(|partition| partition.epoch)
    }

    /// Before a record of a partition is taken in: where it is the first one, or the first one of a topic that was created
    /// again, notes in the database that the figures of this topic begin at its `offset`, if nobody has.
    ///
    /// # Errors
    /// The database's: the record must not be taken in.
    pub(super) async fn begin_at(
        &self,
        place: &TopicPartition,
        epoch: i64,
        topic_id: Option<TopicId>,
        offset: i64,
    ) -> Result<(), sql::Error> {
        // Whether another topic was begun; `None` where there is nothing to do.
        let is_another = || {
            let state = self.state.lock();
            // Of what is not its own it takes nothing in.
            let found = state.partitions.get(place)?;
            let is_another = TopicId::differ(found.topic_id, topic_id);
            (found.epoch == epoch && (is_another || !found.begun)).then_some(is_another)
        };
        if is_another().is_none() {
            return Ok(());
        }
        let mut unsettled = self.unsettled.lock().await;
        match is_another() {
            None => return Ok(()),
            // What came of the topic of before is written as that one's, and none of it behind this.
            Some(true) => self.flush_into(&mut unsettled).await?,
            Some(false) => {}
        }
        let counted = self.store.begin(place, epoch, topic_id, offset).await?;
        let mut state = self.state.lock();
        let Some(counted) = counted else {
            self.fence(&mut state, place, epoch);
            return Ok(());
        };
        let ours = state.partitions.get_mut(place);
        if let Some(partition) = ours.filter(|found| found.epoch == epoch) {
            if TopicId::differ(partition.topic_id, topic_id) {
                partition.next = None;
            }
            partition.topic_id = topic_id.or(partition.topic_id);
            partition.counted = counted;
            partition.begun = true;
        }
        Ok(())
    }

    /// Takes the record before `next` in, which follows all that were taken in of its partition under this claim
    /// (`epoch`), and is of the topic with this id.
    pub(super) fn record(
        &self,
        place: &TopicPartition,
        epoch: i64,
        topic_id: Option<TopicId>,
        next: Position,
        fact: Option<Fact>,
    ) -> Recorded {
        let mut state = self.state.lock();
        let full = state.facts + state.writing >= self.room;
        let State {
            partitions, facts, ..
        } = &mut *state;
        let Some(partition) = partitions
            .get_mut(place)
            .filter(|found| found.epoch == epoch)
        else {
            return Recorded::Gone;
        };
        if TopicId::differ(partition.topic_id, topic_id) {
            // Of another topic than the one that was begun: not by this claim.
            return Recorded::Gone;
        }
        partition.topic_id = topic_id.or(partition.topic_id);
        // Going back, or a later epoch below, means that the log was cut and written anew: these are other records.
        let back = partition
            .next
            .is_some_and(|known| next.offset <= known.offset);
        let epoch = partition.counted.leader_epoch;
        if back || (epoch >= 0 && next.leader_epoch > epoch) {
            partition.counted = Position::at(0);
        }
        if next.offset <= partition.counted.offset {
            partition.next = Some(next);
            return Recorded::Taken;
        }
        if fact.is_some() && full {
            return Recorded::Full;
        }
        partition.next = Some(next);
        partition.moved = true;
        if let Some(fact) = fact {
            partition.facts.push(fact);
            *facts += 1;
        }
        if *facts == self.room / 2 {
            self.crowded.notify_one();
        }
        self.tell(&state);
        Recorded::Taken
    }

    pub(super) fn has_room(&self) -> bool {
        let state = self.state.lock();
        state.facts + state.writing < self.room
    }

    /// Whether records can be taken in: there is room, and the database answers if it has to be told first where a
    /// partition begins.
    pub(super) async fn takes(&self) -> bool {
        let begun = (self.state.lock().partitions.values()).all(|partition| partition.begun);
        self.has_room() && (begun || self.store.database.answers().await)
    }

    /// Waits until there is room for facts.
    pub(super) async fn room(&self) {
        let mut waiting = self.waiting.subscribe();
        // The sender is this one's own, so it cannot be gone.
        let _ = waiting.wait_for(|waiting| *waiting < self.room).await;
    }

    fn tell(&self, state: &State) {
        let waiting = state.facts + state.writing;
        self.waiting.send_replace(waiting);
        self.metrics
            .waiting
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Stores what came, again and again. Dropped at any point, it has lost nothing.
    pub(super) async fn keep(&self) {
        let mut pause = RETRY.0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.crowded.notified() => {}
            }
            while let Err(error) = self.flush().await {
                tracing::warn!("the statistics cannot be stored, trying again: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
                self.store.database.ready().await;
            }
            pause = RETRY.0;
        }
    }

    /// Stores all that came until now.
    ///
    /// # Errors
    /// The database's: nothing is lost, and the same is tried next time.
    ///
    /// # Cancellation
    /// What was being written may have been, and is written again next time, which then is known.
    pub(super) async fn flush(&self) -> Result<(), sql::Error> {
        let mut unsettled = self.unsettled.lock().await;
        self.flush_into(&mut unsettled).await
    }

    async fn flush_into(&self, unsettled: &mut Vec<Batch>) -> Result<(), sql::Error> {
        if !unsettled.is_empty() {
            self.write(unsettled).await?;
        }
        *unsettled = self.take();
        if !unsettled.is_empty() {
            self.write(unsettled).await?;
        }
        Ok(())
    }

    async fn write(&self, batches: &mut Vec<Batch>) -> Result<(), sql::Error> {
        let written = self.store.write(batches).await?;
        self.settled(batches, &written);
        batches.clear();
        Ok(())
    }

    /// What is to be written now.
    fn take(&self) -> Vec<Batch> {
        let mut state = self.state.lock();
        let mut batches = Vec::new();
        for (place, partition) in &mut state.partitions {
            let Some(next) = partition.next.filter(|_| partition.moved) else {
                continue;
            };
            partition.moved = false;
            batches.push(Batch {
                place: place.clone(),
                kind: partition.kind,
                epoch: partition.epoch,
                topic_id: partition.topic_id,
                write: partition.writes,
                next,
                facts: std::mem::take(&mut partition.facts),
            });
            partition.writes += 1;
        }
        state.writing = std::mem::take(&mut state.facts);
        batches
    }

    fn settled(&self, batches: &[Batch], written: &Written) {
        self.metrics.counted.inc_by(written.counted);
        self.metrics.repeated.inc_by(written.repeated);
        let mut state = self.state.lock();
        state.writing = 0;
        for batch in batches {
            if written.fenced.contains(&batch.place) {
                self.fence(&mut state, &batch.place, batch.epoch);
            }
        }
        self.tell(&state);
    }

    /// Another instance has claimed a partition since.
    fn fence(&self, state: &mut State, place: &TopicPartition, epoch: i64) {
        let partition = state.partitions.get(place);
        // One that went, or was claimed again, is nobody's loss.
        if partition.is_some_and(|found| found.epoch == epoch) {
            tracing::warn!(
                partition = %place,
                "another instance has claimed the partition: what is not stored of it is dropped here, and counted there"
            );
            self.metrics.fenced.inc();
            state.remove(place);
            self.fenced.send_replace(true);
        }
    }

    /// Waits until another instance turns out to have claimed what this one took for its own.
    pub(super) async fn fenced(&self) {
        // The sender is this one's own, so it cannot be gone.
        let _ = self.fenced.subscribe().wait_for(|fenced| *fenced).await;
    }

    /// Begins anew: nothing is this instance's.
    pub(super) fn begin(&self) {
        self.fenced.send_replace(false);
        let mut state = self.state.lock();
        state.partitions.clear();
        state.doubted.clear();
        state.facts = 0;
        self.tell(&state);
    }

    fn remove(&self, partitions: &[TopicPartition]) {
        let mut state = self.state.lock();
        for place in partitions {
            state.remove(place);
        }
        self.tell(&state);
    }

    /// Takes a partition over. Where the figures are of a topic with another id, this is an error at first, because this
    /// instance may not have heard yet that the topic was created again. After the error the consumer asks for
    /// the id again, and the second answer is believed.
    ///
    /// # Errors
    /// The database's, or the id is to be looked up.
    pub(super) async fn claim(&self, new: &NewPartition) -> Result<StartAt, String> {
        let place = &new.partition;
        let Some(kind) = self.kind(&place.topic) else {
            return Err(format!("{} is no topic of book events", place.topic));
        };
        let wanted = Wanted {
            place: place.clone(),
            topic_id: new.topic_id,
            certain: new.topic_id == self.state.lock().doubted.get(place).copied(),
        };
        let answer = self
            .claims
            .write(wanted)
            .await
            .map_err(|error| format!("the database does not say it: {error}"))?;
        let claim = match answer {
            Answer::Claimed(claim) => claim,
            Answer::OfAnother => {
                let mut state = self.state.lock();
                let doubted = new.topic_id.map(|id| (place.clone(), id));
                state.doubted.extend(doubted);
                return Err(format!(
                    "the statistics have a topic {} with another id than this consumer; the id is looked up again",
                    place.topic
                ));
            }
        };
        let start = claim.next.map(|next| match new.committed {
            // Something behind the commit was rejected, and may not have reached the dead letters.
            Some(committed) if committed < next.offset => Position::at(committed),
            _ => next,
        });
        let partition = Partition {
            kind,
            epoch: claim.epoch,
            topic_id: claim.topic_id,
            writes: 0,
            counted: claim.next.unwrap_or(Position::at(0)),
            next: start,
            begun: start.is_some(),
            moved: false,
            facts: Vec::new(),
        };
        let mut state = self.state.lock();
        state.remove(place);
        state.doubted.remove(place);
        state.partitions.insert(place.clone(), partition);
        Ok(match start {
            Some(start) => StartAt::Offset {
                offset: start.offset,
                leader_epoch: (start.leader_epoch >= 0).then_some(start.leader_epoch),
            },
            None if claim.recreated => {
                tracing::warn!(
                    partition = %place,
                    "the topic was deleted and created again since its events were counted: they stay in the \
                     statistics, and the new ones are counted from the first on"
                );
                StartAt::First
            }
            None => StartAt::Commit,
        })
    }
}

impl State {
    fn remove(&mut self, place: &TopicPartition) {
        if let Some(partition) = self.partitions.remove(place) {
            self.facts -= partition.facts.len();
        }
    }
}

/// What a consumer's group tells the keeper.
#[derive(Debug, Clone)]
pub(crate) struct Partitions(pub(crate) std::sync::Arc<Keeper>);

impl PartitionListener for Partitions {
    async fn assigned(&self, new: &NewPartition) -> Result<StartAt, String> {
        self.0.claim(new).await
    }

    async fn revoked(&self, partitions: &[TopicPartition]) {
        // Also when nobody waits any longer.
        let _gone = Gone {
            keeper: &self.0,
            partitions,
        };
        let storing = async {
            let mut pause = RETRY.0;
            while let Err(error) = self.0.flush().await {
                tracing::warn!("partitions go, and their statistics cannot be stored yet: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        };
        if tokio::time::timeout(HANDOVER, storing).await.is_err() {
            tracing::warn!(
                "the statistics of partitions that go are not stored: their next owner reads the records again"
            );
        }
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        self.0.remove(partitions);
    }
}

struct Gone<'a> {
    keeper: &'a Keeper,
    partitions: &'a [TopicPartition],
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.keeper.remove(self.partitions);
    }
}
