use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kafka::{ConsumerRecord, TopicId, TopicPartition};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::position::Position;
use super::ring::Ring;
use super::{FeedConfig, FeedEvent, FeedSource};
use crate::http::{EventFrame, EventSender};

/// Owner of what is known of the topics: how far they were read, the recent records, who listens.
pub(super) struct Hub {
    topics: Vec<Arc<str>>,
    source: Box<dyn FeedSource>,
    state: Mutex<State>,
    /// Told after every batch.
    moved: Notify,
}

struct State {
    /// Empty until the reader knows where it begins.
    position: Position,
    begun: bool,
    ring: Ring,
    everyone: Vec<Client>,
    keyed: HashMap<String, Vec<Client>>,
    dropped: u64,
}

struct Client {
    sender: EventSender,
    /// Records that reached the client by another way, and may have done so before this hub.
    seen: HashSet<(usize, i32, i64)>,
}

/// What an attempt to attach a client came to.
pub(super) enum Attach {
    Attached,
    /// These first; then try again.
    Behind(Vec<EventFrame>, EventSender),
    /// The ring does not reach back to the client, or the client is further than this hub, or the
    /// hub has not begun: read from Kafka at the client's position.
    Apart(EventSender),
}

impl Hub {
    pub(super) fn new(topics: &[&str], source: Box<dyn FeedSource>, config: FeedConfig) -> Self {
        Self {
            topics: topics.iter().map(|t| Arc::from(*t)).collect(),
            source,
            state: Mutex::new(State {
                position: Position::default(),
                begun: false,
                ring: Ring::new(config.ring_records, config.ring_bytes),
                everyone: Vec::new(),
                keyed: HashMap::new(),
                dropped: 0,
            }),
            moved: Notify::new(),
        }
    }

    pub(super) fn topics(&self) -> &[Arc<str>] {
        &self.topics
    }

    pub(super) fn topic_index(&self, topic: &str) -> Option<usize> {
        self.topics.iter().position(|t| &**t == topic)
    }

    pub(super) fn event(&self, record: &ConsumerRecord) -> Option<FeedEvent> {
        self.source.event(record)
    }

    /// Resolves at the next [`Hub::begin`] or [`Hub::publish`] after this call.
    pub(super) fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    pub(super) fn clients(&self) -> (usize, u64) {
        let state = self.state.lock();
        let keyed: usize = state.keyed.values().map(Vec::len).sum();
        (state.everyone.len() + keyed, state.dropped)
    }

    /// Reading of these partitions begins (or begins anew) at these offsets.
    pub(super) fn begin(&self, starts: impl IntoIterator<Item = (TopicPartition, i64)>) {
        let mut state = self.state.lock();
        for (partition, next) in starts {
            if let Some(topic) = self.topic_index(&partition.topic) {
                state.position.set(topic, partition.partition, next);
                state.ring.begin(topic, partition.partition, next);
            }
        }
        state.begun = true;
        drop(state);
        self.moved.notify_waiters();
    }

    /// The topic that is read has this id. Where it had another, what is known of its partitions goes:
    /// they begin anew.
    pub(super) fn identify(&self, topic: &str, id: TopicId) {
        let Some(topic) = self.topic_index(topic) else {
            return;
        };
        let mut state = self.state.lock();
        if state.position.identify(topic, id) {
            state.ring.forget(topic);
        }
    }

    /// Whether a record that a client has seen may be one that is read here: its topic's id says so, as
    /// far as it is known.
    pub(super) fn is_of_ours(&self, topic: usize, id: Option<TopicId>) -> bool {
        let state = self.state.lock();
        id.is_none_or(|id| !state.position.is_of_another(topic, id))
    }

    /// The topics of which `position` is known to be of another one, which had the same name.
    pub(super) fn recreated(&self, position: &Position) -> Vec<usize> {
        position.differing(&self.state.lock().position).collect()
    }

    /// The reader has got this far, perhaps past offsets without records.
    pub(super) fn pass(&self, positions: impl IntoIterator<Item = (TopicPartition, i64)>) {
        let mut state = self.state.lock();
        for (partition, next) in positions {
            if let Some(topic) = self.topic_index(&partition.topic) {
                state.position.advance(topic, partition.partition, next);
            }
        }
        drop(state);
        self.moved.notify_waiters();
    }

