use super::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
struct Rec {
    id: usize,
    lane: Lane,
    slot: usize,
}

impl Parked for Rec {
    fn slot(&self) -> usize {
        self.slot
    }
    fn bytes(&self) -> usize {
        10
    }
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Pending,
    Done,
    Retry,
    Unavailable,
}

#[derive(Clone, Debug)]
enum Op {
    /// A new record arrives; the answer is that of its first poll.
    New {
        lane: Lane,
        slot: usize,
        answer: Answer,
    },
    /// The n-th flight lands.
    Land {
        nth: usize,
        answer: Answer,
    },
    Ready {
        answer: Answer,
    },
    Pass {
        ms: u64,
    },
    DropSlot {
        slot: usize,
    },
    TryAgain,
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![4 => (0u64..5).prop_map(Lane::Key), 1 => Just(Lane::Unordered)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Pending),
        3 => Just(Answer::Done),
        2 => Just(Answer::Retry),
        1 => Just(Answer::Unavailable),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (lane(), 0usize..3, answer()).prop_map(|(lane, slot, answer)| Op::New { lane, slot, answer }),
        4 => (any::<usize>(), answer()).prop_map(|(nth, answer)| Op::Land { nth, answer }),
        4 => answer().prop_map(|answer| Op::Ready { answer }),
        2 => (0u64..200).prop_map(|ms| Op::Pass { ms }),
        1 => (0usize..3).prop_map(|slot| Op::DropSlot { slot }),
        2 => Just(Op::TryAgain),
    ]
}

/// The runner in small, and what it must never see.
struct World {
    lanes: Lanes<Rec>,
    now: Instant,
    flights: Vec<Rec>,
    kept: HashSet<usize>,
    finished: Vec<Rec>,
    dropped: HashSet<usize>,
    alive: Vec<Rec>,
    next_id: usize,
    limit: usize,
    closed: bool,
}

impl World {
    fn new(limit: usize) -> Self {
        Self {
            lanes: Lanes::new(limit),
            now: Instant::now(),
            flights: Vec::new(),
            kept: HashSet::new(),
            finished: Vec::new(),
            dropped: HashSet::new(),
            alive: Vec::new(),
            next_id: 0,
            limit,
            closed: false,
        }
    }

    fn run(&mut self, rec: Rec, answer: Answer) {
        if let Lane::Key(_) = rec.lane {
            assert!(
                self.flights.iter().all(|other| other.lane != rec.lane),
                "two of one key at once"
            );
            let earlier = self
                .alive
                .iter()
                .find(|other| other.lane == rec.lane && other.id < rec.id);
            assert!(earlier.is_none(), "{rec:?} runs before {earlier:?}");
        }
        assert!(self.flights.len() < self.limit, "past the limit");
        assert!(!self.closed, "the gate is closed");
        self.kept.remove(&rec.id);
        match answer {
            Answer::Pending => {
                self.lanes.begin(rec.lane);
                self.flights.push(rec);
            }
            other => self.settle(rec, other),
        }
        assert_eq!(self.lanes.in_flight(), self.flights.len());
    }

