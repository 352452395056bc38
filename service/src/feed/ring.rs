use std::collections::VecDeque;

use kafka::ConsumerRecord;

use super::position::Position;

/// The most recent records, bounded in number and bytes, and from where on they are complete.
pub(super) struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    /// First offset of each partition that is still held, or would be.
    floor: Position,
}

pub(super) struct Entry {
    pub(super) topic: usize,
    pub(super) record: ConsumerRecord,
}

impl Ring {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
            floor: Position::default(),
        }
    }

    /// The partition's records are complete from `next` on.
    pub(super) fn begin(&mut self, topic: usize, partition: i32, next: i64) {
        self.entries
            .retain(|e| (e.topic, e.record.partition) != (topic, partition));
        self.bytes = self.entries.iter().map(|e| e.record.size()).sum();
        self.floor.set(topic, partition, next);
    }

    /// Nothing of the topic is held any more.
    pub(super) fn forget(&mut self, topic: usize) {
        self.entries.retain(|entry| entry.topic != topic);
        self.bytes = self.entries.iter().map(|e| e.record.size()).sum();
        self.floor.retain(|of, _| of != topic);
    }

    pub(super) fn push(&mut self, topic: usize, mut record: ConsumerRecord) {
        // A slice would keep the whole answer in memory that it came in.
        record.detach();
        if self.floor.get(topic, record.partition).is_none() {
            // A partition that has just appeared.
            self.floor.set(topic, record.partition, record.offset);
        }
        self.bytes += record.size();
        self.entries.push_back(Entry { topic, record });
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(old) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= old.record.size();
            self.floor
                .advance(old.topic, old.record.partition, old.record.offset + 1);
        }
    }

    pub(super) fn floor(&self) -> &Position {
        &self.floor
    }

    /// Whether everything from `next` on is here.
    pub(super) fn covers(&self, topic: usize, partition: i32, next: i64) -> bool {
        self.floor
            .get(topic, partition)
            .is_some_and(|floor| floor <= next)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
