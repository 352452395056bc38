//! A batch that cannot be read: its partition stays before it, tries again, and looks whether an operator
//! says that it is to be passed over. Nothing is stepped over without that.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::super::builder::Rejected;
use super::super::dead_letter::DeadLetters;
use super::super::skip::{Search, Skip};
use super::super::stats::HeldBatch;
use super::core::{Core, Done};
use crate::admin::Admin;

/// A held partition is told again after this time.
const TELL: Duration = Duration::from_secs(30);
/// Time between two looks for a skip.
const LOOK: Duration = Duration::from_secs(1);
/// How long one question of such a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

impl Core {
    /// A batch cannot be read: `range` is its first offset, and its last if that is known.
    pub(super) fn hold(&mut self, at: usize, range: Option<(i64, Option<i64>)>, problem: String) {
        self.stop_fetching(at);
        let now = self.now;
        // A group that discards what it cannot handle is told by the same topic.
        let letters = match &self.settings.rejected {
            Rejected::DeadLetters(letters) => letters.suffix.as_str(),
            Rejected::Discarded => DeadLetters::SUFFIX,
        };
        let Some(slot) = &mut self.slots[at] else {
            return;
        };
        let Some(tracker) = &slot.tracker else { return };
        let position = tracker.position();
        let held = HeldBatch {
            first: range.map_or(position, |(first, _)| first.max(position)),
            last: range.and_then(|(_, last)| last),
            reason: problem.clone(),
        };
        let letters = format!("{}{letters}", slot.name.topic);
        let wait = slot.holds.next_delay();
        if slot.hold_told.is_none_or(|told| now - told >= TELL) {
            slot.hold_told = Some(now);
            tracing::error!(
                group = %self.settings.group.group, topic = %slot.name.topic, partition = slot.name.partition,
                offset = held.first, last_offset = held.last, times = slot.holds.failures(),
                "the partition is held: {problem}; it goes on once the batch can be read, or once a skip in \
                 {letters} says that it is to be passed over"
            );
        }
        let from = slot
            .looked
            .filter(|(offset, _)| *offset == held.first)
            .map(|(_, from)| from);
        let search = Search {
            admin: Admin::of(self.cluster.clone(), LOOK_TIMEOUT),
            letters,
            topic: slot.name.topic.clone(),
            partition: slot.name.partition,
            group: self.settings.group.group.clone(),
            offset: held.first,
            last: held.last,
        };
        let offset = held.first;
        slot.hold_problem = Some(problem);
        slot.held = Some(held);
        let life = slot.life;
        self.operations.push(
            async move {
                let until = Instant::now() + wait;
                let mut read_to = from;
                let mut told = false;
                loop {
                    match search.look(&mut read_to).await {
                        Ok(Some(skip)) => {
                            return Done::Skip {
                                slot: at,
                                life,
                                skip,
                            };
                        }
                        Ok(None) => {}
                        // Told once before the batch is tried again.
                        Err(error) if !told => {
                            told = true;
                            tracing::warn!(
                                group = %search.group, topic = %search.letters,
                                "cannot look for a skip: {error}"
                            );
                        }
                        Err(_) => {}
                    }
                    let now = Instant::now();
                    if now >= until {
                        return Done::Resume {
                            slot: at,
                            life,
                            looked: read_to.map(|read_to| (offset, read_to)),
                        };
                    }
                    tokio::time::sleep_until(until.min(now + LOOK)).await;
                }
            }
            .boxed(),
        );
    }

    /// An operator says that what holds the partition is to be passed over: its offsets count as done.
    pub(super) fn on_skip(&mut self, at: usize, life: u64, skip: &Skip) {
        let group = self.settings.group.group.clone();
        let Some(slot) = self.slot(at, life) else {
            return;
        };
        let Some(tracker) = &mut slot.tracker else {
            return;
        };
        tracing::warn!(
            %group, topic = %slot.name.topic, partition = slot.name.partition,
            first_offset = tracker.position(), last_offset = skip.last, skip = %skip.place,
            "passed over on an operator's word: {}", skip.reason
        );
        tracker.advance_to(skip.last + 1);
        slot.release();
        self.commit.soon = true;
        self.start_fetching(at);
    }
}
