use super::*;

#[test]
fn joins_with_the_id_that_the_broker_gives() {
    let mut script = Script::cooperative();
    script.find();
    let (tag, request) = script.join_request();
    assert_eq!(&*request.member_id, "");
    assert_eq!(request.session_timeout_ms, 45_000);
    assert_eq!(request.rebalance_timeout_ms, 60_000);
    assert_eq!(&*request.protocols[0].name, "cooperative-sticky");
    let required = JoinGroupResponse::default()
        .with_error_code(code(ResponseError::MemberIdRequired))
        .with_member_id(text("given"));
    script.input(Input::Joined(tag, Ok(required)));
    let (_, request) = script.join_request();
    assert_eq!(&*request.member_id, "given", "at once, with the id");
}

#[test]
fn a_follower_takes_its_assignment_and_starts_from_the_commits() {
    let mut script = Script::cooperative();
    script.find();
    script.join_as_follower(4);
    let (tag, request) = script.sync_request();
    assert_eq!((request.generation_id, &*request.member_id), (4, "m"));
    assert!(request.assignments.is_empty());
    let assignment = encode_assignment(&partitions(&["t-0", "t-2"]));
    script.input(Input::Synced(
        tag,
        Ok(SyncGroupResponse::default().with_assignment(assignment)),
    ));
    assert!(script.told().is_empty(), "not before the offsets are known");
    script.offsets(&[("t-0", 5, ""), ("t-1", 8, ""), ("t-2", 9, "k1;BC")]);
    assert_eq!(script.told(), ["assigned in 4: t-0@5 t-2@9"]);
    assert_eq!(script.member.state().phase, "stable");
    assert_eq!(script.member.state().rebalances, 1);
}

#[test]
fn a_leader_assigns_the_topics_of_all_members() {
    let mut script = Script::eager();
    script.find();
    let (tag, request) = script.join_request();
    let other = Subscription {
        topics: vec!["t".into(), "u".into(), "gone".into()],
        ..Subscription::default()
    };
    let member = |id: &str, metadata: Bytes| {
        JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_metadata(metadata)
    };
    let response = JoinGroupResponse::default()
        .with_generation_id(1)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_leader(text("m"))
        .with_member_id(text("m"))
        .with_members(vec![
            member("m", request.protocols[0].metadata.clone()),
            member("other", other.encode()),
            member("broken", Bytes::from_static(b"\0")),
        ]);
    script.input(Input::Joined(tag, Ok(response)));
    assert_eq!(script.member.state().phase, "syncing");
    let (tag, topics) = script.call(|call| match call {
        Call::DescribeTopics(topics) => Some(topics.clone()),
        _ => None,
    });
    assert_eq!(topics, ["gone", "t", "u"].map(Arc::from));

    // The cluster does not answer at first.
    script.input(Input::Described(tag, Err(closed())));
    script.pass(Duration::from_millis(150));
    let (tag, _) = script.call(|call| matches!(call, Call::DescribeTopics(_)).then_some(()));
    script.input(Input::Described(tag, Ok(counts(&[("t", 3), ("u", 1)]))));
    let (_, request) = script.sync_request();
    let given: Plan = request
        .assignments
        .iter()
        .map(|given| {
            (
                given.member_id.to_string(),
                decode_assignment(&given.assignment).unwrap(),
            )
        })
        .collect();
    assert_eq!(given["m"], partitions(&["t-0", "t-1"]));
    assert_eq!(given["other"], partitions(&["t-2", "u-0"]));
    assert_eq!(given["broken"], []);
    assert!(
        request
            .assignments
            .iter()
            .all(|given| !given.assignment.is_empty()),
        "Java cannot read no bytes"
    );
}

/// A leader alone in its group, with `t` of `count` partitions.
fn leader(config: GroupConfig, count: i32, skip_assignment: bool) -> Script {
    let mut script = Script::new(config);
    script.find();
    script.input(Input::TopicsChanged(counts(&[("t", count)])));
    lead(&mut script, count, skip_assignment);
    script
}

