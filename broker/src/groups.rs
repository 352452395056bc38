//! The group coordinator: every consumer group's members and committed offsets.
//!
//! [`group::Group`] is the membership of one group, a state machine without I/O or clock;
//! [`offsets::Offsets`] its commits. This file drives them: it answers requests that wait and
//! writes down what must survive. Requests and time come through [`Coordinator`].

mod coordinator;
pub(crate) mod group;
pub(crate) mod member;
pub(crate) mod offsets;
mod store;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use tokio::sync::oneshot;

use crate::config::{Config, Fsync, GroupConfig};
use crate::disk::Disk;
use crate::journal::Journal;
pub(crate) use coordinator::Coordinator;
use group::{Group, Join, Joined, Leave, Output, Phase, Sync, Synced, Token};
use offsets::{Commit, Offsets};
use store::GroupRecord;

/// A group without members and commits is kept this long, in milliseconds; Kafka's
/// `offsets.retention.check.interval.ms`.
const EMPTY_GROUP_AGE_MS: i64 = 10 * 60 * 1000;

/// A topic's name and a partition's index.
pub(crate) type Place = (String, i32);

#[derive(Default)]
struct Entry {
    group: Group,
    offsets: Offsets,
}

enum Waiting {
    Join(oneshot::Sender<Joined>),
    Sync(oneshot::Sender<Result<Synced, ResponseError>>),
}

pub(crate) struct Groups {
    config: GroupConfig,
    fsync: Fsync,
    entries: BTreeMap<String, Entry>,
    journal: Journal<GroupRecord>,
    waiting: HashMap<Token, Waiting>,
    next_token: Token,
    /// What the timer waits for.
    timer_set: Option<Instant>,
}

impl Groups {
    fn open(config: &Config, disk: Arc<Disk>) -> io::Result<Self> {
        let path = config.data_dir.join("groups.journal");
        let (mut journal, records) = Journal::open(&path, disk)?;
        let now = Instant::now();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for record in records {
            match record {
                GroupRecord::Commit { group, commits } => {
                    let entry = entries.entry(group).or_default();
                    for commit in commits {
                        entry.offsets.set(commit);
                    }
                }
                GroupRecord::Group { group, stored } => {
                    entries.entry(group).or_default().group = Group::restore(stored, now);
                }
                GroupRecord::OffsetsDeleted { group, places } => {
                    let entry = entries.entry(group).or_default();
                    for place in places {
                        entry.offsets.remove(&place);
                    }
                }
                GroupRecord::GroupDeleted { group } => {
                    entries.remove(&group);
                }
            }
        }
        if journal.overgrown() {
            journal.rewrite(&snapshot(&entries))?;
        }
        Ok(Self {
            config: config.group.clone(),
            fsync: config.fsync,
            entries,
            journal,
            waiting: HashMap::new(),
            next_token: 0,
            timer_set: None,
        })
    }

    fn join(&mut self, id: &str, join: Join, reply: oneshot::Sender<Joined>) {
        let token = self.wait(Waiting::Join(reply));
        let mut out = Vec::new();
        let session = join.session_timeout;
        let allowed = self.config.min_session_timeout..=self.config.max_session_timeout;
        let refused = if !allowed.contains(&session) {
            Some(ResponseError::InvalidSessionTimeout)
        } else if !join.member_id.is_empty() && !self.entries.contains_key(id) {
            // Not even a new group: the member believes in one that is gone.
            Some(ResponseError::UnknownMemberId)
        } else {
            None
        };
        match refused {
            Some(error) => out.push(Output::Joined(token, Joined::failed(error, join.member_id))),
            None => {
                let entry = self.entries.entry(id.to_owned()).or_default();
                let delay = self.config.initial_rebalance_delay;
                entry
                    .group
                    .join(join, token, delay, Instant::now(), &mut out);
            }
        }
        self.carry_out(id, out);
    }

    fn sync(
        &mut self,
        id: &str,
        sync: Sync,
        reply: oneshot::Sender<Result<Synced, ResponseError>>,
    ) {
        let token = self.wait(Waiting::Sync(reply));
        let mut out = Vec::new();
        match self.entries.get_mut(id) {
            Some(entry) => entry.group.sync(sync, token, Instant::now(), &mut out),
            None => out.push(Output::Synced(token, Err(ResponseError::UnknownMemberId))),
        }
        self.carry_out(id, out);
    }

    fn leave(&mut self, id: &str, leave: &Leave) -> Result<(), ResponseError> {
        let mut out = Vec::new();
        let left = self
            .member_group(id)?
            .leave(leave, Instant::now(), &mut out);
        self.carry_out(id, out);
        left
    }

    fn member_group(&mut self, id: &str) -> Result<&mut Group, ResponseError> {
        self.entries
            .get_mut(id)
            .map(|entry| &mut entry.group)
            .ok_or(ResponseError::UnknownMemberId)
    }