    /// A frame for every client; those too slow for it are dropped.
    pub(super) fn tell_everyone(&self, frame: impl FnOnce(&Position) -> EventFrame) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let frame = frame(&state.position);
        state.dropped += deliver(&mut state.everyone, &frame, None);
        for clients in state.keyed.values_mut() {
            state.dropped += deliver(clients, &frame, None);
        }
        state.keyed.retain(|_, clients| !clients.is_empty());
    }

    /// New records, in their partitions' order.
    pub(super) fn publish(&self, records: Vec<ConsumerRecord>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        for record in records {
            let Some(topic) = self.topic_index(&record.topic) else {
                continue;
            };
            state
                .position
                .advance(topic, record.partition, record.offset + 1);
            if !state.everyone.is_empty() || !state.keyed.is_empty() {
                self.send(state, topic, &record);
            }
            state.ring.push(topic, record);
        }
        drop(guard);
        self.moved.notify_waiters();
    }

    fn send(&self, state: &mut State, topic: usize, record: &ConsumerRecord) {
        let Some(event) = self.source.event(record) else {
            return;
        };
        let keyed = event.key.as_ref().and_then(|key| state.keyed.get_mut(key));
        if state.everyone.is_empty() && keyed.is_none() {
            return;
        }
        let frame = frame(&event, &state.position);
        let place = Some((topic, record.partition, record.offset));
        state.dropped += deliver(&mut state.everyone, &frame, place);
        if let Some(clients) = keyed {
            state.dropped += deliver(clients, &frame, place);
            if clients.is_empty() {
                state.keyed.retain(|_, clients| !clients.is_empty());
            }
        }
    }

    /// Forgets clients that went away while nothing was sent to them.
    pub(super) fn sweep(&self) {
        let mut state = self.state.lock();
        state.everyone.retain(|client| !client.sender.is_closed());
        state.keyed.retain(|_, clients| {
            clients.retain(|client| !client.sender.is_closed());
            !clients.is_empty()
        });
    }

    /// Where the hub is now; `None` before it has begun.
    pub(super) fn position(&self) -> Option<Position> {
        let state = self.state.lock();
        state.begun.then(|| state.position.clone())
    }

    /// Where the ring begins; `None` before the hub has begun.
    pub(super) fn floor(&self) -> Option<Position> {
        let state = self.state.lock();
        state.begun.then(|| state.ring.floor().clone())
    }

    /// Attaches a client that has seen everything before `position`, if that is where the hub is;
    /// otherwise says what is between them and moves `position` past it. `seen` records are
    /// passed over.
    pub(super) fn attach(
        &self,
        sender: EventSender,
        key: Option<&str>,
        position: &mut Position,
        seen: &HashSet<(usize, i32, i64)>,
    ) -> Attach {
        let mut state = self.state.lock();
        if !state.takes_over(position) {
            return Attach::Apart(sender);
        }
        position.learn_ids(&state.position);
        if state.position != *position {
            let mut frames = Vec::new();
            for entry in state.ring.iter() {
                let (partition, offset) = (entry.record.partition, entry.record.offset);
                if position
                    .get(entry.topic, partition)
                    .is_some_and(|next| offset < next)
                {
                    continue;
                }
                position.set(entry.topic, partition, offset + 1);
                if seen.contains(&(entry.topic, partition, offset)) {
                    continue;
                }
                if let Some(event) = self.source.event(&entry.record).filter(|e| wanted(e, key)) {
                    frames.push(frame(&event, position));
                }
            }
            *position = state.position.clone();
            return Attach::Behind(frames, sender);
        }
        // Said at once, for a client that leaves before its first event.
        if sender.try_send(EventFrame::position(&position.to_string())) {
            let client = Client {
                sender,
                seen: seen.clone(),
            };
            match key {
                None => state.everyone.push(client),
                Some(key) => state.keyed.entry(key.to_owned()).or_default().push(client),
            }
        } else {
            state.dropped += 1;
        }
        Attach::Attached
    }

    /// Whether all partitions of `position` have been heard of here.
    pub(super) fn knows(&self, position: &Position) -> bool {
        self.state.lock().knows(position)
    }

    /// Takes out of `position` what [`Hub::knows`] not.
    pub(super) fn forget_unknown(&self, position: &mut Position) {
        let state = self.state.lock();
        position.retain(|topic, partition| state.position.get(topic, partition).is_some());
    }

    /// Whether a client that has seen everything before `position` needs nothing that is not here.
    pub(super) fn takes_over(&self, position: &Position) -> bool {
        self.state.lock().takes_over(position)
    }
}

impl State {
    fn takes_over(&self, position: &Position) -> bool {
        let here = |(topic, partition, hub): (usize, i32, i64)| {
            position.get(topic, partition).is_some_and(|own| {
                own == hub || (own < hub && self.ring.covers(topic, partition, own))
            })
        };
        // A partition that only the client knows is one that the reader has yet to find.
        let same = || position.differing(&self.position).next().is_none();
        self.begun && same() && self.position.iter().all(here) && self.knows(position)
    }

    fn knows(&self, position: &Position) -> bool {
        position
            .iter()
            .all(|(topic, partition, _)| self.position.get(topic, partition).is_some())
    }
}

/// Sends to all who have not seen it; gives the number of those dropped because they were too slow
/// (or gone).
fn deliver(clients: &mut Vec<Client>, frame: &EventFrame, place: Option<(usize, i32, i64)>) -> u64 {
    let before = clients.len();
    clients.retain_mut(|client| {
        let seen = place.is_some_and(|place| client.seen.remove(&place));
        seen || client.sender.try_send(frame.clone())
    });
    (before - clients.len()) as u64
}

pub(super) fn wanted(event: &FeedEvent, key: Option<&str>) -> bool {
    key.is_none_or(|key| event.key.as_deref() == Some(key))
}

pub(super) fn frame(event: &FeedEvent, position: &Position) -> EventFrame {
    EventFrame::new(Some(&position.to_string()), Some(event.name), &event.data)
}

#[cfg(test)]
mod tests;
