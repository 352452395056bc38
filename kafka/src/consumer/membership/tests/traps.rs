use super::*;

const COORDINATOR_ERRORS: [ResponseError; 3] = [
    ResponseError::NotCoordinator,
    ResponseError::CoordinatorNotAvailable,
    ResponseError::CoordinatorLoadInProgress,
];

#[test]
fn illegal_generation_loses_the_partitions_and_joins_again_with_the_same_id() {
    for mut script in [
        Script::cooperative().stable(&["t-0", "t-1"]),
        Script::eager().stable(&["t-0", "t-1"]),
    ] {
        script.beat(Some(ResponseError::IllegalGeneration));
        assert_eq!(script.told(), ["lost: t-0 t-1"]);
        assert!(script.member.owned().is_empty());
        let subscription = script.subscription();
        assert_eq!(
            (subscription.owned, subscription.generation),
            (vec![], None)
        );
        let (_, request) = script.join_request();
        assert_eq!(&*request.member_id, "m");
    }
}

#[test]
fn unknown_member_id_joins_again_with_an_empty_one() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::UnknownMemberId));
    assert_eq!(script.told(), ["lost: t-0"]);
    let (_, request) = script.join_request();
    assert_eq!(&*request.member_id, "");
}

#[test]
fn unknown_member_id_on_joining_and_on_the_assignment() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.refuse_join(ResponseError::UnknownMemberId);
    assert_eq!(script.told(), ["lost: t-0"]);
    script.pass(Duration::from_millis(150));
    let (_, request) = script.join_request();
    assert_eq!(&*request.member_id, "");

    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.join_as_follower(2);
    script.refuse_sync(ResponseError::UnknownMemberId);
    assert_eq!(script.told(), ["lost: t-0"]);
}

#[test]
fn a_rebalance_during_a_rebalance_starts_it_over_and_loses_nothing() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.join_as_follower(2);
    script.refuse_sync(ResponseError::RebalanceInProgress);
    assert!(script.joins());
    assert!(script.told().is_empty());
    // The assignment of generation 2 was never seen: what is owned is of generation 1.
    assert_eq!(script.subscription().generation, Some(1));
}

#[test]
fn a_configured_instance_that_is_fenced_is_the_end() {
    let config = GroupConfig {
        static_member: Some(StaticMember::configured("i1")),
        ..config(&[Assignor::CooperativeSticky])
    };
    let mut script = Script::new(config.clone()).stable(&["t-0"]);
    script.beat(Some(ResponseError::FencedInstanceId));
    let told = script.told();
    assert!(
        told[0].contains("i1") && told[0].contains("KAFKA_GROUP_INSTANCE_ID"),
        "{told:?}"
    );
    assert!(script.is_over() && script.member.owned().is_empty());
    assert_eq!(script.member.wake_at(), None);

    let mut script = Script::new(config).stable(&["t-0"]);
    let member_id = script.member.member_id().to_owned();
    script.input(Input::CommitRefused {
        code: ResponseError::FencedInstanceId,
        member_id,
        generation: 1,
    });
    assert!(script.is_over());
}

#[test]
fn a_derived_instance_that_is_fenced_goes_on_without_its_id_for_good() {
    let member = StaticMember::derived("i1", "data/shop.instance");
    let config = GroupConfig {
        static_member: Some(member.clone()),
        ..config(&[Assignor::CooperativeSticky])
    };
    let fenced = |script: &mut Script| {
        let told = script.told();
        assert_eq!(told[1], "lost: t-0", "{told:?}");
        assert!(told[0].contains("i1") && told.len() == 2, "{told:?}");
        assert_eq!(script.member.state().fenced.as_ref(), Some(&member));
        assert_eq!(script.member.instance(), None);
        let (_, request) = script.join_request();
        assert_eq!((&*request.member_id, request.group_instance_id), ("", None));
    };
    let stable = || {
        let mut script = Script::new(config.clone());
        script.find();
        script.join_as_follower(1);
        script.sync(&["t-0"]);
        script.offsets(&[]);
        script.told.clear();
        script
    };
    // Whoever says it: a heartbeat, a commit, a JoinGroup.
    let mut script = stable();
    script.beat(Some(ResponseError::FencedInstanceId));
    fenced(&mut script);
    let mut script = stable();
    script.input(Input::CommitRefused {
        code: ResponseError::FencedInstanceId,
        member_id: "m".to_owned(),
        generation: 1,
    });
    fenced(&mut script);
    let mut script = stable();
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.refuse_join(ResponseError::FencedInstanceId);
    fenced(&mut script);

    // The next consumer of the process does not take the id back.
    member.fenced_in(&"g".into());
    let mut script = Script::new(config.clone());
    script.find();
    assert_eq!(script.join_request().1.group_instance_id, None);
    assert_eq!(script.member.state().fenced.as_ref(), Some(&member));
    let of_another_group = GroupConfig {
        group: "h".into(),
        ..config
    };
    let mut script = Script::new(of_another_group);
    script.find();
    assert!(script.join_request().1.group_instance_id.is_some());
}

