//! The committed offsets of one group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Place;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Commit {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// -1 when the client did not say.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) time: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: String,
    time: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Offsets(BTreeMap<Place, Committed>);

impl Offsets {
    pub(crate) fn set(&mut self, commit: Commit) {
        let committed = Committed {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata,
            time: commit.time,
        };
        self.0.insert((commit.topic, commit.partition), committed);
    }

    pub(crate) fn get(&self, place: &Place) -> Option<&Committed> {
        self.0.get(place)
    }

    pub(crate) fn remove(&mut self, place: &Place) {
        self.0.remove(place);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By topic, then partition.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.keys()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Commit> {
        self.0.iter().map(|((topic, partition), committed)| Commit {
            topic: topic.clone(),
            partition: *partition,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.clone(),
            time: committed.time,
        })
    }

    /// Commits past their time: counted, as since KIP-211, from when the group became empty or
    /// from the commit, whichever is later. All times in milliseconds.
    pub(crate) fn expired(
        &self,
        now: i64,
        keep: i64,
        empty_since: i64,
    ) -> impl Iterator<Item = &Place> {
        self.0
            .iter()
            .filter(move |(_, committed)| {
                now.saturating_sub(committed.time.max(empty_since)) > keep
            })
            .map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_expire_after_the_group_is_empty_and_they_are_old() {
        let mut offsets = Offsets::default();
        for (partition, time) in [(0, 100), (1, 500)] {
            offsets.set(Commit {
                topic: "t".into(),
                partition,
                offset: 1,
                leader_epoch: -1,
                metadata: String::new(),
                time,
            });
        }
        let expired = |now, empty_since| -> Vec<i32> {
            offsets
                .expired(now, 1000, empty_since)
                .map(|(_, partition)| *partition)
                .collect()
        };
        assert_eq!(expired(1200, 0), [0]);
        assert_eq!(expired(1200, 300), [0; 0]);
        assert_eq!(expired(1600, 300), [0, 1]);
    }
}
