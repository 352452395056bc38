//! What is to be fetched from where, and what is on its way. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::topic_id::TopicId;

/// First and longest wait before a partition that failed is asked for again (Java
/// `retry.backoff.ms`, `retry.backoff.max.ms`).
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// One start of fetching a partition. What arrives for an older ticket is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(u64);

/// A partition of a topic, as long as that is not deleted and created again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) topic: Arc<str>,
    /// `None` = not known yet: then it is the id that the metadata have when it is first asked for.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: i32,
}

#[derive(Debug)]
struct Target {
    place: Place,
    ticket: Ticket,
    position: i64,
    /// Of what was read before the position; -1 = not known.
    epoch: i32,
    /// A request for it is in the air.
    busy: bool,
    /// Not before this, after a failure.
    not_before: Option<Instant>,
    failures: u32,
    /// When it last brought records, by count of such answers.
    served: u64,
}

/// All partitions that are being fetched, by the caller's number for each.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    by_slot: BTreeMap<usize, Target>,
    tickets: u64,
    /// Counts answers with records.
    served: u64,
}

/// One partition of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Taken {
    pub(crate) slot: usize,
    pub(crate) ticket: Ticket,
    pub(crate) topic: Arc<str>,
    /// `None` = not known.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: i32,
    pub(crate) position: i64,
    /// Of what was read before the position; -1 = not known.
    pub(crate) last_epoch: i32,
    /// As the metadata has it; -1 = not known.
    pub(crate) leader_epoch: i32,
}

/// What [`Targets::take`] found for a broker.
#[derive(Debug, Default)]
pub(crate) struct TakenAll {
    pub(crate) taken: Vec<Taken>,
    /// The topic has another id than the one they were started for.
    pub(crate) recreated: Vec<Taken>,
}