#[test]
fn no_common_strategy_says_what_to_set() {
    let mut script = Script::cooperative();
    script.find();
    script.refuse_join(ResponseError::InconsistentGroupProtocol);
    let told = script.told();
    assert!(
        told[0].contains("KAFKA_ASSIGNMENT_STRATEGY") && told[0].contains("cooperative-sticky"),
        "{told:?}"
    );
    assert!(told[0].contains("group g"));

    // A broker that chooses what was not offered.
    let mut script = Script::cooperative();
    script.find();
    let (tag, _) = script.join_request();
    let response = JoinGroupResponse::default()
        .with_protocol_name(Some(text("sticky")))
        .with_member_id(text("m"));
    script.input(Input::Joined(tag, Ok(response)));
    assert!(script.told()[0].contains("KAFKA_ASSIGNMENT_STRATEGY"));
}

/// A member that tries again after a refusal.
fn patient() -> Script {
    Script::new(GroupConfig {
        refused_pause: Some(Duration::from_secs(5)),
        ..config(&[Assignor::CooperativeSticky])
    })
}

#[test]
fn a_member_that_is_refused_tries_again_where_it_is_told_to() {
    for error in [
        ResponseError::InconsistentGroupProtocol,
        ResponseError::GroupAuthorizationFailed,
        ResponseError::InvalidSessionTimeout,
        ResponseError::GroupMaxSizeReached,
    ] {
        let mut script = patient();
        script.find();
        for _ in 0..3 {
            script.refuse_join(error);
            assert!(script.told().is_empty() && !script.is_over(), "{error:?}");
            let problem = script.member.state().problem.unwrap();
            assert!(problem.starts_with("group g"), "{problem}");
            script.pass(Duration::from_secs(4));
            assert!(!script.joins(), "not yet");
            script.pass(Duration::from_secs(1));
        }
        // The others have gone, or an operator has put it right.
        script.refuse_join(ResponseError::MemberIdRequired);
        script.join_as_follower(1);
        assert!(
            script.member.state().problem.is_some(),
            "not before it is in"
        );
        script.sync(&["t-0"]);
        assert_eq!(script.member.state().problem, None);
        script.offsets(&[("t-0", 3, "")]);
        assert_eq!(script.told(), ["assigned in 1: t-0@3"]);
    }
}

#[test]
fn a_member_that_is_refused_when_it_joins_again_has_lost_what_it_had() {
    let mut script = patient().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.refuse_join(ResponseError::InconsistentGroupProtocol);
    assert_eq!(script.told(), ["lost: t-0"]);
    assert!(script.owned().is_empty());
    script.pass(Duration::from_secs(29));
    assert!(!script.joins() && !script.has(|call| matches!(call, Call::Heartbeat { .. })));
    script.pass(Duration::from_secs(1));
    assert!(script.joins());
}

#[test]
fn an_assignment_that_cannot_be_read_is_no_end_either() {
    let mut script = patient();
    script.find();
    script.join_as_follower(1);
    let (tag, _) = script.sync_request();
    let response = SyncGroupResponse::default().with_assignment(Bytes::from_static(b"?"));
    script.input(Input::Synced(tag, Ok(response)));
    assert!(script.told().is_empty() && !script.is_over());
    let problem = script.member.state().problem.unwrap();
    assert!(
        problem.contains("as the group's leader wrote it"),
        "{problem}"
    );
    // Each time it joins the others stop.
    script.pass(Duration::from_secs(29));
    assert!(!script.joins());
    script.pass(Duration::from_secs(1));
    assert!(script.joins());
}

