//! Records leave what was fetched, each for its lane.

use std::future::Future;

use super::super::flights::Launch;
use super::super::handler::Handler;
use super::super::lanes::Lane;
use super::super::record::ConsumerRecord;
use super::report::Airborne;
use super::task::{self, Answer, Task};
use super::{MAX_PARKED_BYTES, QUANTUM, Runner};
use crate::records::walker::Walked;

impl<'h, H, F, L> Runner<'h, H, F, L>
where
    H: Handler,
    F: Future<Output = (Task, Answer)>,
    L: Fn(Task) -> F,
{
    /// Hands out records while there are any and room for them, up to a quantum.
    pub(super) fn dispatch(&mut self) -> bool {
        let mut left = QUANTUM;
        self.core.lanes.wake(self.core.now);
        loop {
            while left > 0
                && let Some((_, task)) = self.core.lanes.next_ready()
            {
                self.start(task);
                left -= 1;
            }
            if !self.core.lanes.has_room() {
                return false;
            }
            if left == 0 {
                return true;
            }
            let Some(at) = self.core.turn.pop_front() else {
                return false;
            };
            self.hand_out(at, &mut left);
            if let Some(slot) = &mut self.core.slots[at] {
                slot.in_turn = false;
                self.core.give_turn(at);
            }
        }
    }

    /// Hands out records of one partition.
    pub(super) fn hand_out(&mut self, at: usize, left: &mut usize) {
        let isolation = self.core.settings.fetch.isolation;
        while *left > 0 && self.core.lanes.has_room() {
            let Some(slot) = &mut self.core.slots[at] else {
                return;
            };
            if !slot.is_runnable() {
                return;
            }
            let Some(walker) = slot.walker(isolation) else {
                return;
            };
            let walked = match walker.next() {
                Some(Ok(walked)) => walked,
                None => {
                    if slot.end_chunk() {
                        let problem = "its next batch is larger than an answer may be; raise partition_fetch_max_bytes";
                        self.core.hold(at, None, problem.to_owned());
                        return;
                    }
                    slot.release();
                    continue;
                }
                Some(Err(error)) => {
                    slot.end_chunk();
                    let range = (error.offset, error.last);
                    self.core.hold(at, Some(range), error.to_string());
                    return;
                }
            };
            let Some(tracker) = &mut slot.tracker else {
                return;
            };
            let offset = walked.offset();
            if offset >= tracker.position() {
                tracker.meet(offset, walked.leader_epoch());
            }
            if tracker.is_done(offset) {
                // Done before a restart, as the commit's metadata says.
                tracker.advance_to(offset + 1);
                self.core.topics[slot.topic].outcomes.skipped += 1;
                continue;
            }
            if offset < tracker.position() {
                continue;
            }
            if !tracker.has_room(offset) {
                self.core.stall(at);
                return;
            }
            let (topic, partition, life) =
                (slot.name.topic.clone(), slot.name.partition, slot.life);
            let topic_id = slot.topic_id;
            match walked {
                Walked::Record(walked) => {
                    let record = ConsumerRecord::new(topic, topic_id, partition, walked);
                    let lane = task::lane(self.handler, &record);
                    let occupied = self.core.lanes.is_occupied(lane);
                    // What is to be tried again is kept too, and comes from free lanes.
                    let most = if occupied { 1 } else { 2 } * MAX_PARKED_BYTES;
                    if self.core.lanes.parked_bytes() >= most {
                        self.core.stall(at);
                        return;
                    }
                    tracker.dispatch(offset);
                    *left -= 1;
                    let mut task = Task {
                        record,
                        lane,
                        slot: at,
                        life,
                    };
                    if occupied {
                        task.record.detach();
                        self.core.lanes.queue(lane, task);
                    } else {
                        self.start(task);
                    }
                }
                Walked::Unreadable {
                    timestamp,
                    leader_epoch,
                    raw,
                    reason,
                    ..
                } => {
                    tracker.dispatch(offset);
                    *left -= 1;
                    self.core.topics[slot.topic].outcomes.rejected += 1;
                    let record = ConsumerRecord {
                        topic,
                        topic_id,
                        partition,
                        offset,
                        timestamp,
                        leader_epoch,
                        key: None,
                        value: Some(raw),
                        headers: Default::default(),
                        attempt: 0,
                    };
                    let task = Task {
                        record,
                        lane: Lane::Unordered,
                        slot: at,
                        life,
                    };
                    self.core
                        .bury(task, format!("the record cannot be read: {reason}"), 0);
                }
            }
        }
    }

    /// Gives a task to the handler.
    #[inline]
    pub(super) fn start(&mut self, task: Task) {
        let (at, lane, offset) = (task.slot, task.lane, task.record.offset);
        match self.flights.launch((self.launch)(task), self.core.now) {
            Launch::Landed((task, answer)) => self.settle(task, answer),
            Launch::Flying(place) => {
                self.core.lanes.begin(lane);
                // A task is dropped with its slot, so what starts has one.
                let Some(slot) = &mut self.core.slots[at] else {
                    return;
                };
                slot.in_flight += 1;
                if self.airborne.len() <= place {
                    self.airborne.resize(place + 1, None);
                }
                self.airborne[place] = Some(Airborne {
                    topic: slot.name.topic.clone(),
                    partition: slot.name.partition,
                    offset,
                    report_at: self.core.now + self.core.settings.max_processing_time,
                });
            }
        }
    }
}