fn lead(script: &mut Script, count: i32, skip_assignment: bool) {
    let (tag, request) = script.join_request();
    let me = JoinGroupResponseMember::default()
        .with_member_id(text("m"))
        .with_metadata(request.protocols[0].metadata.clone());
    let response = JoinGroupResponse::default()
        .with_generation_id(script.member.generation() + 1)
        .with_protocol_name(Some(request.protocols[0].name.clone()))
        .with_leader(text("m"))
        .with_member_id(text("m"))
        .with_skip_assignment(skip_assignment)
        .with_members(vec![me]);
    script.input(Input::Joined(tag, Ok(response)));
    if !skip_assignment {
        let (tag, _) = script.call(|call| matches!(call, Call::DescribeTopics(_)).then_some(()));
        let known = if count > 0 {
            counts(&[("t", count)])
        } else {
            TopicCounts::new()
        };
        script.input(Input::Described(tag, Ok(known)));
    }
    let (tag, request) = script.sync_request();
    let mine = request
        .assignments
        .first()
        .map(|given| given.assignment.clone());
    let response = SyncGroupResponse::default().with_assignment(mine.unwrap_or_default());
    script.input(Input::Synced(tag, Ok(response)));
}

#[test]
fn partitions_that_appear_are_assigned_and_start_at_their_first_record() {
    let mut script = leader(config(&[Assignor::CooperativeSticky]), 2, false);
    script.offsets(&[]);
    assert_eq!(script.told(), ["assigned in 0: t-0@policy t-1@policy"]);
    script.input(Input::TopicsChanged(counts(&[("t", 2), ("unread", 9)])));
    assert!(!script.joins());
    script.input(Input::TopicsChanged(counts(&[("t", 3)])));
    assert!(script.joins(), "the leader sees that the topic has grown");
    lead(&mut script, 3, false);
    // The first commits were made in generation 0, before.
    script.offsets(&[("t-0", 40, "k1;;g0"), ("t-1", 0, "")]);
    assert_eq!(script.told(), ["assigned in 1: t-2@first"]);
}

#[test]
fn a_leader_that_follows_now_no_longer_watches() {
    let mut script = leader(config(&[Assignor::CooperativeSticky]), 2, false);
    script.offsets(&[]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.join_as_follower(1);
    script.sync(&["t-0"]);
    script.revoked();
    script.join_as_follower(2);
    script.sync(&["t-0"]);
    script.input(Input::TopicsChanged(counts(&[("t", 3)])));
    assert!(!script.joins(), "the new leader does it");
}

#[test]
fn members_that_start_together_do_not_take_each_others_first_commits_for_old() {
    let mut script = Script::cooperative();
    script.find();
    script.join_as_follower(6);
    script.input(Input::TopicsChanged(counts(&[("t", 3)])));
    script.sync(&["t-2"]);
    script.offsets(&[("t-0", 40, "k1;;g6")]);
    assert_eq!(script.told(), ["assigned in 6: t-2@policy"]);
    assert_eq!(script.member.owned()[&partition("t-2")].new_in, Some(6));
}

#[test]
fn a_topic_that_does_not_exist_yet_is_looked_for() {
    let mut script = leader(config(&[Assignor::CooperativeSticky]), 0, false);
    script.input(Input::TopicsChanged(TopicCounts::new()));
    assert_eq!(script.told(), ["assigned in 0: "]);
    let before = script.refreshes;
    script.pass(Duration::from_secs(1));
    assert_eq!(script.refreshes, before);
    script.pass(MISSING_TOPIC);
    assert_eq!(script.refreshes, before + 1);
    script.input(Input::TopicsChanged(counts(&[("t", 1)])));
    assert!(script.joins());
}

#[test]
fn cooperative_members_keep_what_does_not_move() {
    let mut script = Script::cooperative().stable(&["t-0", "t-1", "t-2"]);
    let claims = script.member.owned().clone();
    script.beat(Some(ResponseError::RebalanceInProgress));
    assert!(script.told().is_empty(), "nothing stops");
    let subscription = script.subscription();
    assert_eq!(subscription.owned, partitions(&["t-0", "t-1", "t-2"]));
    assert_eq!(subscription.generation, Some(1));
    assert_eq!(subscription.user_data.as_deref(), Some(&[0, 0, 0, 1][..]));
    script.join_as_follower(2);
    script.sync(&["t-0", "t-1"]);
    assert_eq!(shown(&script.told[0]), "revoke: t-2");
    assert!(!script.joins(), "not before it is let go of");
    assert!(
        script.member.owned().contains_key(&partition("t-2")),
        "it may still be committed"
    );
    script.revoked();
    assert_eq!(script.owned(), ["t-0", "t-1"]);
    let subscription = script.subscription();
    assert_eq!(subscription.owned, partitions(&["t-0", "t-1"]));
    assert_eq!(subscription.generation, Some(2));
    assert_eq!(
        script.member.owned()[&partition("t-0")],
        claims[&partition("t-0")],
        "the same claim"
    );
}

#[test]
fn a_partition_that_comes_back_has_a_new_claim() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    let before = script.member.owned()[&partition("t-0")].claim;
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.join_as_follower(2);
    script.sync(&[]);
    script.revoked();
    script.join_as_follower(3);
    script.sync(&["t-0"]);
    script.offsets(&[("t-0", 3, "")]);
    assert_ne!(script.member.owned()[&partition("t-0")].claim, before);
}