#[test]
fn a_coordinator_that_must_not_be_asked_for_is_asked_for_again() {
    let mut script = patient();
    let (tag, ()) = script.call(|call| matches!(call, Call::FindCoordinator).then_some(()));
    let api = kafka_protocol::messages::ApiKey::FindCoordinator;
    let error = Error::response(api, ResponseError::GroupAuthorizationFailed, "group g");
    script.input(Input::Coordinator(tag, Err(error)));
    assert!(!script.finds() && !script.is_over());
    script.pass(Duration::from_secs(5));
    script.find();
    assert!(script.joins());
}

#[test]
fn a_coordinator_that_does_not_answer_is_named() {
    let mut script = Script::cooperative();
    for round in 0..3 {
        assert_eq!(
            script.member.state().problem,
            None,
            "{round}: it may be moving"
        );
        script.find();
        let (tag, _) = script.join_request();
        script.input(Input::Joined(tag, Err(closed())));
        script.pass(Duration::from_millis(1200));
    }
    let problem = script.member.state().problem.unwrap();
    for part in ["group g", "broker 7", "advertises", "broker:9092"] {
        assert!(problem.contains(part), "{problem}");
    }
    script.find();
    script.join_as_follower(1);
    script.sync(&[]);
    assert_eq!(script.member.state().problem, None);
}

/// A follower of a member of another make, in a group whose topics have these counts.
fn follower(topics: &[&str], sizes: &[(&str, i32)], assignment: &[&str]) -> Script {
    let mut script = Script::new(GroupConfig {
        topics: topics.iter().map(|topic| Arc::from(*topic)).collect(),
        ..config(&[Assignor::RoundRobinAssigner])
    });
    script.input(Input::TopicsChanged(counts(sizes)));
    script.find();
    script.join_as_follower(1);
    script.sync(assignment);
    script
}

fn described(state: &str, members: &[(&str, &[&str])]) -> crate::admin::GroupDescription {
    let member = |(id, assignment): &(&str, &[&str])| crate::admin::GroupMember {
        member_id: (*id).to_owned(),
        group_instance_id: None,
        client_id: format!("client of {id}"),
        client_host: "/10.0.0.1".to_owned(),
        assignment: partitions(assignment),
    };
    crate::admin::GroupDescription {
        group: "g".to_owned(),
        state: state.to_owned(),
        assignor: "RoundRobinAssigner".to_owned(),
        coordinator: NODE,
        members: members.iter().map(member).collect(),
        ..Default::default()
    }
}

fn describe(script: &mut Script, answer: crate::admin::GroupDescription) {
    let (tag, ()) = script.call(|call| matches!(call, Call::DescribeGroup).then_some(()));
    script.input(Input::GroupDescribed(tag, Ok(answer)));
}

#[test]
fn a_topic_that_a_foreign_leader_gives_to_nobody_is_named() {
    let mut script = follower(&["t", "u"], &[("t", 2), ("u", 5)], &["t-0"]);
    assert!(
        !script.has(|call| matches!(call, Call::DescribeGroup)),
        "a rebalance may go on"
    );
    script.pass(Duration::from_secs(5));
    describe(&mut script, described("PreparingRebalance", &[]));
    assert_eq!(script.member.state().unowned, None);
    script.pass(Duration::from_secs(5));
    let members: [(&str, &[&str]); 2] = [("m", &["t-0"]), ("other", &["t-1", "u-4"])];
    describe(&mut script, described("Stable", &members));
    let unowned = script.member.state().unowned.unwrap();
    for part in [
        "u-0, u-1, u-2 and 1 more",
        "other (client client of other at /10.0.0.1)",
    ] {
        assert!(unowned.contains(part), "{unowned}");
    }
    assert_eq!(script.member.owners.wake_at(), None, "once a generation");

    let mut script = follower(&["t", "u"], &[("t", 2), ("u", 1)], &["t-0"]);
    script.pass(Duration::from_secs(5));
    let members: [(&str, &[&str]); 2] = [("m", &["t-0"]), ("other", &["t-1", "u-0"])];
    describe(&mut script, described("Stable", &members));
    assert_eq!(script.member.state().unowned, None);
}

