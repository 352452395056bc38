//! A position that the log does not hold, or holds other records before: the reset policy decides, and never in
//! silence.

use super::super::error::ConsumerError;
use super::super::fetcher::Divergence;
use super::super::positions::End;
use super::super::tracker::OffsetTracker;
use super::core::Core;
use crate::topic_id::TopicId;

impl Core {
    /// Same partition, other records under the same offsets: results of the old ones are dropped.
    pub(super) fn begin_anew(&mut self, at: usize, offset: i64) {
        self.lanes.drop_slot(at);
        self.lives += 1;
        let (life, max_ahead) = (self.lives, self.settings.max_ahead);
        if let Some(slot) = &mut self.slots[at] {
            slot.life = life;
            slot.in_flight = 0;
            slot.dead_letters = 0;
            slot.stalled = false;
            slot.tracker = Some(OffsetTracker::new(offset, None, max_ahead));
        }
    }

    /// The log does not hold the position, and is still that of the same topic (the fetcher has asked): by the reset
    /// policy, and never in silence.
    pub(super) fn out_of_range(&mut self, at: usize, position: i64) {
        self.stop_fetching(at);
        let end = self.reset_end();
        let (group, reset) = (self.settings.group.group.clone(), self.settings.reset);
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let name = slot.name.clone();
        tracing::warn!(
            %group, topic = %name.topic, partition = name.partition, offset = position, policy = ?reset,
            "offset out of range: deleted by retention, or the log was truncated; the reset policy decides"
        );
        slot.fetch_problem = Some(format!("offset {position} is out of range"));
        let life = slot.life;
        match end {
            Some(end) => self.locate(vec![(at, life, end)], 0),
            None => self.fail(ConsumerError::OutOfRange {
                group,
                partition: name,
                offset: position,
            }),
        }
    }

    /// The topic was deleted and created again: its offsets mean other records. What was read of the old one is dropped.
    /// With a reset policy the new one is read from its first record: it is younger than this consumer, and `latest`
    /// would pass over what was written before the change was noticed. Without a policy that is an error, because
    /// records of the old topic may be unread.
    pub(super) fn recreated(&mut self, at: usize, position: i64, topic_id: Option<TopicId>) {
        let group = self.settings.group.group.clone();
        let policy = self.settings.reset;
        self.stop_fetching(at);
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let name = slot.name.clone();
        tracing::warn!(
            %group, topic = %name.topic, partition = name.partition, offset = position, ?policy,
            was = ?slot.topic_id, is = ?topic_id,
            "the topic was deleted and created again: its offsets are other records; with a reset policy it is read from its first one"
        );
        slot.topic_id = topic_id;
        slot.committed = None;
        self.begin_anew(at, 0);
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        // Nothing may be committed before it is known where the new one starts.
        slot.tracker = None;
        let life = slot.life;
        match self.reset_end() {
            Some(_) => self.locate(vec![(at, life, End::Earliest)], 0),
            None => self.fail(ConsumerError::OutOfRange {
                group,
                partition: name,
                offset: position,
            }),
        }
    }

    /// The log was cut back and written anew. With a reset policy reading goes on at the first offset that is known
    /// to differ, or before, where handlers have not ended (as the Java client, KIP-320); without one that is an
    /// error.
    pub(super) fn diverged(&mut self, at: usize, divergence: Divergence) {
        self.stop_fetching(at);
        let group = self.settings.group.group.clone();
        let policy = self.reset_end();
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let Some(tracker) = &slot.tracker else { return };
        let (position, open) = (tracker.position(), tracker.committable_offset());
        if position < divergence.position {
            // What was fetched ahead is dropped; whether what was handed out is still there is asked next.
            self.start_fetching(at);
            return;
        }
        let (leader_epoch, leader_end) = (divergence.leader_epoch, divergence.leader_end);
        let diverged = slot.lineage.diverged(position, leader_epoch, leader_end);
        let name = slot.name.clone();
        tracing::warn!(
            %group, topic = %name.topic, partition = name.partition, offset = position,
            epoch = divergence.epoch, leader_epoch, diverged, policy = ?self.settings.reset,
            "the log was truncated: what was read up to this offset is not what it holds; the reset policy decides"
        );
        if policy.is_none() {
            self.fail(ConsumerError::Truncated {
                group,
                partition: name,
                offset: position,
                epoch: divergence.epoch,
                diverged,
            });
            return;
        }
        self.begin_anew(at, diverged.min(open));
        self.commit.soon = true;
        self.start_fetching(at);
    }
}