impl Targets {
    /// Fetches `slot` from `position` on, before which lies a record of `epoch`; replaces what was
    /// fetched for it.
    pub(crate) fn start(&mut self, slot: usize, place: Place, position: i64, epoch: i32) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let target = Target {
            place,
            ticket,
            position,
            epoch,
            busy: false,
            not_before: None,
            failures: 0,
            served: 0,
        };
        self.by_slot.insert(slot, target);
        ticket
    }

    pub(crate) fn stop(&mut self, slot: usize) {
        self.by_slot.remove(&slot);
    }

    /// Marks as in the air, and returns, all that may be asked of `node` now. What
    /// brought records last comes last: a broker fills its answer from the front.
    ///
    /// Partitions of a topic that was deleted and created again meanwhile are not asked for: they wait
    /// for their owner, who starts them again, and come back as [`TakenAll::recreated`].
    pub(crate) fn take(
        &mut self,
        node: i32,
        leader_of: impl Fn(&str, i32) -> Option<(i32, i32)>,
        id_of: impl Fn(&str) -> Option<TopicId>,
        now: Instant,
    ) -> TakenAll {
        let mut taken = Vec::new();
        let mut recreated = Vec::new();
        for (&slot, target) in &mut self.by_slot {
            if target.busy || target.not_before.is_some_and(|at| at > now) {
                continue;
            }
            let place = &mut target.place;
            let Some((leader, leader_epoch)) = leader_of(&place.topic, place.partition) else {
                continue;
            };
            if leader == node {
                target.busy = true;
                let id = id_of(&place.topic);
                let is_another = TopicId::differ(place.topic_id, id);
                place.topic_id = place.topic_id.or(id);
                let list = if is_another {
                    &mut recreated
                } else {
                    &mut taken
                };
                list.push(Taken {
                    slot,
                    ticket: target.ticket,
                    topic: place.topic.clone(),
                    topic_id: place.topic_id,
                    partition: place.partition,
                    position: target.position,
                    last_epoch: target.epoch,
                    leader_epoch,
                });
            }
        }
        taken.sort_by_key(|taken: &Taken| self.by_slot[&taken.slot].served);
        TakenAll { taken, recreated }
    }

    /// The partition was answered and goes on at `next`, behind what is of `epoch`. False: nobody
    /// waits for it any more.
    ///
    /// An answer that does not get ahead stays in the air: asking again would bring the same, so
    /// the caller decides.
    pub(crate) fn answered(
        &mut self,
        taken: &Taken,
        next: i64,
        epoch: i32,
        got_records: bool,
    ) -> bool {
        self.served += u64::from(got_records);
        let served = self.served;
        let Some(target) = self.current(taken) else {
            return false;
        };
        target.failures = 0;
        target.not_before = None;
        target.busy = got_records && next <= target.position;
        if next > target.position {
            (target.position, target.epoch) = (next, epoch);
        }
        if got_records {
            target.served = served;
        }
        true
    }

    /// The partition could not be fetched; it is tried again later. Returns how often that
    /// happened in a row, `None` if nobody waits for it any more.
    pub(crate) fn failed(&mut self, taken: &Taken, now: Instant, random: u64) -> Option<u32> {
        let target = self.current(taken)?;
        target.failures = target.failures.saturating_add(1);
        target.not_before = Some(now + RETRY.delay(target.failures, random));
        target.busy = false;
        Some(target.failures)
    }

    /// The request ended without any word on the partition: it may be asked for again at once.
    pub(crate) fn released(&mut self, taken: &Taken) {
        if let Some(target) = self.current(taken) {
            target.busy = false;
        }
    }

    /// The partition waits for its owner, who starts it again elsewhere (out of range, diverged).
    /// False: nobody waits for it any more.
    pub(crate) fn parked(&mut self, taken: &Taken) -> bool {
        self.current(taken).is_some()
    }

    fn current(&mut self, taken: &Taken) -> Option<&mut Target> {
        self.by_slot
            .get_mut(&taken.slot)
            .filter(|target| target.ticket == taken.ticket)
    }

    /// When the next partition that failed may be tried again.
    pub(crate) fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.by_slot
            .values()
            .filter(|target| !target.busy)
            .filter_map(|target| target.not_before)
            .filter(|at| *at > now)
            .min()
    }

    /// The brokers to fetch from, and the topics of partitions without a known leader.
    pub(crate) fn leaders(
        &self,
        leader_of: impl Fn(&str, i32) -> Option<(i32, i32)>,
    ) -> (Vec<i32>, Vec<Arc<str>>) {
        let mut nodes = Vec::new();
        let mut missing: Vec<Arc<str>> = Vec::new();
        for target in self.by_slot.values() {
            let Place {
                topic, partition, ..
            } = &target.place;
            match leader_of(topic, *partition) {
                Some((node, _)) if !nodes.contains(&node) => nodes.push(node),
                Some(_) => {}
                None if !missing.contains(topic) => missing.push(topic.clone()),
                None => {}
            }
        }
        (nodes, missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even partitions on broker 1, odd ones on broker 2, the topic `lost` nowhere.
    fn leader_of(topic: &str, partition: i32) -> Option<(i32, i32)> {
        (topic != "lost").then_some((1 + partition % 2, 7))
    }

    fn id_of(_: &str) -> Option<TopicId> {
        TopicId::from_u128(1)
    }

    fn take(targets: &mut Targets, node: i32, now: Instant) -> Vec<Taken> {
        let all = targets.take(node, leader_of, id_of, now);
        assert!(all.recreated.is_empty());
        all.taken
    }

    fn place(topic: &str, partition: i32) -> Place {
        Place {
            topic: topic.into(),
            topic_id: TopicId::from_u128(1),
            partition,
        }
    }

    fn four(targets: &mut Targets) {
        for partition in 0..4 {
            targets.start(partition as usize, place("t", partition), 10, 3);
        }
    }

    fn partitions(taken: &[Taken]) -> Vec<i32> {
        taken.iter().map(|taken| taken.partition).collect()
    }

    #[test]
    fn each_broker_is_asked_for_its_own_once_and_in_turn() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        four(&mut targets);
        let first = take(&mut targets, 1, now);
        assert_eq!(first[0].leader_epoch, 7);
        assert!(take(&mut targets, 1, now).is_empty(), "they are in the air");
        assert_eq!(take(&mut targets, 2, now).len(), 2);
        assert_eq!(partitions(&first), [0, 2]);
        // Only the first fitted into the answer.
        assert!(targets.answered(&first[0], 20, 4, true));
        assert!(targets.answered(&first[1], 10, 4, false));
        let second = take(&mut targets, 1, now);
        assert_eq!(partitions(&second), [2, 0], "who had something comes last");
        assert_eq!((second[0].position, second[1].position), (10, 20));
        assert_eq!((second[0].last_epoch, second[1].last_epoch), (3, 4));
    }

    #[test]
    fn answers_for_an_old_ticket_are_refused() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        let old = targets.start(0, place("t", 0), 10, 3);
        let taken = take(&mut targets, 1, now).remove(0);
        assert_eq!(taken.ticket, old);
        let new = targets.start(0, place("t", 0), 5, 3);
        assert_ne!(new, old);
        assert!(!targets.answered(&taken, 20, 4, true));
        assert!(targets.failed(&taken, now, 0).is_none());
        assert!(!targets.parked(&taken));
        // The new one does not wait for the old one's answer.
        assert_eq!(take(&mut targets, 1, now)[0].position, 5);
        targets.stop(0);
        assert!(targets.leaders(leader_of).0.is_empty());
    }

    #[test]
    fn what_failed_waits_longer_each_time_and_starts_over_after_a_success() {
        let (mut targets, mut now) = (Targets::default(), Instant::now());
        targets.start(0, place("t", 0), 10, 3);
        for times in 1..=3 {
            let taken = take(&mut targets, 1, now).remove(0);
            assert_eq!(targets.failed(&taken, now, 1 << 63), Some(times));
            assert!(take(&mut targets, 1, now).is_empty());
            let again = targets.next_retry(now).expect("it waits");
            assert_eq!(again - now, Duration::from_millis(100 << (times - 1)));
            now = again;
        }
        let taken = take(&mut targets, 1, now).remove(0);
        assert!(targets.answered(&taken, 11, 4, true));
        let taken = take(&mut targets, 1, now).remove(0);
        assert_eq!(targets.failed(&taken, now, 1 << 63), Some(1));
    }

    #[test]
    fn what_does_not_get_ahead_is_not_asked_for_again() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        targets.start(0, place("t", 0), 10, 3);
        let taken = take(&mut targets, 1, now).remove(0);
        assert!(targets.answered(&taken, 10, 4, false), "nothing new");
        let taken = take(&mut targets, 1, now).remove(0);
        assert!(
            targets.answered(&taken, 10, 4, true),
            "records that lead nowhere"
        );
        assert!(take(&mut targets, 1, now).is_empty());
        // Until its owner says from where.
        targets.start(0, place("t", 0), 10, 3);
        assert_eq!(take(&mut targets, 1, now).len(), 1);
    }

    #[test]
    fn partitions_of_a_topic_created_again_wait_for_their_owner() {
        let (mut targets, now) = (Targets::default(), Instant::now());
        targets.start(0, place("t", 0), 10, 3);
        let unknown = Place {
            topic_id: None,
            ..place("u", 0)
        };
        targets.start(1, unknown, 10, 3);
        let other = TopicId::from_u128(2);
        let all = targets.take(1, leader_of, |_| other, now);
        let [taken] = &all.taken[..] else {
            panic!("{all:?}");
        };
        assert_eq!((taken.slot, taken.topic_id), (1, other));
        let [recreated] = &all.recreated[..] else {
            panic!("{all:?}");
        };
        assert_eq!((recreated.slot, recreated.position), (0, 10));
        assert!(targets.parked(recreated));
        let again = targets.take(1, leader_of, |_| other, now);
        assert!(again.taken.is_empty() && again.recreated.is_empty());
        // The id that was first seen is the one that counts.
        assert!(targets.answered(taken, 11, 3, false));
        let all = targets.take(1, leader_of, |_| TopicId::from_u128(3), now);
        assert_eq!(all.recreated.len(), 1);
    }

    #[test]
    fn partitions_without_a_leader_are_told() {
        let mut targets = Targets::default();
        four(&mut targets);
        targets.start(9, place("lost", 0), 0, -1);
        targets.start(10, place("lost", 1), 0, -1);
        assert_eq!(
            targets.leaders(leader_of),
            (vec![1, 2], vec!["lost".into()])
        );
    }
}