#[test]
fn who_has_everything_asks_nobody() {
    let mut script = follower(&["t"], &[("t", 2), ("x", 7)], &["t-0", "t-1"]);
    script.pass(Duration::from_secs(5));
    assert!(!script.has(|call| matches!(call, Call::DescribeGroup)));
    // Partitions that are added the leader may notice by itself.
    script.input(Input::TopicsChanged(counts(&[("t", 3)])));
    let noticed = script.now + Duration::from_secs(600);
    assert_eq!(script.member.owners.wake_at(), Some(noticed));
}

#[test]
fn topics_that_a_member_did_not_ask_for_are_left_out() {
    let mut script = follower(&["t"], &[("t", 1)], &["t-0", "foreign-0"]);
    assert_eq!(script.owned(), ["t-0"]);
    script.offsets(&[("t-0", 3, "")]);
    assert_eq!(script.told(), ["assigned in 1: t-0@3"]);
}

#[test]
fn refusals_that_no_retry_changes_are_the_end() {
    for error in [
        ResponseError::GroupAuthorizationFailed,
        ResponseError::InvalidSessionTimeout,
        ResponseError::GroupMaxSizeReached,
        ResponseError::InvalidGroupId,
    ] {
        let mut script = Script::cooperative();
        script.find();
        script.refuse_join(error);
        let told = script.told();
        assert!(told[0].starts_with("fatal: group g"), "{told:?}");
        assert!(script.is_over());
    }
    let mut script = Script::cooperative();
    let (tag, ()) = script.call(|call| matches!(call, Call::FindCoordinator).then_some(()));
    let error = Error::response(
        kafka_protocol::messages::ApiKey::FindCoordinator,
        ResponseError::GroupAuthorizationFailed,
        "group g",
    );
    script.input(Input::Coordinator(tag, Err(error)));
    assert!(script.told()[0].contains("GROUP_AUTHORIZATION_FAILED"));
}

#[test]
fn a_coordinator_that_moved_is_found_again_and_the_membership_goes_on() {
    for error in COORDINATOR_ERRORS {
        let mut script = Script::cooperative().stable(&["t-0"]);
        script.beat(Some(error));
        assert!(!script.finds(), "not without a pause");
        assert_eq!(script.member.node(), None);
        script.pass(Duration::from_millis(150));
        script.find();
        script.beat(None);
        assert!(script.told().is_empty() && script.member.node() == Some(NODE));
        assert_eq!(script.owned(), ["t-0"]);
    }
}

#[test]
fn a_coordinator_that_moves_while_joining() {
    for error in COORDINATOR_ERRORS {
        for at_sync in [false, true] {
            let mut script = Script::cooperative().stable(&["t-0"]);
            script.beat(Some(ResponseError::RebalanceInProgress));
            if at_sync {
                script.join_as_follower(2);
                script.refuse_sync(error);
            } else {
                script.refuse_join(error);
            }
            script.pass(Duration::from_millis(150));
            script.find();
            script.pass(Duration::from_millis(150));
            assert!(script.joins(), "{error:?}");
            assert!(script.told().is_empty());
        }
    }
}

#[test]
fn the_pause_between_tries_grows_to_a_second() {
    let mut script = Script::cooperative();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let (tag, ()) = script.call(|call| matches!(call, Call::FindCoordinator).then_some(()));
        script.input(Input::Coordinator(tag, Err(closed())));
        pauses.push(script.member.wake_at().unwrap() - script.now);
        script.pass(Duration::from_secs(2));
    }
    assert!(pauses[0] <= Duration::from_millis(120));
    assert!(
        pauses[5] > Duration::from_millis(790) && pauses[5] <= Duration::from_millis(1200),
        "{pauses:?}"
    );
}