#[test]
fn eager_members_let_go_of_everything_before_they_join() {
    let mut script = Script::eager().stable(&["t-0", "t-1"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    assert_eq!(shown(&script.told[0]), "revoke: t-0 t-1");
    assert!(!script.joins());
    // Heartbeats go on while the consumer drains.
    script.beat(Some(ResponseError::RebalanceInProgress));
    assert_eq!(script.told.len(), 1, "once");
    script.revoked();
    assert_eq!(script.subscription().owned, []);
    script.told.clear();
    script.join_as_follower(2);
    script.sync(&["t-1"]);
    script.offsets(&[("t-1", 3, "")]);
    assert_eq!(script.told(), ["assigned in 2: t-1@3"]);
}

#[test]
fn one_eager_strategy_makes_the_member_eager() {
    // KIP-429: the way to move a group from range to cooperative-sticky, one member after another.
    let both = config(&[Assignor::CooperativeSticky, Assignor::Range]);
    let mut script = Script::new(both).stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    assert_eq!(script.told(), ["revoke: t-0"]);
}

#[test]
fn a_consumer_that_does_not_let_go_loses_the_partitions() {
    let mut script = Script::eager().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    let Action::Revoke { deadline, .. } = script.told[0] else {
        panic!()
    };
    assert!(
        deadline < script.now + REBALANCE,
        "before the others stop waiting"
    );
    while deadline - script.now > HEARTBEAT {
        script.beat(Some(ResponseError::RebalanceInProgress));
    }
    assert_eq!(script.told.len(), 1, "not before the deadline");
    script.pass(deadline - script.now);
    assert_eq!(script.told(), ["revoke: t-0", "lost: t-0"]);
    assert!(script.joins());
    assert!(
        script.member.owned().is_empty(),
        "nothing of it is committed any more"
    );
}

#[test]
fn what_is_assigned_and_taken_away_before_its_offsets_are_known_is_never_given() {
    let mut script = Script::cooperative();
    script.find();
    script.join_as_follower(1);
    script.sync(&["t-0", "t-1"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    script.join_as_follower(2);
    script.sync(&["t-1"]);
    assert!(script.joins(), "t-0 is free at once");
    script.offsets(&[("t-1", 1, "")]);
    assert_eq!(script.told(), ["assigned in 2: ", "assigned in 2: t-1@1"]);
}

#[test]
fn leaves_by_name_and_reason() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.input(Input::Leave("shutting down".to_owned()));
    let (tag, request) = script.call(|call| match call {
        Call::Leave { request, .. } => Some(request.clone()),
        _ => None,
    });
    assert_eq!(&*request.members[0].member_id, "m");
    assert_eq!(request.members[0].reason.as_deref(), Some("shutting down"));
    assert!(script.told().is_empty());
    script.input(Input::Leave("again".to_owned()));
    assert!(script.calls.is_empty(), "once");
    script.input(Input::LeaveAnswered(tag));
    assert_eq!(script.told(), ["left"]);
    assert!(script.is_over());
}

#[test]
fn leaving_does_not_wait_for_a_silent_coordinator() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.input(Input::Leave("bye".to_owned()));
    script.pass(LEAVE_TIMEOUT);
    assert_eq!(script.told(), ["left"]);
}

#[test]
fn leaving_while_joining_leaves_no_member_behind() {
    let mut script = Script::cooperative().stable(&["t-0"]);
    script.beat(Some(ResponseError::RebalanceInProgress));
    let (tag, _) = script.join_request();
    script.input(Input::Leave("bye".to_owned()));
    assert_eq!(script.abandoned, [tag]);
    assert!(script.has(|call| matches!(call, Call::Leave { .. })));
}

fn static_config() -> GroupConfig {
    GroupConfig {
        static_member: Some(StaticMember::configured("i1")),
        ..config(&[Assignor::CooperativeSticky])
    }
}

fn leave_request(script: &mut Script) -> (Tag, kafka_protocol::messages::LeaveGroupRequest) {
    script.call(|call| match call {
        Call::Leave { request, .. } => Some(request.clone()),
        _ => None,
    })
}

#[test]
fn static_members_name_themselves_everywhere_and_leave_by_name() {
    let mut script = Script::new(static_config());
    script.find();
    let (tag, request) = script.join_request();
    assert_eq!(request.group_instance_id.as_deref(), Some("i1"));
    let response = JoinGroupResponse::default()
        .with_generation_id(1)
        .with_protocol_name(Some(text("cooperative-sticky")))
        .with_leader(text("other"))
        .with_member_id(text("m"));
    script.input(Input::Joined(tag, Ok(response)));
    let (tag, request) = script.sync_request();
    assert_eq!(request.group_instance_id.as_deref(), Some("i1"));
    script.input(Input::Synced(tag, Ok(SyncGroupResponse::default())));
    script.pass(HEARTBEAT);
    let (_, request) = script.heartbeat_request();
    assert_eq!(request.group_instance_id.as_deref(), Some("i1"));
    script.told.clear();
    script.input(Input::Leave("restart".to_owned()));
    let (tag, request) = leave_request(&mut script);
    let member = &request.members[0];
    assert_eq!(
        (&*member.member_id, member.group_instance_id.as_deref()),
        ("m", Some("i1"))
    );
    script.input(Input::LeaveAnswered(tag));
    assert_eq!(script.told(), ["left"]);
}

#[test]
fn a_static_member_that_leaves_while_its_first_join_waits_is_named_by_its_instance() {
    let mut script = Script::new(static_config());
    script.find();
    let (join, _) = script.join_request();
    script.input(Input::Leave("bye".to_owned()));
    assert_eq!(script.abandoned, [join]);
    let (_, request) = leave_request(&mut script);
    let member = &request.members[0];
    assert_eq!(
        (&*member.member_id, member.group_instance_id.as_deref()),
        ("", Some("i1"))
    );
}

fn review(script: &mut Script, topics: &[(&str, i32)], assigned: &[&str]) {
    let (tag, _) = script.call(|call| matches!(call, Call::Review(_)).then_some(()));
    let found = Reviewed {
        counts: counts(topics),
        assigned: partitions(assigned).into_iter().collect(),
    };
    script.input(Input::Reviewed(tag, Ok(found)));
}

#[test]
fn a_static_leader_that_is_back_assigns_nothing_but_keeps_watching() {
    let mut script = leader(static_config(), 2, true);
    assert_eq!(script.told(), ["assigned in 0: "]);
    review(&mut script, &[("t", 2)], &["t-0", "t-1"]);
    script.input(Input::TopicsChanged(counts(&[("t", 2)])));
    assert!(!script.joins());
    script.input(Input::TopicsChanged(counts(&[("t", 3)])));
    assert!(script.joins());
}

#[test]
fn a_static_leader_that_is_back_before_it_knows_its_topics_moves_nothing() {
    let mut script = Script::new(static_config());
    script.find();
    lead(&mut script, 2, true);
    script.input(Input::TopicsChanged(counts(&[("t", 2)])));
    review(&mut script, &[("t", 2)], &["t-0", "t-1"]);
    assert!(!script.joins());
}

#[test]
fn a_static_member_that_is_back_notices_what_changed_while_it_was_away() {
    let back = |owned: &[&str]| {
        let mut script = Script::new(static_config());
        script.find();
        script.join_as_follower(4);
        script.sync(owned);
        if !owned.is_empty() {
            script.offsets(&[]);
        }
        script
    };
    // Nothing: whoever has the rest.
    let mut script = back(&["t-0"]);
    review(&mut script, &[("t", 2)], &["t-0", "t-1"]);
    assert!(!script.joins());
    // It reads what it did not read before, or the topic has grown.
    for left_out in [&["t-0"][..], &[]] {
        let mut script = back(left_out);
        review(&mut script, &[("t", 2)], left_out);
        assert!(script.joins(), "{left_out:?}");
        // Once: what others leave out is theirs to say.
        script.join_as_follower(5);
        script.sync(left_out);
        assert!(!script.has(|call| matches!(call, Call::Review(_))));
    }
    // It has what it no longer reads.
    let mut script = back(&["old-0", "t-0"]);
    review(&mut script, &[("t", 1)], &["old-0", "t-0"]);
    assert!(script.joins());
    // It cannot be told yet.
    let mut script = back(&["t-0"]);
    let (tag, _) = script.call(|call| matches!(call, Call::Review(_)).then_some(()));
    script.input(Input::Reviewed(tag, Err(closed())));
    assert!(!script.joins());
    script.pass(Duration::from_millis(150));
    review(&mut script, &[("t", 1)], &["t-0"]);
    assert!(!script.joins());
}
