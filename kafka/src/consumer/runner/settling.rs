//! The handler has answered: what becomes of the record, of its lane, and of the consumer.

use std::future::Future;

use futures::FutureExt;

use super::super::handler::{Handler, Outcome};
use super::task::{self, Answer, Task};
use super::{QUANTUM, Runner};
use crate::backoff::Backoff;

impl<'h, H, F, L> Runner<'h, H, F, L>
where
    H: Handler,
    F: Future<Output = (Task, Answer)>,
    L: Fn(Task) -> F,
{
    pub(super) fn land(&mut self, place: usize, (task, answer): (Task, Answer)) {
        self.airborne[place] = None;
        self.core.lanes.end();
        if let Some(slot) = self.core.slot(task.slot, task.life) {
            slot.in_flight -= 1;
        }
        self.settle(task, answer);
    }

    pub(super) fn land_more(&mut self) {
        for _ in 0..QUANTUM {
            let Some((place, landed)) = self.flights.try_landed() else {
                return;
            };
            self.land(place, landed);
        }
    }

    /// The handler has answered.
    #[inline]
    pub(super) fn settle(&mut self, task: Task, answer: Answer) {
        match &answer {
            // Also when its partition went meanwhile: it may be the one record that was sent ahead
            // and that all the others wait for.
            Answer::Said(Outcome::Unavailable(reason)) => self.pause(&task, reason),
            _ if !self.core.lanes.is_open() => self.reopen(),
            _ => {}
        }
        let (at, life) = (task.slot, task.life);
        if let Answer::Said(Outcome::Done) = answer
            && let Some(slot) = self.core.slot(at, life)
        {
            let topic = slot.topic;
            self.core.topics[topic].outcomes.done += 1;
            self.core.finish(at, life, task.record.offset, task.lane);
            return;
        }
        if self.core.slot(at, life).is_none() {
            // Its partition went while it ran: somebody else's now.
            self.core.outcomes(&task).abandoned += 1;
            self.core.lanes.release(task.lane);
            return;
        }
        match answer {
            Answer::Said(Outcome::Done) => {}
            Answer::Said(Outcome::Reject(reason)) => {
                self.core.outcomes(&task).rejected += 1;
                let attempts = task.record.attempt;
                self.core.bury(task, reason, attempts);
            }
            Answer::Said(Outcome::Retry(reason)) => self.retry(task, reason),
            Answer::Panicked(text) => {
                self.core.outcomes(&task).panicked += 1;
                tracing::error!(
                    group = %self.core.settings.group.group, topic = %task.record.topic,
                    partition = task.record.partition, offset = task.record.offset,
                    "the handler panicked: {text}"
                );
                self.retry(task, format!("the handler panicked: {text}"));
            }
            Answer::Said(Outcome::Unavailable(_)) => self.postpone(task),
        }
    }

    pub(super) fn retry(&mut self, mut task: Task, reason: String) {
        let policy = self.core.settings.retry;
        let attempt = task.record.attempt;
        let outcomes = self.core.outcomes(&task);
        if attempt >= policy.max_attempts {
            outcomes.exhausted += 1;
            self.core.bury(task, reason, attempt);
            return;
        }
        outcomes.retried += 1;
        if self.core.draining.is_some() {
            self.give_up(task);
            return;
        }
        let wait = Backoff::new(policy.backoff, policy.backoff_max)
            .delay(attempt, self.core.jitter.next());
        tracing::debug!(
            group = %self.core.settings.group.group, topic = %task.record.topic,
            partition = task.record.partition, offset = task.record.offset, attempt,
            wait_ms = wait.as_millis() as u64, reason, "record will be tried again"
        );
        task.record.attempt = attempt + 1;
        task.record.detach();
        self.core.lanes.wait(task.lane, task, self.core.now + wait);
    }

    /// Shutting down: it stays uncommitted and comes again to whoever reads the partition next.
    pub(super) fn give_up(&mut self, task: Task) {
        self.core.given_up += 1;
        self.core.lanes.release(task.lane);
    }

    /// The record waits until what its handler needs is back; no attempt is counted.
    fn postpone(&mut self, task: Task) {
        self.core.outcomes(&task).unavailable += 1;
        if self.core.draining.is_some() {
            self.give_up(task);
        } else {
            self.core.lanes.hold(task.lane, task);
        }
    }

    /// What the handler needs is down: all wait, until a probe finds it back.
    fn pause(&mut self, task: &Task, reason: &str) {
        if self.core.draining.is_some() {
            return;
        }
        if self.core.paused.is_none() {
            tracing::warn!(
                group = %self.core.settings.group.group, topic = %task.record.topic,
                partition = task.record.partition, offset = task.record.offset,
                "the consumer pauses, what its handler needs is unavailable: {reason}"
            );
            self.stats_due = self.core.now;
        } else if !self.core.lanes.is_closed() && self.probes.failures().is_power_of_two() {
            // The record that went ahead has failed, too: said again while it lasts, with the reason of now.
            tracing::warn!(
                group = %self.core.settings.group.group, topic = %task.record.topic,
                partition = task.record.partition, offset = task.record.offset,
                tries = self.probes.failures(),
                "the consumer is still paused, what its handler needs is unavailable: {reason}"
            );
        }
        self.core.paused = Some(reason.to_owned());
        self.core.lanes.close();
        if self.probe.is_none() {
            self.arm_probe();
        }
    }

    pub(super) fn arm_probe(&mut self) {
        let wait = self.probes.next_delay();
        let handler = self.handler;
        let probe = async move {
            tokio::time::sleep(wait).await;
            let asked = std::panic::AssertUnwindSafe(async { handler.probe().await })
                .catch_unwind()
                .await;
            asked.unwrap_or_else(|panic| {
                tracing::error!("the handler's probe panicked: {}", task::text(&*panic));
                false
            })
        };
        self.probe = Some(probe.boxed());
    }

    pub(super) fn on_probe(&mut self, back: bool) {
        self.probe = None;
        if back {
            self.core.lanes.try_again();
        } else {
            self.arm_probe();
        }
    }

    pub(super) fn reopen(&mut self) {
        // A flight from before the pause that ends well says nothing about what is down.
        if self.core.lanes.is_closed() {
            return;
        }
        self.core.lanes.open();
        self.probes.reset();
        if self.core.paused.take().is_some() {
            tracing::info!(group = %self.core.settings.group.group, "the consumer resumes");
            self.stats_due = self.core.now;
        }
    }
}