#[test]
fn a_lost_connection_keeps_the_membership_for_the_session() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    let start = script.now;
    script.pass(HEARTBEAT);
    let (tag, _) = script.heartbeat_request();
    script.input(Input::Heartbeat(tag, Err(closed())));
    script.pass(Duration::from_millis(150));
    script.find();
    script.beat(None);
    assert!(script.told().is_empty());
    // From here on nothing answers any more.
    let last = script.now;
    script.pass(SESSION - Duration::from_millis(1));
    assert!(script.told().is_empty(), "{:?}", script.now - start);
    script.pass(last + SESSION - script.now);
    assert_eq!(script.told(), ["lost: t-0"]);
    assert_eq!(script.member.generation(), -1);
}

#[test]
fn a_process_that_was_frozen_past_its_session_loses_its_partitions_first() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.now += SESSION * 2;
    script.input(Input::Tick);
    assert_eq!(script.told(), ["lost: t-0"]);
    assert!(script.joins());
}

#[test]
fn a_join_that_waits_on_a_dead_coordinator_is_given_up() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    let (join, _) = script.join_request();
    // The broker waits for others; heartbeats tell that it is there, whatever they say.
    script.beat(None);
    script.beat(Some(ResponseError::IllegalGeneration));
    assert!(script.told().is_empty() && script.abandoned.is_empty());
    script.pass(HEARTBEAT);
    let (tag, _) = script.heartbeat_request();
    script.input(Input::Heartbeat(tag, Err(closed())));
    assert_eq!(script.abandoned, [join]);
    script.pass(Duration::from_millis(150));
    script.find();
    assert!(script.joins());
    assert!(script.told().is_empty());
    // The answer to the call given up comes late.
    script.input(Input::Joined(join, Err(closed())));
    assert_eq!(script.member.node(), Some(NODE));
}

#[test]
fn an_answer_to_a_heartbeat_of_the_last_generation_means_nothing() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.pass(HEARTBEAT);
    let (old, _) = script.heartbeat_request();
    script.input(Input::CommitRefused {
        code: ResponseError::RebalanceInProgress,
        member_id: "m".to_owned(),
        generation: 1,
    });
    script.join_as_follower(2);
    script.sync(&["t-0"]);
    script.told.clear();
    let response =
        HeartbeatResponse::default().with_error_code(code(ResponseError::IllegalGeneration));
    script.input(Input::Heartbeat(old, Ok(response)));
    assert!(script.told().is_empty() && !script.joins());
}

#[test]
fn a_refused_commit_of_this_generation_counts_and_of_another_does_not() {
    let refused = |script: &mut Script, code, generation| {
        script.input(Input::CommitRefused {
            code,
            member_id: "m".to_owned(),
            generation,
        });
    };
    let mut script = Script::cooperative().stable(&["t-0"]);
    refused(&mut script, ResponseError::IllegalGeneration, 0);
    assert!(script.told().is_empty());
    refused(&mut script, ResponseError::IllegalGeneration, 1);
    assert_eq!(script.told(), ["lost: t-0"]);
    assert!(script.joins());

    let mut script = Script::cooperative().stable(&["t-0"]);
    refused(&mut script, ResponseError::RebalanceInProgress, 1);
    assert!(script.told().is_empty(), "not yet");
    assert!(
        script.joins(),
        "the rebalance is noticed before the next heartbeat"
    );
    // The group has gone on while the answer to JoinGroup is on its way.
    refused(&mut script, ResponseError::IllegalGeneration, 1);
    assert!(script.told().is_empty());
}

#[test]
fn unstable_offsets_are_asked_for_again() {
    let mut script = Script::cooperative();
    script.find();
    script.join_as_follower(1);
    script.sync(&["t-0"]);
    let (tag, _) = script.call(|call| matches!(call, Call::FetchOffsets(_)).then_some(()));
    let unstable = |name: &str, error| FetchedOffset {
        partition: partition(name),
        committed: None,
        error,
    };
    let answer = vec![unstable("t-0", Some(ResponseError::UnstableOffsetCommit))];
    script.input(Input::Offsets(tag, Ok(answer)));
    assert!(
        script.told().is_empty(),
        "an offset that is not known is not taken for none"
    );
    script.pass(Duration::from_millis(150));
    script.offsets(&[("t-0", 12, "")]);
    assert_eq!(script.told(), ["assigned in 1: t-0@12"]);
}

