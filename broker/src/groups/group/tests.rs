use bytes::Bytes;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const SESSION: Duration = Duration::from_secs(10);

/// A group and its clock; every request gets the next token.
struct Driver {
    group: Group,
    now: Instant,
    token: Token,
    delay: Duration,
    out: Vec<Output>,
}

fn driver() -> Driver {
    Driver {
        group: Group::default(),
        now: Instant::now(),
        token: 0,
        delay: Duration::ZERO,
        out: Vec::new(),
    }
}

fn newcomer(fresh_id: &str) -> Join {
    Join {
        member_id: String::new(),
        fresh_id: fresh_id.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: MINUTE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"orders"))],
        needs_known_id: false,
        may_skip_assignment: true,
    }
}

fn again(id: &str) -> Join {
    Join {
        member_id: id.to_owned(),
        ..newcomer("unused")
    }
}

fn static_member(instance: &str, fresh_id: &str) -> Join {
    Join {
        instance_id: Some(instance.to_owned()),
        ..newcomer(fresh_id)
    }
}

impl Driver {
    fn join(&mut self, join: Join) -> Token {
        self.token += 1;
        self.group
            .join(join, self.token, self.delay, self.now, &mut self.out);
        self.token
    }

    fn sync(&mut self, id: &str, assignments: &[(&str, &'static [u8])]) -> Token {
        self.sync_as(id, None, self.group.generation, assignments)
    }

    fn sync_as(
        &mut self,
        id: &str,
        instance_id: Option<&str>,
        generation: i32,
        assignments: &[(&str, &'static [u8])],
    ) -> Token {
        self.token += 1;
        let sync = Sync {
            member_id: id.to_owned(),
            instance_id: instance_id.map(ToOwned::to_owned),
            generation,
            protocol_type: Some("consumer".to_owned()),
            protocol: self.group.protocol.clone(),
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), Bytes::from_static(bytes)))
                .collect(),
        };
        self.group.sync(sync, self.token, self.now, &mut self.out);
        self.token
    }

    fn heartbeat(&mut self, id: &str) -> Result<(), ResponseError> {
        let generation = self.group.generation;
        self.group.heartbeat(id, None, generation, self.now)
    }

    fn leave(&mut self, id: &str) -> Result<(), ResponseError> {
        let leave = Leave {
            member_id: id.to_owned(),
            instance_id: None,
        };
        self.group.leave(&leave, self.now, &mut self.out)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.group.tick(self.now, &mut self.out);
    }

    /// The answer to a join, if there is one by now.
    fn joined(&mut self, token: Token) -> Option<Joined> {
        self.out.iter().find_map(|output| match output {
            Output::Joined(to, joined) if *to == token => Some(joined.clone()),
            _ => None,
        })
    }

    fn synced(&mut self, token: Token) -> Option<Result<Bytes, ResponseError>> {
        self.out.iter().find_map(|output| match output {
            Output::Synced(to, synced) if *to == token => {
                Some(synced.clone().map(|synced| synced.assignment))
            }
            _ => None,
        })
    }

    /// A stable group of these dynamic members; the first one leads.
    fn stable(ids: &[&str]) -> Self {
        let mut driver = driver();
        driver.join(newcomer(ids[0]));
        for id in &ids[1..] {
            driver.join(newcomer(id));
        }
        for id in &ids[..ids.len() - 1] {
            if driver.group.phase == Phase::Preparing {
                driver.join(again(id));
            }
        }
        assert_eq!(driver.group.phase, Phase::Completing);
        let leader = driver.group.leader.clone().unwrap();
        for id in ids {
            let assignments: Vec<(&str, &'static [u8])> = if *id == leader {
                ids.iter().map(|id| (*id, &b"assigned"[..])).collect()
            } else {
                Vec::new()
            };
            driver.sync(id, &assignments);
        }
        assert_eq!(driver.group.phase, Phase::Stable);
        driver.out.clear();
        driver
    }
}

#[test]
fn a_first_member_leads_at_once_and_gets_what_it_assigns() {
    let mut driver = driver();
    let join = driver.join(newcomer("a"));
    let joined = driver.joined(join).unwrap();
    assert_eq!(joined.error, None);
    assert_eq!(joined.generation, 1);
    assert_eq!(joined.leader, "a");
    assert_eq!(joined.protocol.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(&joined.members[0].2[..], b"orders");
    let sync = driver.sync("a", &[("a", b"p0")]);
    assert_eq!(driver.synced(sync), Some(Ok(Bytes::from_static(b"p0"))));
    assert_eq!(driver.heartbeat("a"), Ok(()));
    assert!(driver.out.contains(&Output::Changed), "stored");
}

#[test]
fn a_second_member_starts_a_rebalance_that_ends_when_the_first_has_joined_again() {
    let mut driver = Driver::stable(&["a"]);
    let second = driver.join(newcomer("b"));
    assert_eq!(driver.joined(second), None, "waits for the first");
    assert_eq!(
        driver.heartbeat("a"),
        Err(ResponseError::RebalanceInProgress)
    );
    let first = driver.join(again("a"));
    let (first, second) = (
        driver.joined(first).unwrap(),
        driver.joined(second).unwrap(),
    );
    assert_eq!((first.generation, second.generation), (2, 2));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    // The follower's sync waits for the leader's.
    let follower = driver.sync("b", &[]);
    assert_eq!(driver.synced(follower), None);
    driver.sync("a", &[("a", b"p0"), ("b", b"p1")]);
    assert_eq!(driver.synced(follower), Some(Ok(Bytes::from_static(b"p1"))));
}

#[test]
fn an_initial_delay_gathers_members_before_the_first_generation() {
    let mut driver = driver();
    driver.delay = Duration::from_secs(3);
    let first = driver.join(newcomer("a"));
    driver.pass(Duration::from_secs(2));
    let second = driver.join(newcomer("b"));
    assert_eq!(driver.joined(first), None);
    driver.pass(Duration::from_secs(1));
    assert_eq!(driver.joined(first), None, "a newcomer lengthens the delay");
    driver.pass(Duration::from_secs(3));
    assert_eq!(driver.joined(first).unwrap().generation, 1);
    assert_eq!(driver.joined(second).unwrap().generation, 1);
}

#[test]
fn a_newcomer_is_told_its_id_and_comes_back_with_it() {
    let mut driver = driver();
    let known = Join {
        needs_known_id: true,
        ..newcomer("a")
    };
    let first = driver.join(known.clone());
    let told = driver.joined(first).unwrap();
    assert_eq!(told.error, Some(ResponseError::MemberIdRequired));
    assert_eq!(told.member_id, "a");
    assert_eq!(driver.group.phase, Phase::Empty);
    let second = driver.join(Join {
        member_id: told.member_id,
        ..known
    });
    assert_eq!(driver.joined(second).unwrap().error, None);
}

#[test]
fn an_id_that_is_never_used_holds_a_rebalance_up_no_longer_than_its_session() {
    let mut driver = Driver::stable(&["a"]);
    driver.join(Join {
        needs_known_id: true,
        ..newcomer("b")
    });
    assert_eq!(driver.group.phase, Phase::Stable, "nobody joined yet");
    let joined = driver.join(newcomer("c"));
    driver.join(again("a"));
    assert_eq!(driver.joined(joined), None, "waits for b");
    driver.pass(SESSION + Duration::from_millis(1));
    assert_eq!(driver.joined(joined).unwrap().generation, 2);
}

#[test]
fn a_member_that_is_silent_for_its_session_is_dead() {
    let mut driver = Driver::stable(&["a", "b"]);
    driver.pass(SESSION / 2);
    assert_eq!(driver.heartbeat("a"), Ok(()));
    driver.pass(SESSION / 2 + Duration::from_millis(1));
    assert_eq!(
        driver.heartbeat("b"),
        Err(ResponseError::UnknownMemberId),
        "dead"
    );
    assert_eq!(
        driver.heartbeat("a"),
        Err(ResponseError::RebalanceInProgress)
    );
    let join = driver.join(again("a"));
    assert_eq!(driver.joined(join).unwrap().members.len(), 1);
}

#[test]
fn a_member_kept_waiting_by_the_group_does_not_die_of_it() {
    let mut driver = Driver::stable(&["a", "b"]);
    let join = driver.join(again("a"));
    assert_eq!(driver.group.phase, Phase::Preparing, "the leader asked");
    // b goes on with heartbeats and is slow to join.
    for _ in 0..4 {
        driver.pass(SESSION / 2);
        let heard = driver.heartbeat("b");
        assert_eq!(heard, Err(ResponseError::RebalanceInProgress));
    }
    assert_eq!(driver.joined(join), None);
    assert!(driver.group.members.contains_key("a"));
}

#[test]
fn a_rebalance_ends_at_its_timeout_without_those_who_did_not_join() {
    let mut driver = Driver::stable(&["a", "b"]);
    let join = driver.join(again("a"));
    let mut passed = Duration::ZERO;
    while passed < MINUTE {
        driver.pass(SESSION / 2);
        passed += SESSION / 2;
        let _ = driver.heartbeat("b");
    }
    let joined = driver.joined(join).unwrap();
    assert_eq!(joined.members.len(), 1);
    assert_eq!(driver.heartbeat("b"), Err(ResponseError::UnknownMemberId));
}

#[test]
fn members_that_never_sync_are_removed() {
    let mut driver = driver();
    driver.join(newcomer("a"));
    driver.join(newcomer("b"));
    driver.join(again("a"));
    assert_eq!(driver.group.phase, Phase::Completing);
    let mut passed = Duration::ZERO;
    while passed < MINUTE {
        driver.pass(SESSION / 2);
        passed += SESSION / 2;
        let _ = driver.heartbeat("a");
        let _ = driver.heartbeat("b");
    }
    assert_eq!(driver.group.phase, Phase::Empty);
    assert_eq!(driver.group.members.len(), 0);
}

#[test]
fn leaving_hands_the_partitions_over_at_once() {
    let mut driver = Driver::stable(&["a", "b"]);
    assert_eq!(driver.leave("b"), Ok(()));
    assert_eq!(driver.leave("b"), Err(ResponseError::UnknownMemberId));
    let join = driver.join(again("a"));
    assert_eq!(driver.joined(join).unwrap().members.len(), 1);
    assert_eq!(driver.leave("a"), Ok(()));
    assert_eq!(driver.group.phase, Phase::Empty);
    assert_eq!(driver.group.generation, 4, "an empty generation counts");
}

#[test]
fn old_generations_and_strangers_are_refused() {
    let mut driver = Driver::stable(&["a"]);
    let old = driver.group.generation - 1;
    let now = driver.now;
    let group = &mut driver.group;
    assert_eq!(
        group.heartbeat("a", None, old, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        group.may_commit("a", None, old, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        group.may_commit("z", None, old + 1, now),
        Err(ResponseError::UnknownMemberId)
    );
    assert_eq!(group.may_commit("a", None, old + 1, now), Ok(()));
    // Somebody who is no member, while the group has members.
    assert_eq!(
        group.may_commit("", None, -1, now),
        Err(ResponseError::UnknownMemberId)
    );
    let sync = driver.sync_as("a", None, old, &[]);
    assert_eq!(
        driver.synced(sync),
        Some(Err(ResponseError::IllegalGeneration))
    );
}

#[test]
fn commits_are_taken_while_members_join_and_not_while_they_are_assigned() {
    let mut driver = Driver::stable(&["a", "b"]);
    driver.join(again("a"));
    let (now, generation) = (driver.now, driver.group.generation);
    assert_eq!(driver.group.phase, Phase::Preparing);
    assert_eq!(driver.group.may_commit("b", None, generation, now), Ok(()));
    driver.join(again("b"));
    assert_eq!(driver.group.phase, Phase::Completing);
    assert_eq!(
        driver.group.may_commit("b", None, generation, now),
        Err(ResponseError::IllegalGeneration)
    );
    assert_eq!(
        driver.group.may_commit("b", None, generation + 1, now),
        Err(ResponseError::RebalanceInProgress)
    );
}

#[test]
fn an_empty_group_takes_commits_of_anybody() {
    let mut driver = driver();
    let now = driver.now;
    assert_eq!(driver.group.may_commit("", None, -1, now), Ok(()));
}

#[test]
fn a_rebalance_answers_those_who_wait_for_an_assignment() {
    let mut driver = driver();
    driver.join(newcomer("a"));
    driver.join(newcomer("b"));
    driver.join(again("a"));
    let sync = driver.sync("b", &[]);
    driver.join(newcomer("c"));
    assert_eq!(
        driver.synced(sync),
        Some(Err(ResponseError::RebalanceInProgress))
    );
}

#[test]
fn the_strategy_is_one_that_all_know_and_most_prefer() {
    let with = |id: &str, names: &[&str]| Join {
        protocols: names
            .iter()
            .map(|name| ((*name).to_owned(), Bytes::new()))
            .collect(),
        ..newcomer(id)
    };
    let mut driver = driver();
    driver.join(with("a", &["sticky", "range", "roundrobin"]));
    driver.join(with("b", &["roundrobin", "range"]));
    driver.join(with("c", &["roundrobin", "range"]));
    let join = driver.join(Join {
        member_id: "a".to_owned(),
        ..with("", &["sticky", "range", "roundrobin"])
    });
    let joined = driver.joined(join).unwrap();
    assert_eq!(joined.protocol.as_deref(), Some("roundrobin"));

    let stranger = driver.join(with("d", &["sticky"]));
    assert_eq!(
        driver.joined(stranger).unwrap().error,
        Some(ResponseError::InconsistentGroupProtocol)
    );
    let other_kind = driver.join(Join {
        protocol_type: "connect".to_owned(),
        ..with("e", &["range"])
    });
    assert_eq!(
        driver.joined(other_kind).unwrap().error,
        Some(ResponseError::InconsistentGroupProtocol)
    );
}

#[test]
fn a_follower_that_joins_again_unchanged_gets_its_answer_without_a_rebalance() {
    let mut driver = Driver::stable(&["a", "b"]);
    let generation = driver.group.generation;
    let repeat = driver.join(again("b"));
    assert_eq!(driver.joined(repeat).unwrap().generation, generation);
    assert_eq!(driver.group.phase, Phase::Stable);
    // With another subscription it is a reason to rebalance.
    driver.join(Join {
        protocols: vec![("range".to_owned(), Bytes::from_static(b"users"))],
        ..again("b")
    });
    assert_eq!(driver.group.phase, Phase::Preparing);
}

#[test]
fn the_death_of_the_leader_makes_another_one_lead() {
    let mut driver = Driver::stable(&["a", "b"]);
    assert_eq!(driver.group.leader.as_deref(), Some("a"));
    driver.leave("a").unwrap();
    let join = driver.join(again("b"));
    assert_eq!(driver.joined(join).unwrap().leader, "b");
}

/// A stable group of one static member "one", by its first member id, and a dynamic one, "b".
fn with_static(leads: bool) -> Driver {
    let mut driver = driver();
    if leads {
        driver.join(static_member("one", "s1"));
        driver.join(newcomer("b"));
        driver.join(Join {
            member_id: "s1".to_owned(),
            ..static_member("one", "")
        });
    } else {
        driver.join(newcomer("b"));
        driver.join(static_member("one", "s1"));
        driver.join(again("b"));
    }
    let all: &[(&str, &'static [u8])] = &[("s1", b"p0"), ("b", b"p1")];
    let generation = driver.group.generation;
    driver.sync_as("s1", Some("one"), generation, if leads { all } else { &[] });
    driver.sync_as("b", None, generation, if leads { &[] } else { all });
    assert_eq!(driver.group.phase, Phase::Stable);
    driver
}

#[test]
fn a_static_member_that_comes_back_takes_its_place_without_a_rebalance() {
    let mut driver = with_static(false);
    let generation = driver.group.generation;
    let join = driver.join(static_member("one", "s2"));
    let joined = driver.joined(join).unwrap();
    assert_eq!(joined.error, None);
    assert_eq!(joined.generation, generation);
    assert_eq!(joined.member_id, "s2");
    assert_eq!(driver.group.phase, Phase::Stable);
    let sync = driver.sync_as("s2", Some("one"), generation, &[]);
    assert_eq!(driver.synced(sync), Some(Ok(Bytes::from_static(b"p0"))));
    // The old incarnation is told that it was replaced.
    let now = driver.now;
    assert_eq!(
        driver.group.heartbeat("s1", Some("one"), generation, now),
        Err(ResponseError::FencedInstanceId)
    );
    assert_eq!(
        driver.group.may_commit("s1", Some("one"), generation, now),
        Err(ResponseError::FencedInstanceId)
    );
}

#[test]
fn a_static_leader_that_comes_back_does_not_assign() {
    let mut driver = with_static(true);
    let join = driver.join(static_member("one", "s2"));
    let joined = driver.joined(join).unwrap();
    assert!(joined.skip_assignment);
    assert_eq!(joined.leader, "s2");
    assert_eq!(joined.members.len(), 2);
    // A client that knows no such flag is told that somebody else leads.
    let join = driver.join(Join {
        may_skip_assignment: false,
        ..static_member("one", "s3")
    });
    let joined = driver.joined(join).unwrap();
    assert!(!joined.skip_assignment);
    assert_eq!(joined.leader, "s2");
    assert!(joined.members.is_empty());
}

#[test]
fn a_join_of_a_replaced_static_member_is_fenced() {
    let mut driver = with_static(false);
    let old = driver.join(Join {
        member_id: "s1".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"users"))],
        ..static_member("one", "")
    });
    assert_eq!(driver.joined(old), None, "waits for b");
    driver.join(static_member("one", "s2"));
    assert_eq!(
        driver.joined(old).unwrap().error,
        Some(ResponseError::FencedInstanceId)
    );
}

#[test]
fn an_absent_static_member_keeps_its_place_through_a_rebalance() {
    let mut driver = with_static(false);
    driver.join(newcomer("c"));
    driver.join(again("b"));
    assert_eq!(
        driver.group.phase,
        Phase::Preparing,
        "waits for the static one"
    );
    driver.group.members.get_mut("s1").unwrap().session_timeout = 10 * MINUTE;
    let now = driver.now;
    driver.group.members.get_mut("s1").unwrap().heard(now);
    driver.pass(MINUTE);
    assert_eq!(driver.group.phase, Phase::Completing);
    assert!(driver.group.members.contains_key("s1"));
}

#[test]
fn an_operator_removes_a_static_member_by_its_instance() {
    let mut driver = with_static(false);
    let leave = Leave {
        member_id: String::new(),
        instance_id: Some("one".to_owned()),
    };
    let now = driver.now;
    driver.group.leave(&leave, now, &mut driver.out).unwrap();
    assert!(!driver.group.members.contains_key("s1"));
    assert_eq!(driver.group.phase, Phase::Preparing);
}

#[test]
fn a_restored_group_goes_on_where_it_was() {
    let driver = with_static(false);
    let json = serde_json::to_string(&driver.group.stored()).unwrap();
    let stored: StoredGroup = serde_json::from_str(&json).unwrap();
    let now = driver.now + MINUTE;
    let mut group = Group::restore(stored, now);
    assert_eq!(group.phase, Phase::Stable);
    let generation = driver.group.generation;
    assert_eq!(group.heartbeat("b", None, generation, now), Ok(()));
    assert_eq!(
        group.heartbeat("s0", Some("one"), generation, now),
        Err(ResponseError::FencedInstanceId)
    );
    assert_eq!(group.members["s1"].assignment, Bytes::from_static(b"p0"));
    // Sessions begin anew, and end.
    let mut out = Vec::new();
    group.tick(now + SESSION + SESSION, &mut out);
    assert_eq!(group.phase, Phase::Empty);
}

#[test]
fn a_newcomer_whose_client_vanished_is_given_up() {
    let mut driver = Driver::stable(&["a"]);
    driver.group.members.get_mut("a").unwrap().rebalance_timeout = 20 * MINUTE;
    let newcomer = driver.join(newcomer("b"));
    // a goes on with heartbeats and never joins.
    let mut passed = Duration::ZERO;
    while passed < 5 * MINUTE {
        assert_eq!(driver.joined(newcomer), None);
        driver.pass(SESSION / 2);
        passed += SESSION / 2;
        let _ = driver.heartbeat("a");
    }
    let answer = driver.joined(newcomer).unwrap();
    assert_eq!(answer.error, Some(ResponseError::UnknownMemberId));
    assert!(driver.group.members.contains_key("a"));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Join(u8),
        Sync(u8),
        Heartbeat(u8),
        Leave(u8),
        Pass(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let member = 0u8..4;
        let step = prop_oneof![
            4 => member.clone().prop_map(Step::Join),
            4 => member.clone().prop_map(Step::Sync),
            2 => member.clone().prop_map(Step::Heartbeat),
            1 => member.prop_map(Step::Leave),
            1 => (0u16..70).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..80)
    }

    proptest! {
        /// Whatever happens: every request is answered at most once and, once time has passed, at
        /// least once; members of a stable group all have been told of its generation.
        #[test]
        fn every_request_is_answered_exactly_once(steps in steps()) {
            let mut driver = driver();
            let mut asked = 0;
            for step in steps {
                match step {
                    Step::Join(n) => {
                        let id = format!("m{n}");
                        let join = if driver.group.members.contains_key(&id) {
                            again(&id)
                        } else {
                            newcomer(&id)
                        };
                        driver.join(join);
                        asked += 1;
                    }
                    Step::Sync(n) => {
                        let all: Vec<(&str, &'static [u8])> =
                            ["m0", "m1", "m2", "m3"].map(|id| (id, &b"p"[..])).to_vec();
                        driver.sync(&format!("m{n}"), &all);
                        asked += 1;
                    }
                    Step::Heartbeat(n) => {
                        let _ = driver.heartbeat(&format!("m{n}"));
                    }
                    Step::Leave(n) => {
                        let _ = driver.leave(&format!("m{n}"));
                    }
                    Step::Pass(seconds) => driver.pass(Duration::from_secs(seconds.into())),
                }
                let group = &driver.group;
                prop_assert_eq!(group.phase == Phase::Empty, group.members.is_empty());
                if group.phase == Phase::Stable {
                    let waiting = |member: &&Member| member.joining.is_some();
                    prop_assert!(group.members().find(waiting).is_none());
                    prop_assert!(group.members.contains_key(group.leader.as_ref().unwrap()));
                }
            }
            for _ in 0..20 {
                driver.pass(MINUTE);
            }
            prop_assert_eq!(driver.group.phase, Phase::Empty, "all sessions ended");
            prop_assert_eq!(driver.group.next_deadline(), None);
            let mut answers: Vec<Token> = driver
                .out
                .iter()
                .filter_map(|output| match output {
                    Output::Joined(token, _) | Output::Synced(token, _) => Some(*token),
                    Output::Changed => None,
                })
                .collect();
            answers.sort_unstable();
            prop_assert_eq!(answers, (1..=asked).collect::<Vec<_>>());
        }
    }
}