    fn settle(&mut self, rec: Rec, answer: Answer) {
        if !matches!(answer, Answer::Unavailable) {
            self.lanes.open();
            self.closed = false;
        }
        match answer {
            Answer::Done | Answer::Pending => {
                self.alive.retain(|other| other.id != rec.id);
                self.lanes.release(rec.lane);
                self.finished.push(rec);
            }
            Answer::Retry => {
                self.kept.insert(rec.id);
                self.lanes
                    .wait(rec.lane, rec, self.now + Duration::from_millis(100));
            }
            Answer::Unavailable => {
                self.kept.insert(rec.id);
                self.closed = true;
                self.lanes.close();
                self.lanes.hold(rec.lane, rec);
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::New { lane, slot, answer } => {
                if !self.lanes.has_room() {
                    return;
                }
                let rec = Rec {
                    id: self.next_id,
                    lane,
                    slot,
                };
                self.next_id += 1;
                self.alive.push(rec.clone());
                if self.lanes.is_occupied(lane) {
                    self.kept.insert(rec.id);
                    self.lanes.queue(lane, rec);
                } else {
                    self.run(rec, answer);
                }
            }
            Op::Land { nth, answer } => {
                if !self.flights.is_empty() {
                    let rec = self.flights.swap_remove(nth % self.flights.len());
                    self.lanes.end();
                    self.settle(rec, answer);
                }
            }
            Op::Ready { answer } => {
                if let Some((lane, rec)) = self.lanes.next_ready() {
                    assert_eq!(lane, rec.lane);
                    assert!(self.kept.contains(&rec.id), "{rec:?} came back twice");
                    self.run(rec, answer);
                }
            }
            Op::Pass { ms } => {
                self.now += Duration::from_millis(ms);
                if let Some(next) = self.lanes.wake(self.now) {
                    assert!(next > self.now);
                }
            }
            Op::DropSlot { slot } => {
                let gone: Vec<Rec> = self
                    .alive
                    .iter()
                    .filter(|rec| rec.slot == slot && self.kept.contains(&rec.id))
                    .cloned()
                    .collect();
                assert_eq!(self.lanes.drop_slot(slot), gone.len());
                for rec in gone {
                    self.kept.remove(&rec.id);
                    self.dropped.insert(rec.id);
                    self.alive.retain(|other| other.id != rec.id);
                }
            }
            Op::TryAgain => {
                self.closed = false;
                self.lanes.try_again();
            }
        }
        assert_eq!(self.lanes.parked(), self.kept.len());
        assert_eq!(self.lanes.parked_bytes(), self.kept.len() * 10);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// Per key one at a time and in order, never past the limit, and nothing lost or run
    /// again after it finished.
    #[test]
    fn holds_its_promises(limit in 1usize..6, ops in proptest::collection::vec(op(), 0..300)) {
        let mut world = World::new(limit);
        for op in ops {
            world.apply(op);
        }
        let mut rounds = 0;
        while !world.alive.is_empty() {
            world.apply(Op::TryAgain);
            world.apply(Op::Pass { ms: 1000 });
            world.apply(Op::Land { nth: 0, answer: Answer::Done });
            world.apply(Op::Ready { answer: Answer::Done });
            rounds += 1;
            prop_assert!(rounds < 10_000, "stuck with {:?}", world.alive);
        }
        prop_assert_eq!(world.finished.len() + world.dropped.len(), world.next_id);
        let ids: HashSet<_> = world.finished.iter().map(|rec| rec.id).collect();
        prop_assert_eq!(ids.len(), world.finished.len());
        prop_assert!(world.lanes.occupied.is_empty(), "a lane stays taken by nobody");
    }
}

fn rec(id: usize, key: u64, slot: usize) -> Rec {
    Rec {
        id,
        lane: Lane::Key(key),
        slot,
    }
}

#[test]
fn a_key_stays_occupied_across_revocation_and_back() {
    let mut lanes = Lanes::new(10);
    lanes.begin(Lane::Key(7));
    lanes.queue(Lane::Key(7), rec(1, 7, 0));
    assert_eq!(lanes.drop_slot(0), 1);
    assert!(lanes.is_occupied(Lane::Key(7)), "its flight has not landed");
    // The partition is back as another assignment; the old flight still runs.
    lanes.queue(Lane::Key(7), rec(2, 7, 1));
    assert!(lanes.next_ready().is_none());
    lanes.end();
    lanes.release(Lane::Key(7));
    assert_eq!(lanes.next_ready().unwrap().1.id, 2);
}

#[test]
fn unavailable_stops_all_and_one_goes_ahead() {
    let mut lanes = Lanes::new(10);
    lanes.close();
    lanes.hold(Lane::Key(1), rec(1, 1, 0));
    lanes.hold(Lane::Key(2), rec(2, 2, 0));
    assert!(lanes.next_ready().is_none() && !lanes.has_room());
    lanes.try_again();
    let (lane, _) = lanes.next_ready().unwrap();
    lanes.begin(lane);
    assert!(lanes.next_ready().is_none(), "only one tries");
    lanes.end();
    lanes.open();
    lanes.release(lane);
    assert!(lanes.next_ready().is_some());
}

#[test]
fn other_keys_go_on_while_one_waits() {
    let mut lanes = Lanes::new(10);
    let now = Instant::now();
    lanes.wait(Lane::Key(1), rec(1, 1, 0), now + Duration::from_secs(1));
    lanes.queue(Lane::Key(1), rec(2, 1, 0));
    assert!(lanes.is_occupied(Lane::Key(1)) && !lanes.is_occupied(Lane::Key(2)));
    assert_eq!(lanes.wake(now), Some(now + Duration::from_secs(1)));
    assert!(lanes.next_ready().is_none());
    assert_eq!(lanes.wake(now + Duration::from_secs(1)), None);
    assert_eq!(lanes.next_ready().unwrap().1.id, 1);
    lanes.release(Lane::Key(1));
    assert_eq!(lanes.next_ready().unwrap().1.id, 2);
}
