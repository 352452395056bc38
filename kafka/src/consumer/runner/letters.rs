//! Records on their way to the dead letters: finished with when that is acknowledged, and not before.

use std::time::{Duration, SystemTime};

use futures::FutureExt;

use super::super::builder::Rejected;
use super::super::dead_letter::{self, DeadLetterError};
use super::core::{Core, Done, Letter};
use super::task::Task;
use crate::backoff::Backoff;

/// First and longest wait before a dead letter is sent again.
const LETTER_RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

impl Core {
    /// Sends a record to the dead letters; its offset counts when that is acknowledged.
    pub(super) fn bury(&mut self, mut task: Task, reason: String, attempts: u32) {
        let is_told = self.tells_of_rejected();
        match &self.settings.rejected {
            Rejected::Discarded => {
                if is_told {
                    tracing::error!(
                        group = %self.settings.group.group, topic = %task.record.topic,
                        partition = task.record.partition, offset = task.record.offset, attempts,
                        "record passed over, no dead letters are configured: {reason}"
                    );
                }
                self.finish(task.slot, task.life, task.record.offset, task.lane);
            }
            Rejected::DeadLetters(_) => {
                if is_told {
                    tracing::warn!(
                        group = %self.settings.group.group, topic = %task.record.topic,
                        partition = task.record.partition, offset = task.record.offset, attempts,
                        "record goes to the dead letters: {reason}"
                    );
                }
                task.record.detach();
                self.lanes.keep(task.lane);
                if let Some(slot) = self.slot(task.slot, task.life) {
                    slot.in_flight += 1;
                    slot.dead_letters += 1;
                }
                self.post(Box::new(Letter {
                    task,
                    reason,
                    attempts,
                    failures: 0,
                }));
            }
        }
    }

    /// Whether this rejected record gets a line of its own.
    fn tells_of_rejected(&mut self) -> bool {
        self.tell_how_many_rejected();
        self.quiet.admits(self.now)
    }

    /// Says how many rejected records got none, once their time is over.
    pub(super) fn tell_how_many_rejected(&mut self) {
        if let Some(further) = self.quiet.ended(self.now) {
            tracing::warn!(
                group = %self.settings.group.group, further,
                "{further} further records were rejected within ten seconds, without a line for each"
            );
        }
    }

    fn post(&mut self, letter: Box<Letter>) {
        let Rejected::DeadLetters(letters) = self.settings.rejected.clone() else {
            return;
        };
        let (cluster, group) = (self.cluster.clone(), self.settings.group.group.clone());
        let wait = match letter.failures {
            0 => None,
            failures => Some(LETTER_RETRY.delay(failures, self.jitter.next())),
        };
        self.operations.push(
            async move {
                if let Some(wait) = wait {
                    tokio::time::sleep(wait).await;
                }
                let Letter {
                    task,
                    reason,
                    attempts,
                    ..
                } = &*letter;
                let sent =
                    dead_letter::send(&letters, &cluster, &group, &task.record, *attempts, reason)
                        .await;
                Done::Buried {
                    letter,
                    result: sent.map(|_| ()),
                }
            }
            .boxed(),
        );
    }

    /// A dead letter was acknowledged, or not.
    pub(super) fn on_buried(
        &mut self,
        mut letter: Box<Letter>,
        result: Result<(), DeadLetterError>,
    ) {
        let (at, life) = (letter.task.slot, letter.task.life);
        let current = self.slot(at, life).is_some();
        if let Err(error) = result
            && current
        {
            letter.failures = letter.failures.saturating_add(1);
            let record = &letter.task.record;
            tracing::error!(
                group = %self.settings.group.group, topic = %record.topic, partition = record.partition,
                offset = record.offset, times = letter.failures,
                "dead letter not taken, its record is held: {error}"
            );
            let problem = format!("dead letter of offset {} not taken: {error}", record.offset);
            if let Some(slot) = self.slot(at, life) {
                slot.letter_problem = Some(problem);
            }
            self.post(letter);
            return;
        }
        self.lanes.end();
        if let Some(slot) = self.slot(at, life) {
            slot.in_flight -= 1;
            slot.dead_letters -= 1;
            slot.letter_problem = None;
        }
        let outcomes = self.outcomes(&letter.task);
        if current {
            outcomes.dead_lettered += 1;
            outcomes.last_dead_letter = Some(SystemTime::now());
        } else {
            outcomes.abandoned += 1;
        }
        self.finish(at, life, letter.task.record.offset, letter.task.lane);
        self.give_turn_if_any(at);
    }

    fn give_turn_if_any(&mut self, at: usize) {
        if at < self.slots.len() {
            self.give_turn(at);
        }
    }
}
