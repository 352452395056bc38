//! What the runner keeps an eye on: the time, handlers that are stuck, the statistics.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use super::super::handler::Handler;
use super::task::{Answer, Task};
use super::{Runner, STATS_INTERVAL, STUCK_REPORT};

impl<'h, H, F, L> Runner<'h, H, F, L>
where
    H: Handler,
    F: Future<Output = (Task, Answer)>,
    L: Fn(Task) -> F,
{
    /// Reports what the handler has had for too long.
    pub(super) fn watch_over(&mut self) {
        if self.core.now < self.stuck_due {
            return;
        }
        let limit = self.core.settings.max_processing_time;
        self.stuck_due = self.core.now + (limit / 4).min(Duration::from_secs(1));
        self.stuck = 0;
        for (place, since) in self.flights.under_way() {
            let age = self.core.now - since;
            if age < limit {
                continue;
            }
            self.stuck += 1;
            if let Some(Some(airborne)) = self.airborne.get_mut(place)
                && self.core.now >= airborne.report_at
            {
                airborne.report_at = self.core.now + limit.min(STUCK_REPORT);
                tracing::error!(
                    group = %self.core.settings.group.group, topic = %airborne.topic,
                    partition = airborne.partition, offset = airborne.offset, age_ms = age.as_millis() as u64,
                    "the handler has had this record for longer than max_processing_time; its lane and its \
                     partition's commit wait for it, the others go on"
                );
            }
        }
    }

    /// When to look again though nothing happens.
    pub(super) fn next_wake(&mut self) -> Instant {
        let core = &mut self.core;
        let mut wake = match core.lanes.in_flight() {
            0 => core.now + Duration::from_secs(60),
            _ => self.stuck_due,
        };
        if core.slots.iter().flatten().any(|slot| slot.stalled) {
            wake = wake.min(self.stalled_due);
        }
        if !core.slots.is_empty() && !core.commit.in_flight {
            wake = wake.min(core.commit.next);
        }
        if self.stats_dirty {
            wake = wake.min(self.stats_due);
        }
        for revocation in &core.revocations {
            if revocation.committing.is_none() {
                wake = wake.min(revocation.drain_until);
            }
        }
        if let Some(due) = core.quiet.due() {
            wake = wake.min(due);
        }
        if let Some(until) = core.draining {
            wake = wake.min(until);
        }
        if !core.lanes.is_closed()
            && let Some(retry) = core.lanes.wake(core.now)
        {
            wake = wake.min(retry);
        }
        wake
    }

    pub(super) fn publish(&mut self) {
        self.stats_dirty = false;
        self.stats_due = self.core.now + STATS_INTERVAL;
        let mut stats = self.core.snapshot();
        stats.stuck = self.stuck;
        let oldest = self.flights.under_way().min_by_key(|(_, since)| *since);
        stats.oldest_in_flight = oldest.and_then(|(place, since)| {
            let airborne = self.airborne.get(place)?.as_ref()?;
            Some(airborne.record(self.core.now.saturating_duration_since(since)))
        });
        self.core.stats.publish(stats);
    }
}