#[test]
fn an_offset_that_is_not_known_yet_holds_up_its_topic_at_most() {
    let mut script = follower(
        &["t", "u"],
        &[("t", 3), ("u", 1)],
        &["t-0", "t-1", "t-2", "u-0"],
    );
    let (tag, _) = script.call(|call| matches!(call, Call::FetchOffsets(_)).then_some(()));
    let of = |name: &str, offset: Option<i64>, error| FetchedOffset {
        partition: partition(name),
        committed: offset.map(|offset| Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }),
        error,
    };
    let answer = vec![
        of("t-0", None, Some(ResponseError::UnstableOffsetCommit)),
        of("t-1", Some(4), None),
        // Whether it is new to the group, the first one's answer says.
        of("t-2", None, None),
        of("u-0", None, None),
    ];
    script.input(Input::Offsets(tag, Ok(answer)));
    assert_eq!(script.told(), ["assigned in 1: t-1@4 u-0@policy"]);
    script.pass(Duration::from_millis(150));
    script.offsets(&[("t-0", 12, ""), ("t-1", 4, "")]);
    assert_eq!(script.told(), ["assigned in 1: t-0@12 t-2@first"]);
}

#[test]
fn offsets_that_cannot_be_asked_for_are_asked_again_elsewhere_or_are_the_end() {
    let start = || {
        let mut script = Script::cooperative();
        script.find();
        script.join_as_follower(1);
        script.sync(&["t-0"]);
        let (tag, _) = script.call(|call| matches!(call, Call::FetchOffsets(_)).then_some(()));
        (script, tag)
    };
    let error = |code| {
        Error::response(
            kafka_protocol::messages::ApiKey::OffsetFetch,
            code,
            "group g",
        )
    };
    for failure in [error(ResponseError::NotCoordinator), closed()] {
        let (mut script, tag) = start();
        script.input(Input::Offsets(tag, Err(failure)));
        script.pass(Duration::from_millis(150));
        script.find();
        script.pass(Duration::from_millis(150));
        script.offsets(&[("t-0", 12, "")]);
        assert_eq!(script.told(), ["assigned in 1: t-0@12"]);
    }
    let (mut script, tag) = start();
    script.input(Input::Offsets(
        tag,
        Err(error(ResponseError::GroupAuthorizationFailed)),
    ));
    assert!(script.is_over());
}

#[test]
fn an_assignment_that_cannot_be_read_is_the_end() {
    let mut script = Script::cooperative();
    script.find();
    script.join_as_follower(1);
    let (tag, _) = script.sync_request();
    let response =
        SyncGroupResponse::default().with_assignment(Bytes::from_static(&[0, 0, 0, 0, 0, 9]));
    script.input(Input::Synced(tag, Ok(response)));
    assert!(script.told()[0].contains("malformed at byte 6 of 6"));
}

#[test]
fn a_revocation_that_the_session_overtakes_is_lost() {
    let mut script = Script::eager().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.beat(Some(ResponseError::UnknownMemberId));
    assert_eq!(script.told(), ["revoke: t-0", "lost: t-0"]);
    let (_, request) = script.join_request();
    assert_eq!(&*request.member_id, "");
}

#[test]
fn a_coordinator_that_a_commit_cannot_reach_is_looked_for() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.input(Input::CoordinatorGone { node: NODE + 1 });
    assert_eq!(
        script.member.node(),
        Some(NODE),
        "another one, long since left"
    );
    script.input(Input::CoordinatorGone { node: NODE });
    assert_eq!(script.member.node(), None);
}

#[test]
fn a_partition_that_cannot_be_is_asked_for_alone() {
    let mut script = Script::cooperative();
    script.input(Input::TopicsChanged(counts(&[("t", 2)])));
    script.find();
    script.join_as_follower(1);
    script.sync(&["t-0", "t-2147483647"]);
    let (_, asked) = script.call(|call| match call {
        Call::FetchOffsets(topics) => Some(topics.clone()),
        _ => None,
    });
    assert_eq!(asked, [("t".into(), vec![0, 1, i32::MAX])]);
}