    /// Checks whether a member (or a client without a group) may commit now; Java's
    /// `ClassicGroup.validateOffsetCommit`.
    pub(crate) fn may_commit(
        &mut self,
        id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        match self.entries.get_mut(id) {
            Some(entry) => {
                entry
                    .group
                    .may_commit(member_id, instance_id, generation, Instant::now())
            }
            None if generation < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    /// Stores commits; when this fails none of them counts.
    pub(crate) fn commit(&mut self, id: &str, commits: Vec<Commit>) -> io::Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let record = GroupRecord::Commit {
            group: id.to_owned(),
            commits,
        };
        self.store(std::slice::from_ref(&record))?;
        if let GroupRecord::Commit { commits, .. } = record {
            let entry = self.entries.entry(id.to_owned()).or_default();
            for commit in commits {
                entry.offsets.set(commit);
            }
        }
        Ok(())
    }

    pub(crate) fn offsets(&self, id: &str) -> Option<&Offsets> {
        self.entries.get(id).map(|entry| &entry.offsets)
    }

    pub(crate) fn group(&self, id: &str) -> Option<&Group> {
        self.entries.get(id).map(|entry| &entry.group)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.entries
            .iter()
            .map(|(id, entry)| (id.as_str(), &entry.group))
    }

    /// Deletes a group without members, commits included.
    pub(crate) fn delete(&mut self, id: &str) -> Result<(), ResponseError> {
        let entry = self.entries.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        if entry.group.phase() != Phase::Empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        let record = GroupRecord::GroupDeleted {
            group: id.to_owned(),
        };
        self.store(&[record]).map_err(|error| {
            tracing::error!(group = id, %error, "cannot delete the group");
            ResponseError::KafkaStorageError
        })?;
        self.entries.remove(id);
        Ok(())
    }

    /// Forgets commits.
    pub(crate) fn delete_offsets(&mut self, id: &str, places: Vec<Place>) -> io::Result<()> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Ok(());
        };
        let places: Vec<Place> = places
            .into_iter()
            .filter(|place| entry.offsets.get(place).is_some())
            .collect();
        if places.is_empty() {
            return Ok(());
        }
        self.store(&[GroupRecord::OffsetsDeleted {
            group: id.to_owned(),
            places: places.clone(),
        }])?;
        if let Some(entry) = self.entries.get_mut(id) {
            for place in &places {
                entry.offsets.remove(place);
            }
        }
        Ok(())
    }

    /// Forgets every group's commits of a deleted topic.
    pub(crate) fn topic_deleted(&mut self, topic: &str) {
        let ids: Vec<String> = self.entries.keys().cloned().collect();
        for id in ids {
            let places = self.entries[&id]
                .offsets
                .places()
                .filter(|(name, _)| name == topic)
                .cloned()
                .collect();
            if let Err(error) = self.delete_offsets(&id, places) {
                tracing::error!(group = id, topic, %error, "cannot forget the commits of a deleted topic");
            }
        }
    }

    /// Forgets commits past their retention, and groups of which nothing is left.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        let keep = i64::try_from(self.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        let mut expired = Vec::new();
        for (id, entry) in &mut self.entries {
            let Some(empty_since) = entry.group.empty_since(now_ms) else {
                continue;
            };
            let places: Vec<Place> = entry
                .offsets
                .expired(now_ms, keep, empty_since)
                .cloned()
                .collect();
            let forgotten = now_ms.saturating_sub(empty_since) > EMPTY_GROUP_AGE_MS.min(keep);
            if !places.is_empty() || (entry.offsets.is_empty() && forgotten) {
                expired.push((id.clone(), places));
            }
        }
        for (id, places) in expired {
            if let Err(error) = self.delete_offsets(&id, places) {
                tracing::error!(group = id, %error, "cannot expire commits");
                continue;
            }
            if self.entries[&id].offsets.is_empty() && self.delete(&id).is_ok() {
                tracing::info!(group = id, "deleted a group without members and commits");
            }
        }
    }

    /// Forces commits to the device.
    pub(crate) fn force(&self) -> io::Result<()> {
        self.journal.sync()
    }

    fn wait(&mut self, waiting: Waiting) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.waiting.insert(token, waiting);
        token
    }

    fn tick(&mut self, now: Instant) {
        let due: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.group.next_deadline().is_some_and(|due| due <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let mut out = Vec::new();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.group.tick(now, &mut out);
            }
            self.carry_out(&id, out);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.entries
            .values()
            .filter_map(|entry| entry.group.next_deadline())
            .min()
    }

    fn carry_out(&mut self, id: &str, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Joined(token, joined) => {
                    if let Some(Waiting::Join(reply)) = self.waiting.remove(&token) {
                        // The client may be gone; it finds out by itself.
                        let _ = reply.send(joined);
                    }
                }
                Output::Synced(token, synced) => {
                    if let Some(Waiting::Sync(reply)) = self.waiting.remove(&token) {
                        let _ = reply.send(synced);
                    }
                }
                Output::Changed => {
                    let Some(entry) = self.entries.get(id) else {
                        continue;
                    };
                    let record = GroupRecord::Group {
                        group: id.to_owned(),
                        stored: entry.group.stored(),
                    };
                    // Not fatal: after a restart the members would have to join again.
                    if let Err(error) = self.store(&[record]) {
                        tracing::error!(group = id, %error, "cannot store the group's members");
                    }
                }
            }
        }
    }

    fn store(&mut self, records: &[GroupRecord]) -> io::Result<()> {
        if self.fsync == Fsync::Always {
            self.journal.append_durably(records)?;
        } else {
            self.journal.append(records)?;
        }
        if self.journal.overgrown() {
            // What was appended is safe either way; a failed rewrite is tried again later.
            let mut fresh = snapshot(&self.entries);
            // The entries do not hold these yet.
            fresh.extend_from_slice(records);
            if let Err(error) = self.journal.rewrite(&fresh) {
                tracing::warn!(%error, "cannot shorten the journal of groups");
            }
        }
        Ok(())
    }
}

fn snapshot(entries: &BTreeMap<String, Entry>) -> Vec<GroupRecord> {
    let mut records = Vec::new();
    for (id, entry) in entries {
        records.push(GroupRecord::Group {
            group: id.clone(),
            stored: entry.group.stored(),
        });
        records.push(GroupRecord::Commit {
            group: id.clone(),
            commits: entry.offsets.all().collect(),
        });
    }
    records
}
